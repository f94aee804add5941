import type { Key } from "../core/key.ts";
import { KEY_BYTES, readKey, writeKey } from "../core/key-bytes.ts";
import { type KeyDigest, type KeyRange, keyAfter, WHOLE_RANGE } from "../core/key-range.ts";
import { digestOf, hashKeyBytes, SUM_LANES } from "../core/key-sum.ts";
import { BucketRecords, GROUP_BUCKETS, NODE_BUCKETS, ROOT_BUCKETS } from "./bucket-records.ts";
import { BucketRuns } from "./bucket-runs.ts";
import { EntrySearch, PREFIX_BYTES, prefixOf, SUFFIX_BYTES } from "./entry-search.ts";
import { own, RUN_MAX_ENTRIES, shared } from "./entry-slab.ts";
import type { KeySet } from "./key-set.ts";
import { type SharedMemory, TableShare } from "./table-share.ts";

/** A node with so few keys becomes a run again: far fewer than made it one, so that it does not go to and fro. */
const NODE_LEAST_KEYS = RUN_MAX_ENTRIES / 4;
const LISTED_AT_ONCE_COUNT = 1_000;

/** What a walk over a range finds: buckets that lie in it whole, and the entries of others, from `begin` to `end` (excluded). */
interface RangeVisitor {
  /** Neighbours from `begin` to `end` (excluded). Missing: such buckets are taken apart like the others. */
  readonly whole?: (begin: number, end: number) => void;
  /** `prefix`: of the bucket at the root. Answers whether to go on. */
  readonly entries: (begin: number, end: number, prefix: number) => boolean;
}

/** Where a walk is: how deep, below which bucket of the root, and where the range is cut (undefined: it goes on beyond). */
interface Place {
  readonly low: Uint8Array | undefined;
  readonly high: Uint8Array | undefined;
  readonly depth: number;
  readonly prefix: number;
}

/**
 * A sorted set of keys in two pieces of memory: 65,536 buckets by the first two bytes of the key, each with the count and the sum of
 * its keys, and a slab with their other 18 bytes, in order, each followed by a payload of a fixed size (none by default).
 * The digest of any range is the sum of whole buckets and of some entries of two cut ones.
 */
export class KeyTable implements KeySet {
  private readonly payloadBytes: number;
  private readonly entryBytes: number;
  private readonly records: BucketRecords;
  private readonly runs: BucketRuns;
  private readonly search: EntrySearch;
  private readonly share: TableShare | undefined;
  private onExchanged: (() => void) | undefined;
  /** The memory when the change that is under way began. */
  private before: { readonly words: ArrayBufferLike; readonly slab: unknown } | undefined;
  private size = 0;
  // Used again by each call: nothing here waits.
  private readonly key = Buffer.alloc(KEY_BYTES);
  private readonly other = Buffer.alloc(KEY_BYTES);
  private readonly hash = new Uint32Array(SUM_LANES);

  /** `isShared`: other threads may read it (`sharedWith`). */
  constructor(payloadBytes = 0, isShared = false) {
    this.payloadBytes = payloadBytes;
    this.entryBytes = SUFFIX_BYTES + payloadBytes;
    const allocate = isShared ? shared : own;
    const records = new BucketRecords(allocate);
    const runs = new BucketRuns(records, this.entryBytes, allocate);
    const { entryBytes } = this;
    this.records = records;
    this.runs = runs;
    this.search = new EntrySearch({
      records,
      entryBytes,
      get slab() {
        return runs.slab;
      },
    });
    this.share = isShared ? new TableShare() : undefined;
  }

  /** The memory for readers in other threads, now and each time that it is another. A table that is not shared tells nothing. */
  shareWith(readers: (memory: SharedMemory) => void): void {
    const { share, entryBytes } = this;
    if (!share) return;
    this.onExchanged = () => {
      const [words, entries] = [this.records.memory, this.runs.slab.bytes.buffer] as SharedArrayBuffer[];
      readers({
        control: share.control,
        words: words as SharedArrayBuffer,
        entries: entries as SharedArrayBuffer,
        entryBytes,
        generation: share.generation,
      });
    };
    this.onExchanged();
  }

