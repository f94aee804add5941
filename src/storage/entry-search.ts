import { KEY_BYTES } from "../core/key-bytes.ts";
import type { BucketRecords } from "./bucket-records.ts";

/** Bytes of a key that its bucket says; the others are in its entry. */
export const PREFIX_BYTES = 2;
export const SUFFIX_BYTES = KEY_BYTES - PREFIX_BYTES;

/** The parts of a table of keys. Others may be there after each change. */
export interface TableMemory {
  readonly records: Pick<BucketRecords, "isNode" | "hasRun" | "begin" | "count">;
  readonly slab: { readonly bytes: Buffer };
  readonly entryBytes: number;
}

/**
 * Finds keys in the memory of a table. A reader in another thread may meet it in the middle of a change: then what is found means nothing, but it
 * is found in few steps, and no memory outside is touched.
 */
export class EntrySearch {
  private readonly table: TableMemory;

  constructor(table: TableMemory) {
    this.table = table;
  }

  /** The number of the key's entry, or -1. */
  find(key: Uint8Array): number {
    const { records } = this.table;
    const bucket = this.bucketOf(key);
    if (!records.hasRun(bucket)) return -1;
    const entry = this.lowerBound(bucket, key);
    const end = records.begin(bucket) + records.count(bucket);
    return entry < end && this.compare(entry, key) === 0 ? entry : -1;
  }

  /** The bucket with the run in which a key lies, or would. */
  bucketOf(key: Uint8Array): number {
    const { records } = this.table;
    let bucket = prefixOf(key);
    for (let depth = PREFIX_BYTES; records.isNode(bucket); depth++) {
      bucket = records.begin(bucket) + (key[depth] as number);
    }
    return bucket;
  }

  /** The first entry of a bucket's run that is not below the key. */
  lowerBound(bucket: number, key: Uint8Array): number {
    const { records } = this.table;
    let low = records.begin(bucket);
    let high = low + records.count(bucket);
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      if (this.compare(middle, key) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  private compare(entry: number, key: Uint8Array): number {
    const { slab, entryBytes } = this.table;
    const { bytes } = slab;
    const at = entry * entryBytes;
    for (let i = 0; i < SUFFIX_BYTES; i++) {
      const difference = (bytes[at + i] as number) - (key[PREFIX_BYTES + i] as number);
      if (difference !== 0) return difference;
    }
    return 0;
  }
}

export function prefixOf(key: Uint8Array): number {
  return ((key[0] as number) << 8) | (key[1] as number);
}
