import { crc32 } from "node:zlib";
import { hexOf, type Key } from "../../../src/core/key.ts";
import { keyOfFile, Layout } from "../../../src/storage/layout.ts";
import { ROOT } from "./node-run.ts";
import type { SimDisk } from "./sim-disk.ts";
import type { SimFile } from "./sim-file.ts";
import type { SimFolder } from "./sim-folder.ts";

const layout = new Layout(ROOT);
export const SEGMENTS = `${ROOT}/segments`;

export const SEGMENT_HEADER_BYTES = 64;
const HEADER_BYTES = 48;
const SALT_BYTES = 16;
/** Where its copies begin: twice, since without it no record can be told. */
const SALTS_AT = [8, 40];

/** Where on a disk the copy of a key is, and what it is. */
export interface CopyAt {
  readonly path: string;
  readonly file: SimFile;
  /** Of the bytes; in a record the header is before them. */
  readonly begin: number;
  readonly sizeBytes: number;
  readonly isRecord: boolean;
}

interface Record {
  readonly isBlob: boolean;
  readonly segment: string;
  readonly offset: number;
  readonly sizeBytes: number;
  /** Of a deletion: what it deletes, as `segment offset`. */
  readonly target: string;
  readonly file: SimFile;
}

type SegmentFiles = ReadonlyArray<readonly [string, SimFile]>;

/** What was found in the folder of segments, at some version of its names. */
const listed = new WeakMap<SimFolder, { readonly version: number; readonly segments: SegmentFiles }>();

type Records = ReadonlyMap<string, readonly Record[]>;

/** What was read of a segment, by key, at some version of its bytes. */
const read = new WeakMap<SimFile, { readonly version: number; readonly records: Records }>();

export function pathOf(key: Key): string {
  return layout.blob(key);
}

/** The files of segments on a disk, in order, by name. */
export function segmentsOn(disk: SimDisk): SegmentFiles {
  const folder = disk.at(SEGMENTS);
  if (folder?.kind !== "folder") return [];
  const before = listed.get(folder);
  if (before?.version === folder.version) return before.segments;
  const segments: Array<readonly [string, SimFile]> = [];
  for (const [name, file] of folder.entries)
    if (name.endsWith(".seg") && file.kind === "file") segments.push([name, file]);
  segments.sort(([a], [b]) => (a < b ? -1 : 1));
  listed.set(folder, { version: folder.version, segments });
  return segments;
}

/**
 * The copy of a key as anybody finds it who knows the format, with code of its own: the last record of it that can be told from its header and was not
 * deleted, else its file.
 */
export function copyOn(disk: SimDisk, { key, path }: { readonly key: Key; readonly path: string }): CopyAt | null {
  const record = lastOf(segmentsOn(disk), hexOf(key));
  if (record) {
    const { file, offset, sizeBytes, segment } = record;
    return { path: `${SEGMENTS}/${segment}`, file, begin: offset + HEADER_BYTES, sizeBytes, isRecord: true };
  }
  const file = disk.at(path);
  return file?.kind === "file" ? { path, file, begin: 0, sizeBytes: file.size, isRecord: false } : null;
}

function lastOf(segments: SegmentFiles, hex: string): Record | undefined {
  const found: Record[] = [];
  for (const [name, file] of segments) {
    const records = recordsOf(name, file).get(hex);
    if (records) found.push(...records);
  }
  if (found.length < 2) return found[0]?.isBlob ? found[0] : undefined;
  const deleted = new Set(found.flatMap(({ isBlob, target }) => (isBlob ? [] : [target])));
  return found.findLast(({ isBlob, segment, offset }) => isBlob && !deleted.has(`${segment} ${offset}`));
}

/** Is there a segment whose header is damaged in both places? A node that runs has what is in it, and goes on to write to it; nobody else can tell it. */
export function hasLostHeader(disk: SimDisk): boolean {
  return segmentsOn(disk).some(([, { bytes }]) => bytes.length >= SEGMENT_HEADER_BYTES && !saltOf(bytes));
}

