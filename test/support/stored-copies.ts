import { open, readdir, readFile, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { isKey, type Key, keyOfBytes } from "../../src/core/key.ts";
import {
  decodeRecord,
  decodeSegmentHeader,
  RECORD_HEADER_BYTES,
  recordBytes,
  SEGMENT_HEADER_BYTES,
  type SegmentSalt,
} from "../../src/storage/segment-record.ts";

interface Segment {
  readonly salt: SegmentSalt;
  /** What comes before was read already. */
  end: number;
  /** Records of blobs, by offset. */
  readonly blobs: Map<number, { readonly key: Key; readonly sizeBytes: number }>;
}

/**
 * What lies in a data folder, looked at from outside, also while a node runs on it: copies that are files, and copies in segments. Segments only
 * grow, until they vanish: each look reads what is new.
 */
export class StoredCopies {
  private readonly root: string;
  private readonly segments = new Map<number, Segment>();
  private readonly deleted = new Set<string>();

  constructor(root: string) {
    this.root = root;
  }

  /** Sizes by key. */
  async sizes(): Promise<Map<Key, number>> {
    const sizes = new Map<Key, number>();
    for (const [key, path] of await this.files()) {
      const found = await stat(path).catch(() => null); // removed meanwhile
      if (found) sizes.set(key, found.size);
    }
    await this.readNew();
    for (const { key, sizeBytes } of this.records()) sizes.set(key, sizeBytes);
    return sizes;
  }

  async keys(): Promise<Set<Key>> {
    const keys = new Set((await this.files()).map(([key]) => key));
    await this.readNew();
    for (const { key } of this.records()) keys.add(key);
    return keys;
  }

  /** Reads and hashes all copies; answers how many there are, and how many are wrong. To be used when nothing changes any more. */
  async verify(): Promise<{ copies: number; wrong: number }> {
    const found = { copies: 0, wrong: 0 };
    const note = (key: Key, bytes: Uint8Array) => {
      found.copies++;
      if (keyOfBytes(bytes) !== key) found.wrong++;
    };
    for (const [key, path] of await this.files()) note(key, await readFile(path));
    await this.readNew();
    for (const id of this.segments.keys()) {
      const bytes = await readFile(this.pathOf(id));
      for (const { key, sizeBytes, offset } of this.records(id)) {
        const begin = offset + RECORD_HEADER_BYTES;
        note(key, bytes.subarray(begin, begin + sizeBytes));
      }
    }
    return found;
  }

  private async files(): Promise<Array<readonly [Key, string]>> {
    const options = { recursive: true, withFileTypes: true } as const;
    const entries = await readdir(join(this.root, "sha1"), options).catch(() => []);
    return entries.flatMap((entry) => {
      const key = `sha1:${basename(entry.parentPath)}${entry.name}`;
      return entry.isFile() && isKey(key) ? [[key, join(entry.parentPath, entry.name)] as const] : [];
    });
  }

  private *records(only?: number): Generator<{ key: Key; sizeBytes: number; offset: number }> {
    for (const [id, { blobs }] of this.segments) {
      if (only !== undefined && id !== only) continue;
      for (const [offset, blob] of blobs) if (!this.deleted.has(`${id} ${offset}`)) yield { ...blob, offset };
    }
  }

  private async readNew(): Promise<void> {
    const names = await readdir(dirname(this.pathOf(0))).catch(() => []);
    const ids = names.filter((name) => name.endsWith(".seg")).map((name) => Number.parseInt(name, 16));
    for (const id of this.segments.keys()) if (!ids.includes(id)) this.forget(id);
    for (const id of ids) await this.readSegment(id).catch(ignoreMissing);
  }

  private async readSegment(id: number): Promise<void> {
    const handle = await open(this.pathOf(id));
    try {
      const { size } = await handle.stat();
      const salt = decodeSegmentHeader((await handle.read(Buffer.alloc(SEGMENT_HEADER_BYTES))).buffer);
      if (!salt) return; // it has just been made
      const known = this.segments.get(id);
      // Cut off after a kill, or of another folder in the same place.
      if (known && (size < known.end || !salt.bytes.equals(known.salt.bytes))) this.forget(id);
      const segment = this.segments.get(id) ?? { salt, end: SEGMENT_HEADER_BYTES, blobs: new Map() };
      this.segments.set(id, segment);
      const from = segment.end;
      const bytes = Buffer.alloc(size - from);
      await handle.read(bytes, 0, bytes.length, from);
      this.decode(segment, (at) => bytes.subarray(at - from));
    } finally {
      await handle.close();
    }
  }

  private forget(id: number): void {
    this.segments.delete(id);
    for (const place of this.deleted) if (place.startsWith(`${id} `)) this.deleted.delete(place);
  }

  private decode(segment: Segment, from: (offset: number) => Buffer): void {
    for (let at = segment.end; ; at = segment.end) {
      const bytes = from(at);
      const record = decodeRecord(segment.salt, bytes, at);
      const length = record?.kind === "blob" ? recordBytes(record.sizeBytes) : RECORD_HEADER_BYTES;
      if (!record || bytes.length < length) return; // the end, or one that is being written
      if (record.kind === "deletion") this.deleted.add(`${record.target.segment} ${record.target.offset}`);
      else segment.blobs.set(at, { key: record.key, sizeBytes: record.sizeBytes });
      segment.end = at + length;
    }
  }

  private pathOf(id: number): string {
    return join(this.root, "segments", `${id.toString(16).padStart(8, "0")}.seg`);
  }
}

function ignoreMissing(error: unknown): void {
  if ((error as { code?: unknown }).code !== "ENOENT") throw error;
}
