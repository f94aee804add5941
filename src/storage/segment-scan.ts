import type { FileHandle } from "node:fs/promises";
import { keyOfBytes } from "../core/key.ts";
import { SEGMENT_SCAN_BYTES } from "../core/limits.ts";
import { readFully } from "./read-fully.ts";
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
  /** Blobs that were being written when the process died, and are not whole. */
  readonly torn: ReadonlyArray<ScannedRecord & { readonly kind: "blob" }>;
  /** What follows was never acknowledged. */
  readonly endBytes: number;
  /** Stretches of what had been acknowledged in which there is no valid record: copies may be lost, nobody knows whose. */
  readonly damagedCount: number;
}

export interface SegmentScanOptions extends Pick<SegmentFile, "salt"> {
  /** The offset of a record, or of the end. */
  readonly from?: number;
  readonly sizeBytes: number;
  /** Gets the records, in order, each as soon as it is certain: all of a segment with many small blobs are a lot of memory. */
  readonly onRecord: (record: ScannedRecord) => void;
  /** Memory to read into, for who scans one segment after the other: `scanWindow()`. */
  readonly window?: Buffer;
}

export function scanWindow(): Buffer {
  return Buffer.allocUnsafeSlow(SEGMENT_SCAN_BYTES);
}

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
  /** Behind the last offset that is known to have been durable: what they are is known at the end, or when a later record says more. */
  private open: ScannedRecord[] = [];
  /** Begin and end of each. */
  private readonly damaged: Array<readonly [number, number]> = [];
  private readonly window: Buffer;
  /** Of one record at a time: a view for each would be most of what a scan leaves to the garbage collector. */
  private readonly header = Buffer.alloc(RECORD_HEADER_BYTES);
  private windowBegin = 0;
  private windowEnd = 0;
  private durableEnd: number;

  constructor(handle: FileHandle, options: SegmentScanOptions) {
    this.handle = handle;
    this.options = options;
    this.window = options.window ?? scanWindow();
    this.durableEnd = options.from ?? SEGMENT_HEADER_BYTES;
  }

  async run(): Promise<Scanned> {
    let offset = this.durableEnd;
    let hasFooting = true;
    while (offset + RECORD_HEADER_BYTES <= this.options.sizeBytes) {
      if (!this.isInWindow(offset, RECORD_HEADER_BYTES)) await this.read(offset, RECORD_HEADER_BYTES);
      const record = this.recordInWindow(offset);
      if (!record) {
        const next = await this.nextMagic(offset + RECORD_ALIGNMENT_BYTES);
        this.damaged.push([offset, next]);
        hasFooting = false;
        offset = next;
        continue;
      }
      if (record.durableEnd > this.durableEnd) this.settleUpTo(record.durableEnd);
      hasFooting ||= record.kind === "blob" && (await this.isWhole(record));
      if (hasFooting || record.kind === "blob") this.meet(record);
      offset += record.bytes;
    }
    return this.withoutTail(offset);
  }

  private meet(record: ScannedRecord): void {
    if (record.offset < this.durableEnd) this.options.onRecord(record);
    else this.open.push(record);
  }

  /** All before was acknowledged: it counts, whatever is found behind. */
  private settleUpTo(durableEnd: number): void {
    this.durableEnd = durableEnd;
    const open = this.open.findIndex(({ offset }) => offset >= durableEnd);
    const settled = this.open.splice(0, open < 0 ? this.open.length : open);
    for (const record of settled) this.options.onRecord(record);
  }

  /** Null: no valid record, or one that goes on behind the end of the file. */
  private recordInWindow(offset: number): ScannedRecord | null {
    if (!this.isInWindow(offset, RECORD_HEADER_BYTES)) return null; // the file has become shorter
    this.window.copy(this.header, 0, offset - this.windowBegin);
    const header = decodeRecord(this.options.salt, this.header, offset);
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
    const torn: Array<ScannedRecord & { kind: "blob" }> = [];
    for (const record of this.open) {
      if (record.offset >= endBytes) break;
      if (record.kind === "blob" && !(await this.isWhole(record))) torn.push(record);
      else this.options.onRecord(record);
    }
    return {
      torn,
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
    if (!this.isInWindow(offset, length)) {
      this.windowBegin = offset;
      this.windowEnd = offset + (await readFully(this.handle, this.window, offset)).length;
    }
    const at = offset - this.windowBegin;
    return this.window.subarray(at, Math.min(at + length, this.windowEnd - this.windowBegin));
  }

  private isInWindow(offset: number, length: number): boolean {
    return offset >= this.windowBegin && offset + length <= this.windowEnd;
  }
}
