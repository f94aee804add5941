import type { FileHandle } from "node:fs/promises";
import { keyOfBytes } from "../core/key.ts";
import { SEGMENT_SCAN_BYTES } from "../core/limits.ts";
import type { SegmentFile } from "./segment-file.ts";
import {
  decodeRecord,
  RECORD_ALIGNMENT_BYTES,
  RECORD_HEADER_BYTES,
  type RecordHeader,
  recordBytes,
  SEGMENT_HEADER_BYTES,
} from "./segment-record.ts";

export type ScannedRecord = RecordHeader & { readonly offset: number; readonly bytes: number };

export interface Scanned {
  readonly records: readonly ScannedRecord[];
  /** Blobs that were being written when the process died, and are not whole. */
  readonly torn: ReadonlyArray<ScannedRecord & { readonly kind: "blob" }>;
  /** What follows was never acknowledged. */
  readonly endBytes: number;
  /** Stretches of what had been acknowledged in which there is no valid record: copies may be lost, nobody knows whose. */
  readonly damagedCount: number;
}

/** `from`: the offset of a record, or of the end. */
export type SegmentScanOptions = Pick<SegmentFile, "salt"> & { readonly from?: number; readonly sizeBytes: number };

/**
 * The records of a segment from an offset on. Behind damage it looks for the next valid record and goes on; deletions are not believed
 * until a blob has shown that it has its footing again.
 */
export async function scanSegment(handle: FileHandle, options: SegmentScanOptions): Promise<Scanned> {
  return new SegmentScan(handle, options).run();
}

class SegmentScan {
  private readonly handle: FileHandle;
  private readonly options: SegmentScanOptions;
  private readonly records: ScannedRecord[] = [];
  /** Begin and end of each. */
  private readonly damaged: Array<readonly [number, number]> = [];
  private readonly window = Buffer.allocUnsafe(SEGMENT_SCAN_BYTES);
  private windowBegin = 0;
  private windowEnd = 0;
  private durableEnd: number;

  constructor(handle: FileHandle, options: SegmentScanOptions) {
    this.handle = handle;
    this.options = options;
    this.durableEnd = options.from ?? SEGMENT_HEADER_BYTES;
  }

  async run(): Promise<Scanned> {
    let offset = this.durableEnd;
    let hasFooting = true;
    while (offset + RECORD_HEADER_BYTES <= this.options.sizeBytes) {
      const record = await this.recordAt(offset);
      if (!record) {
        const next = await this.nextMagic(offset + RECORD_ALIGNMENT_BYTES);
        this.damaged.push([offset, next]);
        hasFooting = false;
        offset = next;
        continue;
      }
      this.durableEnd = Math.max(this.durableEnd, record.durableEnd);
      hasFooting ||= record.kind === "blob" && (await this.isWhole(record));
      if (hasFooting || record.kind === "blob") this.records.push(record);
      offset += record.bytes;
    }
    return this.withoutTail(offset);
  }

  /** Null: no valid record, or one that goes on behind the end of the file. */
  private async recordAt(offset: number): Promise<ScannedRecord | null> {
    const header = decodeRecord(this.options.salt, await this.read(offset, RECORD_HEADER_BYTES), offset);
    if (!header) return null;
    const bytes = header.kind === "blob" ? recordBytes(header.sizeBytes) : RECORD_HEADER_BYTES;
    return offset + bytes <= this.options.sizeBytes ? { ...header, offset, bytes } : null;
  }

  /** The next offset, aligned, at which there may be a record; the end of the file when there is none. */
  private async nextMagic(from: number): Promise<number> {
    const { salt, sizeBytes } = this.options;
    let at = from;
    while (at + RECORD_HEADER_BYTES <= sizeBytes) {
      const bytes = await this.read(at, Math.min(SEGMENT_SCAN_BYTES, sizeBytes - at));
      const found = bytes.indexOf(salt.magic);
      if (found < 0) at += Math.max(RECORD_ALIGNMENT_BYTES, bytes.length - RECORD_HEADER_BYTES);
      else if (found % RECORD_ALIGNMENT_BYTES === 0) return at + found;
      else at += Math.ceil(found / RECORD_ALIGNMENT_BYTES) * RECORD_ALIGNMENT_BYTES;
      at -= at % RECORD_ALIGNMENT_BYTES;
    }
    return sizeBytes;
  }

  /** Behind the last offset that is known to have been durable the first damage is the end, and a blob counts only if it is whole. */
  private async withoutTail(scannedEnd: number): Promise<Scanned> {
    let endBytes = Math.max(scannedEnd, this.durableEnd);
    for (const [begin] of this.damaged) if (begin >= this.durableEnd) endBytes = Math.min(endBytes, begin);
    const records = this.records.filter(({ offset }) => offset < endBytes);
    const torn = new Set<ScannedRecord & { kind: "blob" }>();
    for (const record of records) {
      if (record.kind === "blob" && record.offset >= this.durableEnd && !(await this.isWhole(record))) torn.add(record);
    }
    return {
      records: records.filter((record) => record.kind !== "blob" || !torn.has(record)),
      torn: [...torn],
      endBytes,
      damagedCount: this.damaged.filter(([begin]) => begin < this.durableEnd).length,
    };
  }

  private async isWhole(record: ScannedRecord & { kind: "blob" }): Promise<boolean> {
    const bytes = await this.read(record.offset + RECORD_HEADER_BYTES, record.sizeBytes);
    return bytes.length === record.sizeBytes && keyOfBytes(bytes) === record.key;
  }

  /** A view that is good until the next read; shorter at the end of the file. */
  private async read(offset: number, length: number): Promise<Buffer> {
    if (length > this.window.length) return readFully(this.handle, Buffer.allocUnsafe(length), offset);
    if (offset < this.windowBegin || offset + length > this.windowEnd) {
      this.windowBegin = offset;
      this.windowEnd = offset + (await readFully(this.handle, this.window, offset)).length;
    }
    const at = offset - this.windowBegin;
    return this.window.subarray(at, Math.min(at + length, this.windowEnd - this.windowBegin));
  }
}

async function readFully(handle: FileHandle, into: Buffer, offset: number): Promise<Buffer> {
  let filled = 0;
  while (filled < into.length) {
    const { bytesRead } = await handle.read(into, filled, into.length - filled, offset + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return into.subarray(0, filled);
}
