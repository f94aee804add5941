import { type Key, keyOfBytes } from "../core/key.ts";
import type { SharedCopies } from "../storage/shared-copies.ts";
import type { BlobCache } from "./blob-cache.ts";
import { CopyFingerprints } from "./copy-fingerprints.ts";
import type { Opened, OpenedWhole } from "./get.ts";
import { isSmall, readVerified, verifiedChunks } from "./verified.ts";

export interface SharedGetOptions {
  readonly copies: Pick<SharedCopies, "open" | "record">;
  readonly cache: Pick<BlobCache, "get" | "put">;
  /** A large copy turned out to be corrupt after its first bytes had left: the owner is to look at it. */
  readonly onCorrupt: (key: Key) => void;
}

/** What a serving thread can answer itself: copies of this node that it finds whole. It never says that there is none. */
export class SharedGet {
  private readonly options: SharedGetOptions;
  private readonly fingerprints = new CopyFingerprints();

  constructor(options: SharedGetOptions) {
    this.options = options;
  }

  atHand(key: Key): OpenedWhole | null {
    const bytes = this.options.cache.get(key);
    return bytes ? { kind: "whole", sizeBytes: bytes.length, bytes } : null;
  }

  /** As `open`, where one read is enough. */
  async openRecord(key: Key): Promise<OpenedWhole | null> {
    const { cache, copies } = this.options;
    const bytes = await copies.record(key).catch(() => null);
    if (!bytes || keyOfBytes(bytes) !== key) return null;
    cache.put(key, bytes);
    return { kind: "whole", sizeBytes: bytes.length, bytes };
  }

  /** Null: the owner of the data is to be asked, who also says why, and mends what is damaged. Never rejects. */
  async open(key: Key): Promise<Opened | null> {
    const { cache } = this.options;
    try {
      const opened = await this.openVerified(key);
      if (opened?.kind === "whole") cache.put(key, opened.bytes);
      return opened;
    } catch (_forOwner) {
      return null;
    }
  }

  private async openVerified(key: Key): Promise<Opened | null> {
    const found = await this.options.copies.open(key);
    if (found === null) return null;
    if (Buffer.isBuffer(found)) {
      return keyOfBytes(found) === key ? { kind: "whole", sizeBytes: found.length, bytes: found } : null;
    }
    const { sizeBytes } = found;
    const isLarge = !isSmall(sizeBytes);
    const body = {
      sizeBytes,
      chunks: found.chunks(),
      close: () => void found.close().catch(() => undefined), // it was only read
      hashed: async (result: "verified" | "corrupt") => {
        if (isLarge && result === "corrupt") this.options.onCorrupt(key);
      },
      fingerprints: this.fingerprints.of(key, found),
    };
    if (isLarge) return { kind: "stream", sizeBytes, chunks: verifiedChunks(body, key), close: body.close };
    const bytes = await readVerified(body, key);
    return { kind: "whole", sizeBytes, bytes };
  }
}
