import { open, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { hexOf, type Key } from "../../src/core/key.ts";
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

const MAGIC_AT = 8;
const MAGIC_BYTES = 8;
const KEY_AT = 16;

/**
 * Finds the copy of a key in the segments of a data folder as anybody could who knows the format, also while a node runs on it. Null: there is
 * none.
 */
export async function findRecord(root: string, key: Key): Promise<RecordAt | null> {
  const folder = join(root, "segments");
  const names = (await readdir(folder).catch(() => [])).filter((name) => name.endsWith(".seg")).sort();
  const digits = Buffer.from(hexOf(key), "hex");
  const found: RecordAt[] = [];
  const deleted = new Set<string>();
  for (const name of names) {
    const bytes = await readFile(join(folder, name));
    const magic = bytes.subarray(MAGIC_AT, MAGIC_AT + MAGIC_BYTES);
    for (let at = bytes.indexOf(digits); at >= 0; at = bytes.indexOf(digits, at + 1)) {
      const offset = at - KEY_AT;
      if (offset < 0 || !bytes.subarray(offset, offset + MAGIC_BYTES).equals(magic)) continue;
      if (bytes[offset + MAGIC_BYTES] === 1) {
        found.push({ file: `segments/${name}`, offset, bytesOffset: offset + RECORD_HEADER_BYTES });
      } else {
        const segment = bytes
          .readUInt32LE(offset + 36)
          .toString(16)
          .padStart(8, "0");
        deleted.add(`segments/${segment}.seg ${8 * bytes.readUInt32LE(offset + 12)}`);
      }
    }
  }
  return found.filter(({ file, offset }) => !deleted.has(`${file} ${offset}`)).at(-1) ?? null;
}

/** The bytes of the copy of a key, whatever they are; null: there is none. */
export async function bytesOfRecord(root: string, key: Key): Promise<Buffer | null> {
  const at = await findRecord(root, key);
  if (!at) return null;
  const segment = await readFile(join(root, at.file));
  return segment.subarray(at.bytesOffset, at.bytesOffset + segment.readUInt32LE(at.offset + 12));
}

async function overwrite(path: string, at: number, bytes: Uint8Array): Promise<void> {
  const handle = await open(path, "r+");
  try {
    await handle.write(bytes, 0, bytes.length, at);
  } finally {
    await handle.close();
  }
}

async function flipAt(root: string, at: RecordAt, place: (sizeBytes: number) => number): Promise<void> {
  const path = join(root, at.file);
  const segment = await readFile(path);
  const offset = at.offset + place(segment.readUInt32LE(at.offset + 12));
  await overwrite(path, offset, Buffer.of((segment[offset] as number) ^ 0x10));
}

/** What can happen to a record behind a node's back. */
export const DAMAGES_OF_RECORDS: Record<string, (root: string, at: RecordAt) => Promise<void>> = {
  "flipped in the first byte": (root, at) => flipAt(root, at, () => RECORD_HEADER_BYTES),
  "flipped in the last byte": (root, at) => flipAt(root, at, (size) => RECORD_HEADER_BYTES + size - 1),
  "flipped in the middle": (root, at) => flipAt(root, at, (size) => RECORD_HEADER_BYTES + (size >> 1)),
  "zeroed, its header too": async (root, at) => {
    const sizeBytes = (await readFile(join(root, at.file))).readUInt32LE(at.offset + 12);
    await overwrite(join(root, at.file), at.offset, Buffer.alloc(RECORD_HEADER_BYTES + sizeBytes));
  },
  "written over with other bytes": (root, at) => overwrite(join(root, at.file), at.bytesOffset, Buffer.from("other")),
};

/** Its bytes are right, but it can't be told from its header. */
export function damageHeader(root: string, at: RecordAt): Promise<void> {
  return flipAt(root, at, () => KEY_AT);
}