  get count(): number {
    return this.size;
  }

  /** Memory taken, used or not. */
  get sizeBytes(): number {
    return this.runs.slab.bytes.length + this.records.sizeBytes;
  }

  has(key: Key): boolean {
    return this.find(key) >= 0;
  }

  /** Where the payload of a key begins in `bytes`, until the next change of the table; -1: the key is absent. */
  payloadAt(key: Key): number {
    const entry = this.find(key);
    return entry < 0 ? -1 : entry * this.entryBytes + SUFFIX_BYTES;
  }

  /** Another piece of memory after each change. */
  get bytes(): Buffer {
    return this.runs.slab.bytes;
  }

  /** Makes room for so many keys at once: where they come one by one, the slab is copied each time it is full. */
  expect(count: number): void {
    this.beginChange();
    this.runs.expect(count);
    this.endChange();
  }

  /** Answers whether the key was absent. A payload takes the place of the one that is there; a new key without one gets zeros. */
  insert(key: Key, payload?: Uint8Array): boolean {
    writeKey(key, this.key);
    return this.insertKey(payload);
  }

  /** The same, of a key that is not in a string. */
  insertBytes(key: Uint8Array, payload?: Uint8Array): boolean {
    this.key.set(key);
    return this.insertKey(payload);
  }

  /** Answers whether the key was there. */
  delete(key: Key): boolean {
    const entry = this.find(key);
    if (entry < 0) return false;
    this.beginChange();
    this.deleteEntry(entry);
    this.endChange();
    return true;
  }

  private deleteEntry(entry: number): void {
    const bucket = this.search.bucketOf(this.key);
    const end = this.records.begin(bucket) + this.records.count(bucket);
    this.runs.slab.move(entry + 1, entry, end - entry - 1);
    hashKeyBytes(this.key, this.hash);
    this.along(this.key, (each) => this.records.takeKey(each, this.hash));
    this.size--;
    this.runs.shrink(bucket);
    this.along(this.key, (each) => {
      if (this.records.isNode(each) && this.records.count(each) <= NODE_LEAST_KEYS) this.gather(each);
    });
  }

  digest(range: KeyRange = WHOLE_RANGE): KeyDigest {
    const lanes = new Uint32Array(SUM_LANES);
    let count = 0;
    this.visit(range, {
      whole: (begin, end) => {
        count += this.records.addUp(begin, end, lanes);
      },
      entries: (begin, end, prefix) => {
        count += end - begin;
        for (let entry = begin; entry < end; entry++) this.addHashTo(entry, prefix, lanes);
        return true;
      },
    });
    return digestOf(count, lanes);
  }

  /** The first `limit` keys of a range, in order. */
  keysIn(range: KeyRange, limit: number): Key[] {
    const keys: Key[] = [];
    if (limit <= 0) return keys;
    this.visit(range, {
      entries: (begin, end, prefix) => {
        for (let entry = begin; entry < end && keys.length < limit; entry++) {
          this.readEntry(entry, prefix);
          keys.push(readKey(this.other));
        }
        return keys.length < limit;
      },
    });
    return keys;
  }

  /**
   * Calls `each` for the first `limit` keys of a range, in order: with the bytes of the key, and where its payload begins in which memory. Both are good
   * until `each` returns. Answers from where on there may be more.
   */
  walk(range: KeyRange, limit: number, each: (key: Buffer, bytes: Buffer, at: number) => void): Key | undefined {
    let count = 0;
    this.visit(range, {
      entries: (begin, end, prefix) => {
        for (let entry = begin; entry < end && count < limit; entry++, count++) {
          this.readEntry(entry, prefix);
          each(this.other, this.runs.slab.bytes, entry * this.entryBytes + SUFFIX_BYTES);
        }
        return count < limit;
      },
    });
    return count < limit ? undefined : keyAfter(readKey(this.other));
  }

  /** In order. The table may change meanwhile: keys that come or go may be listed or not, all others are, once. */
  *keys({ from, to }: KeyRange = WHOLE_RANGE): Generator<Key> {
    for (let next: Key | undefined = from; next !== undefined; ) {
      const keys: Key[] = this.keysIn({ from: next, to }, LISTED_AT_ONCE_COUNT);
      yield* keys;
      const last = keys.at(-1);
      next = last === undefined || keys.length < LISTED_AT_ONCE_COUNT ? undefined : keyAfter(last);
    }
  }

