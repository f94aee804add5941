import { SUM_LANES } from "../core/key-sum.ts";
import { type Allocate, own } from "./entry-slab.ts";

/** Buckets by the first two bytes of a key. */
export const ROOT_BUCKETS = 65_536;
/** Buckets of a node, by one further byte. */
export const NODE_BUCKETS = 256;

/** What a bucket is, where it begins (first entry of its run, or first bucket of its node), its count, its sum. */
const [KIND, BEGIN, COUNT, SUM] = [0, 1, 2, 3];
const RECORD_WORDS = SUM + SUM_LANES;
/** About the root of the buckets in a part of a ring with many points: such a range is as many groups as buckets at its ends. */
export const GROUP_BUCKETS = 32;
/** A bucket with a run has the run's class + 1 as its kind. */
const [EMPTY, NODE] = [0, 0xffff];

/**
 * One record for each bucket, in one piece of memory. A bucket has its entries in a run; one with too many of them for that has 256
 * buckets of its own, a node, and its count and sum are those of all below. Keys are hashes: that happens only where somebody
 * chose them.
 */
export class BucketRecords {
  private words: Uint32Array;
  /** Counts and sums of each group of neighbouring root buckets together: a digest of all keys adds up 2,048 numbers, not 65,536. */
  private readonly groups = new Uint32Array((ROOT_BUCKETS / GROUP_BUCKETS) * RECORD_WORDS);
  private used = ROOT_BUCKETS;
  private readonly freeNodes: number[] = [];
  private readonly allocate: Allocate;

  constructor(allocate: Allocate = own) {
    this.allocate = allocate;
    this.words = this.take(ROOT_BUCKETS);
  }

  /** Those of a table that another thread changes: to be read only. */
  static over(memory: SharedArrayBuffer): BucketRecords {
    const records = new BucketRecords(() => new ArrayBuffer(0));
    records.words = new Uint32Array(memory);
    return records;
  }

  /** Another one after it has grown. */
  get memory(): ArrayBufferLike {
    return this.words.buffer;
  }

  get sizeBytes(): number {
    return this.words.byteLength + this.groups.byteLength;
  }

  isNode(bucket: number): boolean {
    return this.words[bucket * RECORD_WORDS + KIND] === NODE;
  }

  hasRun(bucket: number): boolean {
    const kind = this.words[bucket * RECORD_WORDS + KIND];
    return kind !== EMPTY && kind !== NODE;
  }

  runClass(bucket: number): number {
    return (this.words[bucket * RECORD_WORDS + KIND] as number) - 1;
  }

  begin(bucket: number): number {
    return this.words[bucket * RECORD_WORDS + BEGIN] as number;
  }

  count(bucket: number): number {
    return this.words[bucket * RECORD_WORDS + COUNT] as number;
  }

  setRun(bucket: number, begin: number, runClass: number): void {
    this.words[bucket * RECORD_WORDS + KIND] = runClass + 1;
    this.words[bucket * RECORD_WORDS + BEGIN] = begin;
  }

  setNode(bucket: number, begin: number): void {
    this.words[bucket * RECORD_WORDS + KIND] = NODE;
    this.words[bucket * RECORD_WORDS + BEGIN] = begin;
  }

  /** Without a run. Its count and sum stay: they are those of its keys, wherever these lie. */
  setEmpty(bucket: number): void {
    this.words[bucket * RECORD_WORDS + KIND] = EMPTY;
  }

  /** Has the group of a root bucket no keys? */
  isInEmptyGroup(bucket: number): boolean {
    return this.groups[Math.floor(bucket / GROUP_BUCKETS) * RECORD_WORDS + COUNT] === 0;
  }

  addKey(bucket: number, hash: Uint32Array): void {
    add(this.words, bucket, hash);
    if (bucket < ROOT_BUCKETS) add(this.groups, Math.floor(bucket / GROUP_BUCKETS), hash);
  }

  takeKey(bucket: number, hash: Uint32Array): void {
    take(this.words, bucket, hash);
    if (bucket < ROOT_BUCKETS) take(this.groups, Math.floor(bucket / GROUP_BUCKETS), hash);
  }

  /** Adds up the buckets from `begin` to `end` (excluded), of the root or of one node. Answers how many keys they have. */
  addUp(begin: number, end: number, lanes: Uint32Array): number {
    const firstGroup = Math.ceil(begin / GROUP_BUCKETS);
    const endGroup = Math.floor(end / GROUP_BUCKETS);
    if (end > ROOT_BUCKETS || firstGroup >= endGroup) return addUp(this.words, begin, end, lanes);
    return (
      this.addUpInGroup(begin, firstGroup * GROUP_BUCKETS, lanes) +
      addUp(this.groups, firstGroup, endGroup, lanes) +
      this.addUpInGroup(endGroup * GROUP_BUCKETS, end, lanes)
    );
  }

  /** Buckets of one group: of one without keys they are not looked at. */
  private addUpInGroup(begin: number, end: number, lanes: Uint32Array): number {
    return begin === end || this.isInEmptyGroup(begin) ? 0 : addUp(this.words, begin, end, lanes);
  }

  /** The first of 256 empty buckets. */
  takeNode(): number {
    const freed = this.freeNodes.pop();
    if (freed !== undefined) return freed;
    const begin = this.used;
    this.used += NODE_BUCKETS;
    if (this.used * RECORD_WORDS > this.words.length) this.grow();
    return begin;
  }

  giveNode(begin: number): void {
    this.words.fill(0, begin * RECORD_WORDS, (begin + NODE_BUCKETS) * RECORD_WORDS);
    this.freeNodes.push(begin);
  }

  withRuns(): Uint32Array {
    const buckets = new Uint32Array(this.used);
    let count = 0;
    for (let bucket = 0; bucket < this.used; bucket++) if (this.hasRun(bucket)) buckets[count++] = bucket;
    return buckets.subarray(0, count);
  }

  private grow(): void {
    const grown = this.take(Math.ceil(this.used * 1.25));
    grown.set(this.words);
    this.words = grown;
  }

  private take(buckets: number): Uint32Array {
    return new Uint32Array(this.allocate(buckets * RECORD_WORDS * Uint32Array.BYTES_PER_ELEMENT));
  }
}

function add(words: Uint32Array, record: number, hash: Uint32Array): void {
  const at = record * RECORD_WORDS;
  words[at + COUNT] = words[at + COUNT]! + 1;
  for (let lane = 0; lane < SUM_LANES; lane++) words[at + SUM + lane] = words[at + SUM + lane]! + hash[lane]!;
}

function take(words: Uint32Array, record: number, hash: Uint32Array): void {
  const at = record * RECORD_WORDS;
  words[at + COUNT] = words[at + COUNT]! - 1;
  for (let lane = 0; lane < SUM_LANES; lane++) words[at + SUM + lane] = words[at + SUM + lane]! - hash[lane]!;
}

function addUp(words: Uint32Array, begin: number, end: number, lanes: Uint32Array): number {
  let count = 0;
  for (let at = begin * RECORD_WORDS; at < end * RECORD_WORDS; at += RECORD_WORDS) {
    count += words[at + COUNT]!;
    for (let lane = 0; lane < SUM_LANES; lane++) lanes[lane] = lanes[lane]! + words[at + SUM + lane]!;
  }
  return count;
}
