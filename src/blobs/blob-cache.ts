import type { Key } from "../core/key.ts";
import { CACHE_ENTRY_BYTES, WHOLE_BLOB_MAX_BYTES } from "../core/limits.ts";

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
  private readonly entries = new Map<Key, Buffer>();
  private readonly maxBytes: number;
  private usedBytes = 0;
  private hits = 0;
  private misses = 0;

  /** `maxBytes`: 0 keeps nothing. */
  constructor(maxBytes: number) {
    this.maxBytes = maxBytes;
  }

  /** Not to be changed: readers share them. */
  get(key: Key): Buffer | undefined {
    const bytes = this.entries.get(key);
    if (bytes === undefined) {
      this.misses++;
      return undefined;
    }
    this.hits++;
    this.entries.delete(key); // to the end of the order
    this.entries.set(key, bytes);
    return bytes;
  }

  /** Would it keep a blob of this size? */
  takes(sizeBytes: number): boolean {
    return sizeBytes <= WHOLE_BLOB_MAX_BYTES && costOf(sizeBytes) * LARGEST_PART <= this.maxBytes;
  }

  /** `bytes` were hashed to `key`, and are not changed afterwards. */
  put(key: Key, bytes: Buffer): void {
    if (!this.takes(bytes.length) || this.entries.has(key)) return;
    this.entries.set(key, alone(bytes));
    this.usedBytes += costOf(bytes.length);
    for (const [oldest, { length }] of this.entries) {
      if (this.usedBytes <= this.maxBytes) break;
      this.entries.delete(oldest);
      this.usedBytes -= costOf(length);
    }
  }

  figures(): CacheFigures {
    const { entries, usedBytes, maxBytes, hits, misses } = this;
    return { blobs: entries.size, bytes: usedBytes, max_bytes: maxBytes, hits, misses };
  }
}

function costOf(sizeBytes: number): number {
  return sizeBytes + CACHE_ENTRY_BYTES;
}

/** A piece of a network buffer would keep all of that buffer. */
function alone(bytes: Buffer): Buffer {
  if (bytes.buffer.byteLength === bytes.length) return bytes;
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  bytes.copy(copy);
  return copy;
}
