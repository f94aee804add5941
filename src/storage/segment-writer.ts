import type { FileHandle } from "node:fs/promises";
import { CaskError } from "../core/errors.ts";
import type { Key } from "../core/key.ts";
import { SEGMENT_BATCH_MAX_BYTES } from "../core/limits.ts";
import type { SegmentFile } from "./segment-file.ts";
import {
  alignedUp,
  encodeBlobHeader,
  encodeDeletion,
  RECORD_HEADER_BYTES,
  type RecordPlace,
  type RecordTarget,
  recordBytes,
} from "./segment-record.ts";
import { storageFailure } from "./storage-failure.ts";

export type NewRecord =
  | { readonly kind: "blob"; readonly key: Key; readonly bytes: Uint8Array }
  | { readonly kind: "deletion"; readonly key: Key; readonly target: RecordTarget };

/** A record that is on stable storage. */
export interface Written {
  readonly record: NewRecord;
  readonly segment: SegmentFile;
  readonly place: RecordPlace;
}

export interface ActiveSegment {
  readonly segment: SegmentFile;
  readonly handle: FileHandle;
}

export interface SegmentWriterOptions {
  /** A new segment, durable, with its header. */
  readonly create: () => Promise<ActiveSegment>;
  readonly maxSegmentBytes: number;
  readonly nowSeconds: () => number;
  /** Called once a batch is on stable storage, before those who wait for it are told. */
  readonly onWritten: (written: readonly Written[]) => void;
  /** Records that may be on the disk or not: nobody may count any more on copies that they delete and don't replace. */
  readonly onUncertain: (records: readonly NewRecord[]) => void;
}

interface Waiting {
  readonly records: readonly NewRecord[];
  readonly bytes: number;
  readonly resolve: (places: RecordPlace[]) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Appends records to the last segment. All that came in while one batch was written and synced are the next batch: one sync for
 * many. What waits is bounded by those who call: each waits for its own records.
 */
export class SegmentWriter {
  private readonly options: SegmentWriterOptions;
  private active: ActiveSegment | undefined;
  private waiting: Waiting[] = [];
  private running: Promise<void> | undefined;

  constructor(options: SegmentWriterOptions, active: ActiveSegment | undefined) {
    this.options = options;
    this.active = active;
  }

  /**
   * Resolves when all of them are on stable storage, in this order. Rejects with NO_SPACE or STORAGE_FAILED: then the blobs are absent now, and absent or
   * whole after a restart.
   */
  append(records: readonly NewRecord[]): Promise<RecordPlace[]> {
    return new Promise((resolve, reject) => {
      const bytes = records.reduce((sum, record) => sum + sizeOf(record), 0);
      this.waiting.push({ records, bytes, resolve, reject });
      this.running ??= this.run();
    });
  }

  /** Waits for what is being written. */
  async close(): Promise<void> {
    await this.running;
    await this.active?.handle.close();
    this.active = undefined;
  }

  private async run(): Promise<void> {
    while (this.waiting.length > 0) {
      const batch = this.takeBatch();
      try {
        await this.write(batch);
      } catch (error) {
        const failure = storageFailure(error, "appending to a segment");
        for (const { reject } of batch) reject(failure);
      }
    }
    this.running = undefined;
  }

  private takeBatch(): Waiting[] {
    let [count, bytes] = [0, 0];
    for (const each of this.waiting) {
      if (count > 0 && bytes + each.bytes > SEGMENT_BATCH_MAX_BYTES) break;
      bytes += each.bytes;
      count++;
    }
    return this.waiting.splice(0, count);
  }

  private async write(batch: readonly Waiting[]): Promise<void> {
    const bytes = batch.reduce((sum, each) => sum + each.bytes, 0);
    const { segment, handle } = await this.segmentFor(bytes);
    const { buffers, written } = this.encode(batch, segment);
    let syncing = false;
    try {
      await writeAll(handle, buffers, segment.endBytes);
      syncing = true;
      await handle.datasync();
    } catch (error) {
      await this.takeBack(written, syncing);
      throw error;
    }
    segment.endBytes += bytes;
    this.options.onWritten(written);
    let at = 0;
    for (const { records, resolve } of batch) {
      resolve(written.slice(at, at + records.length).map(({ place }) => place));
      at += records.length;
    }
  }

  private encode(batch: readonly Waiting[], segment: SegmentFile): { buffers: Uint8Array[]; written: Written[] } {
    const buffers: Uint8Array[] = [];
    const written: Written[] = [];
    const stamp = { seconds: this.options.nowSeconds(), durableEnd: segment.endBytes };
    let offset = segment.endBytes;
    for (const record of batch.flatMap((each) => each.records)) {
      const sizeBytes = record.kind === "blob" ? record.bytes.length : 0;
      if (record.kind === "blob") {
        buffers.push(encodeBlobHeader(segment.salt, record.key, sizeBytes, { ...stamp, offset }));
        if (sizeBytes > 0) buffers.push(record.bytes);
        if (sizeBytes % 8 !== 0) buffers.push(PADDING.subarray(0, alignedUp(sizeBytes) - sizeBytes));
      } else buffers.push(encodeDeletion(segment.salt, record.key, record.target, { ...stamp, offset }));
      written.push({ record, segment, place: { segment: segment.id, offset, sizeBytes } });
      offset += sizeOf(record);
    }
    return { buffers, written };
  }

  private async segmentFor(bytes: number): Promise<ActiveSegment> {
    const { maxSegmentBytes } = this.options;
    if (this.active && this.active.segment.endBytes + bytes > maxSegmentBytes) {
      const { handle } = this.active;
      this.active = undefined;
      await handle.close();
    }
    this.active ??= await this.options.create();
    return this.active;
  }

  /**
   * Cuts off what may have been written. After a failed sync nobody knows what the disk has, and another sync would prove nothing: nothing more goes
   * into this segment. A batch that can't be cut off may take effect at the next start, with its deletions.
   */
  private async takeBack(written: readonly Written[], syncHasFailed: boolean): Promise<void> {
    const { segment, handle } = this.active as ActiveSegment;
    let isCut = false;
    try {
      await handle.truncate(segment.endBytes);
      await handle.sync();
      isCut = true;
    } catch (_unknown) {
      this.options.onUncertain(written.map(({ record }) => record));
    }
    if (isCut && !syncHasFailed) return;
    this.active = undefined;
    await handle.close().catch(() => undefined); // it is given up, and so told to those who wait
  }
}

const PADDING = Buffer.alloc(8);

function sizeOf(record: NewRecord): number {
  return record.kind === "blob" ? recordBytes(record.bytes.length) : RECORD_HEADER_BYTES;
}

async function writeAll(handle: FileHandle, buffers: readonly Uint8Array[], position: number): Promise<void> {
  let rest = buffers;
  for (let at = position; rest.length > 0; ) {
    const { bytesWritten } = await handle.writev(rest.slice(0, BUFFERS_PER_WRITE), at);
    if (bytesWritten === 0) throw new CaskError("STORAGE_FAILED", "the disk took none of the bytes");
    at += bytesWritten;
    rest = behind(rest, bytesWritten);
  }
}

/** The kernel takes no more at once. */
const BUFFERS_PER_WRITE = 1_024;

function behind(buffers: readonly Uint8Array[], bytes: number): Uint8Array[] {
  const rest: Uint8Array[] = [];
  let skipped = 0;
  for (const buffer of buffers) {
    if (skipped + buffer.length > bytes) rest.push(buffer.subarray(Math.max(0, bytes - skipped)));
    skipped += buffer.length;
  }
  return rest;
}
