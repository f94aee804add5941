import { LRUCache } from "lru-cache";
import type { Key } from "../core/key.ts";
import { CACHE_ENTRY_BYTES, WHOLE_BLOB_MAX_BYTES } from "../core/limits.ts";
import { isAlone, isShared } from "../core/piece-pool.ts";

/** So that one blob never drives out more than this part of the others. */
const LARGEST_PART = 8;

export interface CacheFigures {
  readonly blobs: number;
  /** What they take in memory, with what is needed to find them. */
  readonly bytes: number;
  readonly max_bytes: number;
  readonly hits: number;
  readonly misses: number;
}

/**
 * Bytes of small blobs in memory, each hashed when it came in; the ones not asked for longest go first. It says nothing of where a blob is
 * stored, or whether it is at all: it is asked when a client wants bytes, and by nobody who counts copies.
 */
export class BlobCache {
  private readonly entries: LRUCache<Key, Buffer>;
  /** Asked for once: what they would take is counted, they are not kept. */
  private readonly seen: LRUCache<Key, true>;
  private readonly maxBytes: number;
  private hits = 0;
  private misses = 0;

  /** `maxBytes`: 0 keeps nothing. */
  constructor(maxBytes: number) {
    this.maxBytes = maxBytes;
    const maxSize = Math.max(1, maxBytes); // 0 would be no bound
    this.entries = new LRUCache({ maxSize });
    this.seen = new LRUCache({ maxSize });
  }

  /** Not to be changed: readers share them. */
  get(key: Key): Buffer | undefined {
    const bytes = this.entries.get(key);
    if (bytes === undefined) {
      this.misses++;
      return undefined;
    }
    this.hits++;
    return bytes;
  }

  /** Would it keep a blob of this size? */
  takes(sizeBytes: number): boolean {
    return sizeBytes <= WHOLE_BLOB_MAX_BYTES && costOf(sizeBytes) * LARGEST_PART <= this.maxBytes;
  }

  /**
   * `bytes` were hashed to `key`, and are not changed afterwards, but may be recycled. Of what lies in memory of a pool a copy has to be made, and it is
   * large: it is kept when it is asked for a second time before as much else was asked for once as the cache could hold.
   */
  put(key: Key, bytes: Buffer): void {
    if (!this.takes(bytes.length) || this.entries.has(key)) return;
    if (isShared(bytes) && !this.wasSeen(key, bytes.length)) return;
    this.entries.set(key, alone(bytes), { size: costOf(bytes.length) });
  }

  figures(): CacheFigures {
    const { entries, maxBytes, hits, misses } = this;
    return { blobs: entries.size, bytes: entries.calculatedSize, max_bytes: maxBytes, hits, misses };
  }

  private wasSeen(key: Key, sizeBytes: number): boolean {
    if (this.seen.delete(key)) return true;
    this.seen.set(key, true, { size: costOf(sizeBytes) });
    return false;
  }
}

function costOf(sizeBytes: number): number {
  return sizeBytes + CACHE_ENTRY_BYTES;
}

/** A piece of a network buffer would keep all of that buffer; memory of a pool is used again. */
function alone(bytes: Buffer): Buffer {
  if (isAlone(bytes)) return bytes;
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  bytes.copy(copy);
  return copy;
}
