import type { Key } from "../core/key.ts";
import type { CopyIndex } from "./copy-index.ts";
import type { SegmentFile } from "./segment-file.ts";
import type { RecordPlace, RecordTarget } from "./segment-record.ts";

/** The segments of a store and the index into them: what a record that is on stable storage means for both. */
export class SegmentSet {
  readonly index: CopyIndex;
  private readonly segments = new Map<number, SegmentFile>();

  constructor(index: CopyIndex) {
    this.index = index;
  }

  get count(): number {
    return this.segments.size;
  }

  add(segment: SegmentFile): void {
    this.segments.set(segment.id, segment);
  }

  remove(id: number): void {
    this.segments.delete(id);
  }

  get(id: number): SegmentFile | undefined {
    return this.segments.get(id);
  }

  readonly exists = (id: number): boolean => this.segments.has(id);

  /** In the order in which they were begun. */
  all(): SegmentFile[] {
    return [...this.segments.values()].sort((a, b) => a.id - b.id);
  }

  /** This record is the copy of its key from now on. Answers the one that was. */
  stored(key: Key, place: RecordPlace): RecordPlace | null {
    const before = this.forget(key);
    this.index.setPlace(key, place);
    this.segments.get(place.segment)?.addLive(place);
    return before;
  }

  /** As a checkpoint says, which has each key once. `key`: its bytes. */
  known(key: Uint8Array, place: RecordPlace): void {
    this.index.setPlaceOf(key, place);
    this.segments.get(place.segment)?.addLive(place);
  }

  /** That record is no copy any more; a newer one of the same key stays. */
  deleted(key: Key, target: RecordTarget): boolean {
    if (!this.index.isAt(key, target)) return false;
    this.forget(key);
    this.index.remove(key);
    return true;
  }

  private forget(key: Key): RecordPlace | null {
    const before = this.index.place(key);
    if (before) this.segments.get(before.segment)?.takeLive(before);
    return before;
  }
}
