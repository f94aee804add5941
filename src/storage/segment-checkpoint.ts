import { constants } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { crc32 } from "node:zlib";
import type { Key } from "../core/key.ts";
import { KEY_BYTES, readKey, writeKey } from "../core/key-bytes.ts";
import { CHECKPOINT_PIECE_ENTRIES } from "../core/limits.ts";
import type { FileSystem } from "./file-system.ts";
import { syncFolder } from "./folder-sync.ts";
import type { RecordPlace } from "./segment-record.ts";

/**
 * Where the copies in segments lay at some time, so that a start reads what was written since, and not all. It is believed only whole, and
 * without it nothing is missing.
 *
 *     one line of JSON: `CheckpointHead`
 *     entries of 32 bytes: key (20), segment (4), offset (4), size (4)
 *     CRC-32 of all before (4)
 *
 * Numbers are little-endian. What it says of a key may be as old as the begin of its writing: whoever reads it goes on with the records
 * behind `endBytes` of each segment, and ends with what is true.
 */
export interface Checkpoint {
  readonly segments: readonly CheckpointSegment[];
  readonly entries: Iterable<readonly [Key, RecordPlace]>;
}

export interface CheckpointSegment {
  readonly id: number;
  readonly salt: string;
  readonly endBytes: number;
  /** Deletions in it: segment, count. */
  readonly deletions: ReadonlyArray<readonly [number, number]>;
}

interface CheckpointHead {
  readonly version: 1;
  readonly segments: readonly CheckpointSegment[];
}

const ENTRY_BYTES = KEY_BYTES + 12;
const CHECK_BYTES = 4;
const HEAD_MAX_BYTES = 64 * 2 ** 20;
const NEWLINE = 0x0a;
const FLAGS = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC;

export interface WriteCheckpointOptions {
  readonly files: FileSystem;
  readonly folder: string;
  readonly path: string;
}

/** Beside the old one, then in its place. Answers its size in bytes. */
export async function writeCheckpoint(
  { files, folder, path }: WriteCheckpointOptions,
  { segments, entries }: Checkpoint,
): Promise<number> {
  const temporary = `${path}.new`;
  const handle = await files.open(temporary, FLAGS, 0o644);
  let bytes: number;
  try {
    bytes = await writeTo(handle, { version: 1, segments }, entries);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await files.rename(temporary, path);
  await syncFolder(files, folder);
  return bytes;
}

async function writeTo(handle: FileHandle, head: CheckpointHead, entries: Checkpoint["entries"]): Promise<number> {
  let [at, check] = [0, 0];
  const write = async (piece: Buffer) => {
    check = crc32(piece, check);
    for (let done = 0; done < piece.length; ) {
      done += (await handle.write(piece, done, piece.length - done, at + done)).bytesWritten;
    }
    at += piece.length;
  };
  await write(Buffer.from(`${JSON.stringify(head)}\n`));
  const piece = Buffer.alloc(CHECKPOINT_PIECE_ENTRIES * ENTRY_BYTES);
  let used = 0;
  for (const [key, place] of entries) {
    encodeEntry(piece, used, key, place);
    used += ENTRY_BYTES;
    if (used < piece.length) continue;
    await write(piece);
    used = 0;
  }
  await write(piece.subarray(0, used));
  const end = Buffer.alloc(CHECK_BYTES);
  end.writeUInt32LE(check);
  await write(end);
  return at;
}

/** Null: there is none, or none that can be believed. It is read whole into memory: 32 bytes a blob, for a moment. */
export async function readCheckpoint(files: FileSystem, path: string): Promise<Checkpoint | null> {
  let bytes: Buffer;
  try {
    bytes = await files.readFile(path);
  } catch (_absentOrUnreadable) {
    return null; // the segments say it all
  }
  const end = bytes.length - CHECK_BYTES;
  if (end < 0 || bytes.readUInt32LE(end) !== crc32(bytes.subarray(0, end))) return null;
  const newline = bytes.subarray(0, HEAD_MAX_BYTES).indexOf(NEWLINE);
  if (newline < 0 || (end - newline - 1) % ENTRY_BYTES !== 0) return null;
  const head = JSON.parse(bytes.toString("utf8", 0, newline)) as CheckpointHead;
  if (head.version !== 1) return null;
  return { segments: head.segments, entries: decodeEntries(bytes.subarray(newline + 1, end)) };
}

function encodeEntry(into: Buffer, at: number, key: Key, place: RecordPlace): void {
  writeKey(key, into.subarray(at, at + KEY_BYTES));
  into.writeUInt32LE(place.segment, at + KEY_BYTES);
  into.writeUInt32LE(place.offset, at + KEY_BYTES + 4);
  into.writeUInt32LE(place.sizeBytes, at + KEY_BYTES + 8);
}

function* decodeEntries(bytes: Buffer): Generator<readonly [Key, RecordPlace]> {
  for (let at = 0; at < bytes.length; at += ENTRY_BYTES) {
    const key = readKey(bytes.subarray(at, at + KEY_BYTES));
    const [segment, offset, sizeBytes] = [0, 4, 8].map((more) => bytes.readUInt32LE(at + KEY_BYTES + more));
    yield [key, { segment, offset, sizeBytes } as RecordPlace];
  }
}