  /** Leaves the key's bytes in `this.key`. Answers the number of its entry, or -1. */
  private find(key: Key): number {
    writeKey(key, this.key);
    return this.search.find(this.key);
  }

  /** Calls `each` for all buckets that a key lies in, from the root down. */
  private along(key: Uint8Array, each: (bucket: number, depth: number) => void): void {
    let bucket = prefixOf(key);
    for (let depth = PREFIX_BYTES; ; depth++) {
      each(bucket, depth);
      if (!this.records.isNode(bucket)) return;
      bucket = this.records.begin(bucket) + (key[depth] as number);
    }
  }

  /** Readers in other threads believe nothing that they see until `endChange`. */
  private beginChange(): void {
    if (!this.share) return;
    this.before = { words: this.records.memory, slab: this.runs.slab };
    this.share.begin();
  }

  private endChange(): void {
    const { share, before } = this;
    if (!share) return;
    const isExchanged = this.records.memory !== before?.words || this.runs.slab !== before?.slab;
    if (isExchanged) share.exchanged();
    share.end();
    if (isExchanged) this.onExchanged?.();
  }

  /** Of the key that is in `this.key`. */
  private insertKey(payload: Uint8Array | undefined): boolean {
    let entry = this.search.find(this.key);
    const isNew = entry < 0;
    if (!isNew && !payload) return false;
    this.beginChange();
    if (isNew) entry = this.insertNew();
    if (payload) this.setPayload(entry, payload);
    this.endChange();
    return isNew;
  }

  /** The key that is in `this.key`. */
  private insertNew(): number {
    let bucket = this.search.bucketOf(this.key);
    while (!this.runs.makeRoom(bucket)) {
      this.spread(bucket);
      bucket = this.search.bucketOf(this.key);
    }
    const entry = this.search.lowerBound(bucket, this.key);
    const { slab } = this.runs;
    slab.move(entry, entry + 1, this.records.begin(bucket) + this.records.count(bucket) - entry);
    const at = entry * this.entryBytes;
    for (let i = 0; i < SUFFIX_BYTES; i++) slab.bytes[at + i] = this.key[PREFIX_BYTES + i] as number;
    if (this.payloadBytes > 0) slab.bytes.fill(0, at + SUFFIX_BYTES, at + this.entryBytes);
    hashKeyBytes(this.key, this.hash);
    this.along(this.key, this.addHash);
    this.size++;
    return entry;
  }

  private readonly addHash = (bucket: number): void => this.records.addKey(bucket, this.hash);

  private setPayload(entry: number, payload: Uint8Array): void {
    if (payload.length !== this.payloadBytes) throw new RangeError(`a payload has ${this.payloadBytes} bytes`);
    this.runs.slab.bytes.set(payload, entry * this.entryBytes + SUFFIX_BYTES);
  }

  /** The bucket of `this.key` whose run can't grow becomes a node of 256 buckets. */
  private spread(bucket: number): void {
    let digit = 0;
    this.along(this.key, (_, depth) => {
      digit = depth - PREFIX_BYTES;
    });
    const entries = this.runs.slab.copyOf(this.records.begin(bucket), this.records.count(bucket));
    this.runs.drop(bucket);
    const node = this.records.takeNode();
    this.records.setNode(bucket, node);
    const digitAt = (at: number) => entries[at + digit] as number;
    for (let begin = 0, end = 0; begin < entries.length; begin = end) {
      while (end < entries.length && digitAt(end) === digitAt(begin)) end += this.entryBytes;
      this.fill(node + digitAt(begin), entries.subarray(begin, end));
    }
  }

  /** An empty bucket gets entries, all with the prefix of `this.key`. */
  private fill(bucket: number, entries: Uint8Array): void {
    const count = entries.length / this.entryBytes;
    this.runs.give(bucket, count);
    const begin = this.records.begin(bucket);
    this.runs.slab.write(begin, entries);
    for (let entry = begin; entry < begin + count; entry++) {
      this.readEntry(entry, prefixOf(this.key));
      hashKeyBytes(this.other, this.hash);
      this.records.addKey(bucket, this.hash);
    }
  }

