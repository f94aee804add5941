import { CaskError } from "../../src/core/errors.ts";
import type { Key } from "../../src/core/key.ts";
import { IncompleteListing, type StoredBlob } from "../../src/storage/backend.ts";
import { MemoryBackend } from "../../src/storage/memory.ts";

export type Fault = "unopenable" | "unreadable" | "hanging";

/** Blobs in memory, single ones of which can rot, be unreadable, or hang whoever reads them. */
export class FaultyBackend extends MemoryBackend {
  readonly faults = new Map<Key, Fault>();
  /** The listing ends with an error, after all that it found. */
  listingFails = false;
  readonly read: Key[] = [];

  override async get(key: Key): Promise<StoredBlob | null> {
    this.read.push(key);
    const fault = this.faults.get(key);
    if (fault === "unopenable") throw new CaskError("STORAGE_FAILED", "EIO at open");
    const blob = await super.get(key);
    if (!blob || !fault) return blob;
    return {
      ...blob,
      async *chunks() {
        if (fault === "hanging") await new Promise(() => undefined);
        yield Buffer.alloc(1);
        throw new CaskError("STORAGE_FAILED", "EIO at read");
      },
    };
  }

  override async *keys(from?: Key, to?: Key): AsyncGenerator<Key> {
    yield* super.keys(from, to);
    if (this.listingFails) throw new IncompleteListing("the folder 7f can't be read", { nothingRead: false });
  }

  /** Without being another copy, as a disk rots. */
  rot(key: Key): void {
    const bytes = this.copies.get(key)?.bytes;
    if (bytes) bytes[0] = (bytes[0] as number) ^ 1;
  }
}
