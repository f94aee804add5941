import type { Key } from "../core/key.ts";
import { type KeyRange, keyAfter, WHOLE_RANGE } from "../core/key-range.ts";
import { KeyTable } from "./key-table.ts";
import { RECORD_ALIGNMENT_BYTES, type RecordPlace, type RecordTarget } from "./segment-record.ts";

/** 3 bytes: the segment. 6 bytes: the offset in units of 8 bytes (28 bits), the size (20 bits). All zeros: a file. */
const PLACE_BYTES = 9;
const SIZE_VALUES = 2 ** 20;
const OFFSET_VALUES = 2 ** 28;
const SEGMENT_VALUES = 2 ** 24;

/** What the index can tell apart: larger blobs, segments and numbers are not for it. */
export const INDEXED_SIZE_MAX_BYTES: number = SIZE_VALUES - 1;
export const INDEXED_SEGMENT_MAX_BYTES: number = OFFSET_VALUES * RECORD_ALIGNMENT_BYTES - 1;
export const INDEXED_SEGMENT_MAX_ID: number = SEGMENT_VALUES - 1;

const WALKED_AT_ONCE_COUNT = 1_000;

/**
 * Where each key's copy lies, in memory: in a segment (this alone says so), or perhaps in a file (the filesystem says whether). In one sorted
 * table, about 35 bytes a key.
 */
export class CopyIndex {
  private readonly table = new KeyTable(PLACE_BYTES);
  private readonly encoded = Buffer.alloc(PLACE_BYTES);
  private inSegments = 0;

  /** Copies in segments. */
  get recordCount(): number {
    return this.inSegments;
  }

  get sizeBytes(): number {
    return this.table.sizeBytes;
  }

  /** Null: not in a segment. */
  place(key: Key): RecordPlace | null {
    const payload = this.table.payload(key);
    return payload ? decode(payload) : null;
  }

  mayBeFile(key: Key): boolean {
    const payload = this.table.payload(key);
    return payload !== undefined && decode(payload) === null;
  }

  isAt(key: Key, { segment, offset }: RecordTarget): boolean {
    const place = this.place(key);
    return place !== null && place.segment === segment && place.offset === offset;
  }

  setPlace(key: Key, { segment, offset, sizeBytes }: RecordPlace): void {
    if (!this.place(key)) this.inSegments++;
    this.encoded.writeUIntBE(segment, 0, 3);
    this.encoded.writeUIntBE((offset / RECORD_ALIGNMENT_BYTES) * SIZE_VALUES + sizeBytes, 3, 6);
    this.table.insert(key, this.encoded);
  }

  /** Nothing changes for a key that is in a segment. */
  noteFile(key: Key): void {
    this.table.insert(key);
  }

  /** To be called for a copy in a segment, or a file, that is gone. */
  remove(key: Key): void {
    if (this.place(key)) this.inSegments--;
    this.table.delete(key);
  }

  /** Copies in segments, in the order of their keys. The index may change meanwhile: what comes or goes may be in it or not. */
  *records({ from, to }: KeyRange = WHOLE_RANGE): Generator<readonly [Key, RecordPlace]> {
    for (let next: Key | undefined = from; next !== undefined; ) {
      const keys: Key[] = this.table.keysIn({ from: next, to }, WALKED_AT_ONCE_COUNT);
      for (const key of keys) {
        const place = this.place(key);
        if (place) yield [key, place];
      }
      const last = keys.at(-1);
      next = last === undefined || keys.length < WALKED_AT_ONCE_COUNT ? undefined : keyAfter(last);
    }
  }
}

function decode(payload: Buffer): RecordPlace | null {
  const rest = payload.readUIntBE(3, 6);
  if (rest === 0) return null;
  const units = Math.floor(rest / SIZE_VALUES);
  return {
    segment: payload.readUIntBE(0, 3),
    offset: units * RECORD_ALIGNMENT_BYTES,
    sizeBytes: rest - units * SIZE_VALUES,
  };
}