  /** A node becomes a run; its count and sum are what they were. */
  private gather(bucket: number): void {
    const parts: Uint8Array[] = [];
    this.takeApart(this.records.begin(bucket), parts);
    this.records.setEmpty(bucket);
    const count = this.records.count(bucket);
    if (count === 0) return;
    this.runs.give(bucket, count);
    this.runs.slab.write(this.records.begin(bucket), Buffer.concat(parts));
  }

  private takeApart(node: number, parts: Uint8Array[]): void {
    for (let bucket = node; bucket < node + NODE_BUCKETS; bucket++) {
      if (this.records.isNode(bucket)) this.takeApart(this.records.begin(bucket), parts);
      if (!this.records.hasRun(bucket)) continue;
      parts.push(this.runs.slab.copyOf(this.records.begin(bucket), this.records.count(bucket)));
      this.runs.drop(bucket);
    }
    this.records.giveNode(node);
  }

  private visit({ from, to }: KeyRange, visitor: RangeVisitor): void {
    if (to !== undefined && from >= to) return;
    const [low, high] = [bytesOf(from), to === undefined ? undefined : bytesOf(to)];
    const [first, last] = [prefixOf(low), high ? prefixOf(high) : ROOT_BUCKETS - 1];
    this.visitBuckets({ node: 0, first, last }, { low, high, depth: PREFIX_BYTES, prefix: 0 }, visitor);
  }

  /** From the `first` to the `last` bucket (included) of a node, or of the root; these two may be cut. */
  private visitBuckets(
    { node, first, last }: { node: number; first: number; last: number },
    at: Place,
    visitor: RangeVisitor,
  ): boolean {
    for (let digit = first; digit <= last; digit++) {
      const low = digit === first ? at.low : undefined;
      const high = digit === last ? at.high : undefined;
      if (visitor.whole && !low && !high) {
        const end = at.high ? last : last + 1;
        visitor.whole(node + digit, node + end);
        digit = end - 1;
      } else if (node === 0 && this.records.isInEmptyGroup(digit)) {
        digit |= GROUP_BUCKETS - 1; // the last of the group
      } else if (this.records.count(node + digit) > 0) {
        const prefix = node === 0 ? digit : at.prefix;
        if (!this.visitBucket(node + digit, { low, high, depth: at.depth, prefix }, visitor)) return false;
      }
    }
    return true;
  }

  private visitBucket(bucket: number, at: Place, visitor: RangeVisitor): boolean {
    const { low, high, depth, prefix } = at;
    const begin = this.records.begin(bucket);
    if (this.records.isNode(bucket)) {
      const first = low ? (low[depth] as number) : 0;
      const last = high ? (high[depth] as number) : NODE_BUCKETS - 1;
      return this.visitBuckets({ node: begin, first, last }, { ...at, depth: depth + 1 }, visitor);
    }
    const first = low ? this.search.lowerBound(bucket, low) : begin;
    const end = high ? this.search.lowerBound(bucket, high) : begin + this.records.count(bucket);
    return visitor.entries(first, end, prefix);
  }

  private addHashTo(entry: number, prefix: number, lanes: Uint32Array): void {
    this.readEntry(entry, prefix);
    hashKeyBytes(this.other, this.hash);
    for (let lane = 0; lane < SUM_LANES; lane++) lanes[lane] = lanes[lane]! + this.hash[lane]!;
  }

  /** An entry's whole key, into `this.other`. */
  private readEntry(entry: number, prefix: number): void {
    const { bytes } = this.runs.slab;
    const at = entry * this.entryBytes;
    this.other[0] = prefix >>> 8;
    this.other[1] = prefix & 0xff;
    for (let i = 0; i < SUFFIX_BYTES; i++) this.other[PREFIX_BYTES + i] = bytes[at + i] as number;
  }
}

function bytesOf(key: Key): Buffer {
  const bytes = Buffer.allocUnsafe(KEY_BYTES);
  writeKey(key, bytes);
  return bytes;
}
