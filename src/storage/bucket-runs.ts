import type { BucketRecords } from "./bucket-records.ts";
import { type Allocate, capacityOf, classFor, EntrySlab, RUN_MAX_ENTRIES } from "./entry-slab.ts";

const FIRST_SLAB_ENTRIES = 1_024;
/** A new slab has so much room for what is in it: bytes a key against how often all is packed anew. */
const SLAB_HEADROOM = 1.4;
/** A slab that has this many times the room that is in use is packed into a smaller one. */
const SLAB_SLACK_MAX = 4;

/** Where the entries of each bucket lie: in runs of one slab, which is packed into a new one when it is full. */
export class BucketRuns {
  private readonly records: BucketRecords;
  private current: EntrySlab;
  /** What all runs have room for. */
  private roomEntries = 0;

  private readonly allocate: Allocate;

  constructor(records: BucketRecords, entryBytes: number, allocate: Allocate) {
    this.records = records;
    this.allocate = allocate;
    this.current = new EntrySlab(entryBytes, FIRST_SLAB_ENTRIES, allocate);
  }

  /** Another one after each call that may need room. */
  get slab(): EntrySlab {
    return this.current;
  }

  /** Makes room for so many entries in all. */
  expect(entries: number): void {
    const needed = Math.ceil(entries * SLAB_HEADROOM);
    if (needed > this.current.maxEntries) this.pack(needed);
  }

  /** Sees to it that one more entry fits into a bucket. False: its run is as long as a run can be. */
  makeRoom(bucket: number): boolean {
    const { records } = this;
    if (!records.hasRun(bucket)) {
      this.give(bucket, 1);
      return true;
    }
    const count = records.count(bucket);
    if (count < capacityOf(records.runClass(bucket))) return true;
    if (count === RUN_MAX_ENTRIES) return false;
    this.move(bucket, count + 1);
    return true;
  }

  /** After an entry went. */
  shrink(bucket: number): void {
    const count = this.records.count(bucket);
    if (count === 0) this.drop(bucket);
    else if (classFor(count * 2) < this.records.runClass(bucket)) this.move(bucket, count);
    if (this.current.maxEntries > SLAB_SLACK_MAX * (this.roomEntries + FIRST_SLAB_ENTRIES)) this.pack(0);
  }

  /** An empty bucket gets a run for so many entries. */
  give(bucket: number, entries: number): void {
    this.setRun(bucket, this.take(entries), entries);
  }

  drop(bucket: number): void {
    const runClass = this.records.runClass(bucket);
    this.current.give(this.records.begin(bucket), runClass);
    this.roomEntries -= capacityOf(runClass);
    this.records.setEmpty(bucket);
  }

  private move(bucket: number, entries: number): void {
    const to = this.take(entries);
    this.current.move(this.records.begin(bucket), to, this.records.count(bucket)); // its begin now: `take` may have packed
    this.drop(bucket);
    this.setRun(bucket, to, entries);
  }

  private setRun(bucket: number, begin: number, entries: number): void {
    const runClass = classFor(entries);
    this.records.setRun(bucket, begin, runClass);
    this.roomEntries += capacityOf(runClass);
  }

  private take(entries: number): number {
    const runClass = classFor(entries);
    const begin = this.current.take(runClass);
    if (begin >= 0) return begin;
    this.pack(capacityOf(runClass));
    return this.current.take(runClass);
  }

  /** Into a new slab, each run as tight as its class allows. */
  private pack(moreEntries: number): void {
    const { records, current: old } = this;
    const buckets = records.withRuns();
    let neededEntries = 0;
    for (const bucket of buckets) neededEntries += capacityOf(classFor(records.count(bucket)));
    const maxEntries = Math.ceil(neededEntries * SLAB_HEADROOM) + moreEntries + FIRST_SLAB_ENTRIES;
    this.current = new EntrySlab(old.entryBytes, maxEntries, this.allocate);
    this.roomEntries = 0;
    for (const bucket of buckets) {
      const count = records.count(bucket);
      const begin = this.current.take(classFor(count));
      this.current.copyFrom(old, records.begin(bucket), begin, count);
      this.setRun(bucket, begin, count);
    }
    old.release();
  }
}
