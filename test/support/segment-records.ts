import type { Stat } from "../../src/storage/backend.ts";
import { RECORD_HEADER_BYTES } from "../../src/storage/segment-record.ts";

/** Where a copy lies that is in a segment. */
export interface RecordAt {
  /** Below the data folder. */
  readonly file: string;
  /** Of its header; its bytes follow. */
  readonly offset: number;
  readonly bytesOffset: number;
}

/** Null: the copy is a file. */
export function recordAt({ seen }: Pick<Stat, "seen">): RecordAt | null {
  const match = /^segment-(\d+)-(\d+)$/.exec(seen);
  if (!match) return null;
  const offset = Number(match[2]);
  const name = Number(match[1]).toString(16).padStart(8, "0");
  return { file: `segments/${name}.seg`, offset, bytesOffset: offset + RECORD_HEADER_BYTES };
}

/** A segment in which other bytes stand for a blob's: cut to its size, or filled up with zeros; its last byte differs in any case. */
export function damagedSegment(segment: Buffer, at: RecordAt, bytes: Uint8Array): Buffer {
  const damaged = Buffer.from(segment);
  const { bytesOffset } = at;
  const sizeBytes = segment.readUInt32LE(at.offset + 12);
  damaged.fill(0, bytesOffset, bytesOffset + sizeBytes);
  damaged.set(bytes.subarray(0, sizeBytes), bytesOffset);
  const last = bytesOffset + sizeBytes - 1;
  damaged[last] = (segment[last] as number) ^ 0xff;
  return damaged;
}