/** Keys of all copies on a disk, in files and in records. */
export function keysOn(disk: SimDisk): Set<Key> {
  const keys = new Set<Key>();
  const blobs = disk.at(layout.blobs);
  for (const [name, folder] of blobs?.kind === "folder" ? blobs.entries : []) {
    for (const file of folder.kind === "folder" ? folder.entries.keys() : []) {
      const key = keyOfFile(name, file);
      if (key) keys.add(key);
    }
  }
  const segments = segmentsOn(disk);
  const named = new Set(segments.flatMap(([name, file]) => [...recordsOf(name, file).keys()]));
  for (const hex of named) if (lastOf(segments, hex)) keys.add(`sha1:${hex}` as Key);
  return keys;
}

function recordsOf(name: string, file: SimFile): Records {
  const before = read.get(file);
  if (before?.version === file.version) return before.records;
  const records = parse(name, file);
  read.set(file, { version: file.version, records });
  return records;
}

function parse(name: string, file: SimFile): Records {
  const { bytes } = file;
  const records = new Map<string, Record[]>();
  const salt = saltOf(bytes);
  if (!salt) return records;
  const magic = salt.subarray(0, 8);
  const seed = crc32(salt);
  for (let at = bytes.indexOf(magic, SEGMENT_HEADER_BYTES); at >= 0; at = bytes.indexOf(magic, at + 8)) {
    if (at % 8 !== 0 || at + HEADER_BYTES > bytes.length) continue;
    if (bytes.readUInt32LE(at + 44) !== crc32(bytes.subarray(at, at + 44), (seed ^ at) >>> 0)) continue;
    const isBlob = bytes[at + 8] === 1;
    const size = bytes.readUInt32LE(at + 12);
    if (isBlob && at + HEADER_BYTES + size > bytes.length) continue;
    const hex = bytes.toString("hex", at + 16, at + 36);
    const segment = `${bytes
      .readUInt32LE(at + 36)
      .toString(16)
      .padStart(8, "0")}.seg`;
    const target = isBlob ? "" : `${segment} ${8 * size}`;
    const record = { isBlob, segment: name, offset: at, sizeBytes: isBlob ? size : 0, target, file };
    records.set(hex, [...(records.get(hex) ?? []), record]);
  }
  return records;
}

function saltOf(bytes: Buffer): Buffer | undefined {
  for (const at of SALTS_AT) {
    const half = bytes.subarray(at - 8, at + SALT_BYTES + 4);
    if (half.length < SALT_BYTES + 12 || half.toString("latin1", 0, 8) !== "CASKSEG1") continue;
    if (half.readUInt32LE(24) === crc32(half.subarray(0, 24))) return half.subarray(8, 24);
  }
  return undefined;
}

/** What can happen to a copy behind a node's back. */
export function damagesOf(disk: SimDisk, copy: CopyAt): { readonly [kind: string]: () => void } {
  const { file, begin, sizeBytes } = copy;
  const flip = (at: number) => () => file.damage(at, Buffer.of((file.bytes[at] as number) ^ 1));
  const ofBytes = {
    "first byte": flip(begin),
    "last byte": flip(begin + sizeBytes - 1),
    middle: flip(begin + (sizeBytes >> 1)),
  };
  if (!copy.isRecord) return { ...(sizeBytes > 0 ? ofBytes : {}), ...damagesOfFiles(disk, copy) };
  const header = begin - HEADER_BYTES;
  const ofRecord = {
    "record zeroed": () => file.damage(header, Buffer.alloc(HEADER_BYTES + sizeBytes)),
    "header of a record": flip(header + 16),
  };
  if (sizeBytes === 0) return ofRecord;
  return {
    ...ofBytes,
    ...ofRecord,
    "bytes of a record zeroed": () => file.damage(begin, Buffer.alloc(sizeBytes)),
    "another blob in a record": () => file.damage(begin, Buffer.alloc(sizeBytes, "the bytes of another blob")),
  };
}

function damagesOfFiles(disk: SimDisk, { path, sizeBytes }: CopyAt): { readonly [kind: string]: () => void } {
  const always = {
    grown: () => disk.rot(path, (bytes) => Buffer.concat([bytes, Buffer.from("more")])),
    gone: () => disk.remove(path),
  };
  if (sizeBytes === 0) return always;
  return {
    ...always,
    cut: () => disk.rot(path, (bytes) => bytes.subarray(0, bytes.length >> 1)),
    emptied: () => disk.rot(path, () => Buffer.alloc(0)),
    "another blob": () => disk.rot(path, () => Buffer.from("the bytes of another blob")),
  };
}
