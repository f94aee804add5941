import { crc32 } from "node:zlib";
import type { Key } from "../core/key.ts";
import { KEY_BYTES, readKey, writeKey } from "../core/key-bytes.ts";
import type { Random } from "../core/random.ts";

/**
 * A segment file: a header, then records, each at a multiple of 8 bytes. All numbers are little-endian.
 *
 *     header   0 "CASKSEG1"   8 salt (16)   24 CRC-32 of these 24   28 zeros   32 the same once more
 *     record   0 magic (the first 8 bytes of the salt)   8 kind   9 zeros   12 size   16 key (20)   36 time   40 durable
 *             44 CRC-32 of these 44, begun with the rest of the salt and the record's offset   48 the blob's bytes, zeros up to the next record
 *
 * Nobody outside knows the salt, and a record is valid at its own offset alone: no uploaded bytes, not even a copy of a segment, can pass
 * for a record. `time`: seconds since 1970. `durable`: the offset up to which the segment was on stable storage when the record was
 * written; what fails its checks behind the last such offset was never acknowledged. A deletion has no bytes; its `size` is the offset of
 * the record that is deleted, in units of 8 bytes, and its `time` that record's segment. The bytes are checked by the key.
 */
export const SEGMENT_HEADER_BYTES = 64;
export const RECORD_HEADER_BYTES = 48;
export const RECORD_ALIGNMENT_BYTES = 8;

const MAGIC = Buffer.from("CASKSEG1", "latin1");
const SALT_BYTES = 16;
const MAGIC_BYTES = 8;
/** Magic and salt. */
const HEADER_CHECKED_BYTES = 24;
const CHECKED_BYTES = 44;
const BLOB = 1;
const DELETION = 2;

/** Where a record lies. `offset`: of its header. `sizeBytes`: of the blob. */
export interface RecordPlace {
  readonly segment: number;
  readonly offset: number;
  readonly sizeBytes: number;
}

export type RecordTarget = Pick<RecordPlace, "segment" | "offset">;

export type RecordHeader =
  | { readonly kind: "blob"; readonly key: Key; readonly sizeBytes: number; readonly durableEnd: number }
  | { readonly kind: "deletion"; readonly key: Key; readonly target: RecordTarget; readonly durableEnd: number };

export interface RecordStamp {
  readonly offset: number;
  readonly seconds: number;
  readonly durableEnd: number;
}

/** What makes the records of one segment its own. */
export class SegmentSalt {
  readonly bytes: Buffer;
  readonly magic: Buffer;
  private readonly seed: number;
  /** Used again by each call: a start makes one for each record there is. */
  private readonly checked = Buffer.alloc(CHECKED_BYTES);

  constructor(bytes: Buffer) {
    this.bytes = bytes;
    this.magic = bytes.subarray(0, MAGIC_BYTES);
    this.seed = crc32(bytes);
  }

  static make(random: Random): SegmentSalt {
    return new SegmentSalt(Buffer.from(random.hex(SALT_BYTES), "hex"));
  }

  /** Begins the check of a record: no two offsets begin alike. */
  checkOf(header: Buffer, offset: number): number {
    header.copy(this.checked, 0, 0, CHECKED_BYTES);
    return crc32(this.checked, (this.seed ^ offset) >>> 0);
  }
}

export function encodeSegmentHeader(salt: SegmentSalt): Buffer {
  const half = Buffer.alloc(SEGMENT_HEADER_BYTES / 2);
  MAGIC.copy(half);
  salt.bytes.copy(half, MAGIC.length);
  half.writeUInt32LE(crc32(half.subarray(0, HEADER_CHECKED_BYTES)), HEADER_CHECKED_BYTES);
  return Buffer.concat([half, half]);
}

/** From either half: without the salt no record could be told. Null: neither is whole. */
export function decodeSegmentHeader(header: Buffer): SegmentSalt | null {
  const middle = SEGMENT_HEADER_BYTES / 2;
  return decodeHalf(header.subarray(0, middle)) ?? decodeHalf(header.subarray(middle));
}

function decodeHalf(half: Buffer): SegmentSalt | null {
  if (half.length < SEGMENT_HEADER_BYTES / 2 || !half.subarray(0, MAGIC.length).equals(MAGIC)) return null;
  if (half.readUInt32LE(HEADER_CHECKED_BYTES) !== crc32(half.subarray(0, HEADER_CHECKED_BYTES))) return null;
  return new SegmentSalt(Buffer.from(half.subarray(MAGIC.length, HEADER_CHECKED_BYTES)));
}

/** Bytes that a record with a blob of this size takes. */
export function recordBytes(sizeBytes: number): number {
  return RECORD_HEADER_BYTES + alignedUp(sizeBytes);
}

export function alignedUp(bytes: number): number {
  return Math.ceil(bytes / RECORD_ALIGNMENT_BYTES) * RECORD_ALIGNMENT_BYTES;
}

export function encodeBlobHeader(salt: SegmentSalt, key: Key, sizeBytes: number, stamp: RecordStamp): Buffer {
  return encode(salt, { kind: BLOB, key, size: sizeBytes, time: stamp.seconds }, stamp);
}

export function encodeDeletion(salt: SegmentSalt, key: Key, target: RecordTarget, stamp: RecordStamp): Buffer {
  const size = target.offset / RECORD_ALIGNMENT_BYTES;
  return encode(salt, { kind: DELETION, key, size, time: target.segment }, stamp);
}

/** Null: these bytes are no valid record of the segment at this offset. */
export function decodeRecord(salt: SegmentSalt, bytes: Buffer, offset: number): RecordHeader | null {
  if (bytes.length < RECORD_HEADER_BYTES || salt.magic.compare(bytes, 0, MAGIC_BYTES) !== 0) return null;
  if (bytes.readUInt32LE(CHECKED_BYTES) !== salt.checkOf(bytes, offset)) return null;
  const size = bytes.readUInt32LE(12);
  const durableEnd = bytes.readUInt32LE(40);
  const key = readKey(bytes, 16);
  if (bytes[8] === BLOB) return { kind: "blob", key, sizeBytes: size, durableEnd };
  if (bytes[8] !== DELETION) return null;
  const target = { segment: bytes.readUInt32LE(36), offset: size * RECORD_ALIGNMENT_BYTES };
  return { kind: "deletion", key, target, durableEnd };
}

function encode(
  salt: SegmentSalt,
  { kind, key, size, time }: { kind: number; key: Key; size: number; time: number },
  { offset, durableEnd }: RecordStamp,
): Buffer {
  const header = Buffer.alloc(RECORD_HEADER_BYTES);
  salt.magic.copy(header);
  header[8] = kind;
  header.writeUInt32LE(size, 12);
  writeKey(key, header.subarray(16, 16 + KEY_BYTES));
  header.writeUInt32LE(time, 36);
  header.writeUInt32LE(durableEnd, 40);
  header.writeUInt32LE(salt.checkOf(header, offset), CHECKED_BYTES);
  return header;
}
