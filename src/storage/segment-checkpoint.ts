import { constants } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { crc32 } from "node:zlib";
import { CaskError } from "../core/errors.ts";
import type { Key } from "../core/key.ts";
import { KEY_BYTES } from "../core/key-bytes.ts";
import { FIRST_KEY } from "../core/key-range.ts";
import { CHECKPOINT_PIECE_ENTRIES } from "../core/limits.ts";
import type { FileSystem } from "./file-system.ts";
import { syncFolder } from "./folder-sync.ts";
import { readFully } from "./read-fully.ts";
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
  /** Shows entries from a key on, so many at most, and answers from where on there may be more. Keys come as bytes, good until `each` returns. */
  readonly entries: (from: Key, limit: number, each: EachEntry) => Key | undefined;
}

export type EachEntry = (key: Uint8Array, place: RecordPlace) => void;

/** A checkpoint that was found whole. */
export interface StoredCheckpoint {
  readonly segments: readonly CheckpointSegment[];
  readonly entryCount: number;
  /**
   * Calls `each` for all entries, in the order of their keys. It gets the bytes of a key, good until it returns: as many strings as there are keys would
   * be most of the memory of a start. Rejects when the file is not what it was a moment ago; then what `each` got is worth nothing.
   */
  walk(each: EachEntry): Promise<void>;
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
const HEAD_FIRST_BYTES = 4_096;
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
  for (let next: Key | undefined = FIRST_KEY; next !== undefined; ) {
    let used = 0;
    next = entries(next, CHECKPOINT_PIECE_ENTRIES, (key, place) => {
      encodeEntry(piece, used, key, place);
      used += ENTRY_BYTES;
    });
    await write(piece.subarray(0, used));
  }
  const end = Buffer.alloc(CHECK_BYTES);
  end.writeUInt32LE(check);
  await write(end);
  return at;
}

/** Null: there is none, or none that can be believed. */
export async function readCheckpoint(files: FileSystem, path: string): Promise<StoredCheckpoint | null> {
  try {
    return await CheckpointFile.open(files, path);
  } catch (_absentOrUnreadable) {
    return null; // the segments say it all
  }
}

/** It is read piece by piece, twice: nothing may be done with its entries before all of it is known to be right. */
class CheckpointFile implements StoredCheckpoint {
  readonly segments: readonly CheckpointSegment[];
  readonly entryCount: number;
  private readonly files: FileSystem;
  private readonly path: string;
  private readonly head: Buffer;
  private readonly check: number;

  private constructor(
    { files, path }: { files: FileSystem; path: string },
    { head, end, check }: { head: Buffer; end: number; check: number },
  ) {
    this.files = files;
    this.path = path;
    this.head = head;
    this.check = check;
    this.entryCount = (end - head.length) / ENTRY_BYTES;
    this.segments = (JSON.parse(head.toString("utf8")) as CheckpointHead).segments;
  }

  static async open(files: FileSystem, path: string): Promise<CheckpointFile | null> {
    return reading(files, path, async (handle) => {
      const end = (await handle.stat()).size - CHECK_BYTES;
      const head = await readHead(handle);
      if (!head || end < head.length || (end - head.length) % ENTRY_BYTES !== 0) return null;
      const check = (await readFully(handle, Buffer.alloc(CHECK_BYTES), end)).readUInt32LE();
      const found = await checkOf(handle, { head, count: (end - head.length) / ENTRY_BYTES });
      if (check !== found || (JSON.parse(head.toString("utf8")) as CheckpointHead).version !== 1) return null;
      return new CheckpointFile({ files, path }, { head, end, check });
    });
  }

  walk(each: EachEntry): Promise<void> {
    return reading(this.files, this.path, async (handle) => {
      const check = await checkOf(handle, { head: this.head, count: this.entryCount }, (piece) => {
        for (let at = 0; at < piece.length; at += ENTRY_BYTES) {
          each(piece.subarray(at, at + KEY_BYTES), decodePlace(piece, at + KEY_BYTES));
        }
      });
      if (check !== this.check) throw new CaskError("STORAGE_FAILED", `${this.path} changed while it was read`);
    });
  }
}

/** The first line. Null: there is none. */
async function readHead(handle: FileHandle): Promise<Buffer | null> {
  for (let bytes = HEAD_FIRST_BYTES; bytes <= HEAD_MAX_BYTES; bytes *= 2) {
    const begin = await readFully(handle, Buffer.alloc(bytes), 0);
    const newline = begin.indexOf(NEWLINE);
    if (newline >= 0) return Buffer.from(begin.subarray(0, newline + 1));
    if (begin.length < bytes) return null;
  }
  return null;
}

/** The CRC-32 of the head and so many entries behind it, which are shown piece by piece; fewer, where the file ends before. */
async function checkOf(
  handle: FileHandle,
  { head, count }: { head: Buffer; count: number },
  show: (piece: Buffer) => void = () => undefined,
): Promise<number> {
  const memory = Buffer.alloc(Math.min(count, CHECKPOINT_PIECE_ENTRIES) * ENTRY_BYTES);
  const end = head.length + count * ENTRY_BYTES;
  let check = crc32(head);
  for (let at = head.length; at < end; at += memory.length) {
    const piece = await readFully(handle, memory.subarray(0, Math.min(memory.length, end - at)), at);
    check = crc32(piece, check);
    show(piece.subarray(0, piece.length - (piece.length % ENTRY_BYTES)));
  }
  return check;
}

async function reading<T>(files: FileSystem, path: string, work: (handle: FileHandle) => Promise<T>): Promise<T> {
  const handle = await files.open(path, constants.O_RDONLY);
  try {
    return await work(handle);
  } finally {
    await handle.close();
  }
}

function encodeEntry(into: Buffer, at: number, key: Uint8Array, place: RecordPlace): void {
  into.set(key, at);
  into.writeUInt32LE(place.segment, at + KEY_BYTES);
  into.writeUInt32LE(place.offset, at + KEY_BYTES + 4);
  into.writeUInt32LE(place.sizeBytes, at + KEY_BYTES + 8);
}

function decodePlace(bytes: Buffer, at: number): RecordPlace {
  return {
    segment: bytes.readUInt32LE(at),
    offset: bytes.readUInt32LE(at + 4),
    sizeBytes: bytes.readUInt32LE(at + 8),
  };
}
