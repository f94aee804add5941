import { LRUCache } from "lru-cache";
import type { Key } from "../core/key.ts";
import { FINGERPRINTED_BLOB_LEAST_BYTES, FINGERPRINTS_ENTRY_BYTES, FINGERPRINTS_MAX_BYTES } from "../core/limits.ts";
import type { BodyFingerprints } from "../peer/peer.ts";
import type { Seen, StoredBlob } from "../storage/backend.ts";

interface Fingerprints {
  readonly seen: Seen;
  readonly pieces: Buffer;
}

/**
 * What the bytes of local copies were when they were last hashed and matched, as long as it is the same copy: who fetches it again gets each piece compared with
 * its fingerprint, in place of all of them hashed with SHA-1. In memory only, and bounded: what was not fetched for longest is forgotten. Nobody counts such
 * a copy as verified at that time: scrub, vouches and trimming hash it.
 */
export class CopyFingerprints {
  private readonly copies = new LRUCache<Key, Fingerprints>({ maxSize: FINGERPRINTS_MAX_BYTES });

  /** For the body of a copy; undefined where hashing is as cheap. */
  of(key: Key, { seen, sizeBytes }: Pick<StoredBlob, "seen" | "sizeBytes">): BodyFingerprints | undefined {
    if (sizeBytes < FINGERPRINTED_BLOB_LEAST_BYTES) return undefined;
    return {
      known: () => {
        const entry = this.copies.get(key);
        return entry && entry.seen === seen ? entry.pieces : null;
      },
      note: (pieces) => {
        this.copies.set(key, { seen, pieces }, { size: pieces.length + FINGERPRINTS_ENTRY_BYTES });
      },
      forget: () => this.copies.delete(key),
    };
  }
}
