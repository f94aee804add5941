import { CaskError } from "../core/errors.ts";
import type { Key } from "../core/key.ts";
import { readKey } from "../core/key-bytes.ts";
import { isInRange, type KeyDigest, type KeyRange, WHOLE_RANGE } from "../core/key-range.ts";
import type { KeySet } from "./key-set.ts";
import { KeyTable } from "./key-table.ts";
import { RECORD_ALIGNMENT_BYTES, type RecordPlace, type RecordTarget } from "./segment-record.ts";
import type { SharedMemory } from "./table-share.ts";

/** 3 bytes: the segment. 6 bytes: the offset in units of 8 bytes (28 bits), the size (20 bits). All zeros: a file. */
export const PLACE_BYTES = 9;
const SIZE_VALUES = 2 ** 20;
const SEGMENT_VALUES = 2 ** 24;

/** The index can't tell apart more segments. */
export const INDEXED_SEGMENT_MAX_ID: number = SEGMENT_VALUES - 1;

const WALKED_AT_ONCE_COUNT = 1_000;

/**
 * Where each key's copy lies, in memory: in a segment (this alone says so), or perhaps in a file (the filesystem says whether). In one sorted
 * table, about 38 bytes a key. It is the inventory's set of keys as well: a key that the inventory does not count, because what became of it is not
 * known, is left out there, and keeps its place here.
 */
export class CopyIndex implements KeySet {
  private readonly table: KeyTable;
  private readonly encoded = Buffer.alloc(PLACE_BYTES);
  /** In segments, but not counted. */
  private readonly uncounted = new Set<Key>();

  /** `isShared`: for readers in other threads, too. */
  constructor(isShared = false) {
    this.table = new KeyTable(PLACE_BYTES, isShared);
  }

  /** Tells the memory that `SharedIndex` reads, now and whenever it is another. */
  shareWith(readers: (memory: SharedMemory) => void): void {
    this.table.shareWith(readers);
  }

  get count(): number {
    return this.table.count - this.uncounted.size;
  }

  get sizeBytes(): number {
    return this.table.sizeBytes;
  }

  /** Null: not in a segment. */
  place(key: Key): RecordPlace | null {
    const at = this.table.payloadAt(key);
    return at < 0 ? null : decodePlace(this.table.bytes, at);
  }

  mayBeFile(key: Key): boolean {
    const at = this.table.payloadAt(key);
    return at >= 0 && decodePlace(this.table.bytes, at) === null;
  }

  isAt(key: Key, { segment, offset }: RecordTarget): boolean {
    const place = this.place(key);
    return place !== null && place.segment === segment && place.offset === offset;
  }

  /** Before so many keys come at once. */
  expect(count: number): void {
    this.table.expect(count);
  }

  setPlace(key: Key, place: RecordPlace): void {
    this.table.insert(key, this.encode(place));
  }

  setPlaceOf(keyBytes: Uint8Array, place: RecordPlace): void {
    this.table.insertBytes(keyBytes, this.encode(place));
  }

  /** Nothing changes for a key that is in a segment. */
  noteFile(key: Key): void {
    this.table.insert(key);
  }

  /** To be called for a copy in a segment, or a file, that is gone. */
  remove(key: Key): void {
    this.uncounted.delete(key);
    this.table.delete(key);
  }

  has(key: Key): boolean {
    return this.table.has(key) && !this.uncounted.has(key);
  }

  insert(key: Key): boolean {
    const wasUncounted = this.uncounted.delete(key);
    return this.table.insert(key) || wasUncounted;
  }

  delete(key: Key): boolean {
    if (this.uncounted.has(key)) return false;
    if (!this.place(key)) return this.table.delete(key);
    this.uncounted.add(key);
    return true;
  }

  /** Throws DONT_KNOW while a key in the range is not counted: there is no digest without it. */
  digest(range: KeyRange = WHOLE_RANGE): KeyDigest {
    for (const key of this.uncounted) {
      if (isInRange(key, range)) throw new CaskError("DONT_KNOW", `whether ${key} is still here is not known`);
    }
    return this.table.digest(range);
  }

  keysIn(range: KeyRange, limit: number): Key[] {
    if (this.uncounted.size === 0) return this.table.keysIn(range, limit);
    const keys = this.table.keysIn(range, limit + this.uncounted.size);
    return keys.filter((key) => !this.uncounted.has(key)).slice(0, limit);
  }

  /** Keys that are in no segment, in order. */
  files(): Generator<Key> {
    return this.found(WHOLE_RANGE, (key, place) => (place ? undefined : readKey(key)));
  }

  /** Copies in segments, in the order of their keys. The index may change meanwhile: what comes or goes may be in it or not. */
  records(range: KeyRange = WHOLE_RANGE): Generator<readonly [Key, RecordPlace]> {
    return this.found(range, (key, place) => (place ? ([readKey(key), place] as const) : undefined));
  }

  /**
   * Shows the copies in segments among the next `limit` keys, each with the bytes of its key, good until `each` returns. Answers from where on there
   * may be more.
   */
  walkRecords(from: Key, limit: number, each: (key: Uint8Array, place: RecordPlace) => void): Key | undefined {
    return this.table.walk({ from, to: undefined }, limit, (key, bytes, at) => {
      const place = decodePlace(bytes, at);
      if (place) each(key, place);
    });
  }

  /** What `pick` makes of the entries of a range; undefined: nothing. */
  private *found<T>(
    { from, to }: KeyRange,
    pick: (key: Buffer, place: RecordPlace | null) => T | undefined,
  ): Generator<T> {
    for (let next: Key | undefined = from; next !== undefined; ) {
      const found: T[] = [];
      next = this.table.walk({ from: next, to }, WALKED_AT_ONCE_COUNT, (key, bytes, at) => {
        const picked = pick(key, decodePlace(bytes, at));
        if (picked !== undefined) found.push(picked);
      });
      yield* found;
    }
  }

  private encode({ segment, offset, sizeBytes }: RecordPlace): Buffer {
    this.encoded.writeUIntBE(segment, 0, 3);
    this.encoded.writeUIntBE((offset / RECORD_ALIGNMENT_BYTES) * SIZE_VALUES + sizeBytes, 3, 6);
    return this.encoded;
  }
}

export function decodePlace(bytes: Buffer, at: number): RecordPlace | null {
  const rest = bytes.readUIntBE(at + 3, 6);
  if (rest === 0) return null;
  const units = Math.floor(rest / SIZE_VALUES);
  return {
    segment: bytes.readUIntBE(at, 3),
    offset: units * RECORD_ALIGNMENT_BYTES,
    sizeBytes: rest - units * SIZE_VALUES,
  };
}
