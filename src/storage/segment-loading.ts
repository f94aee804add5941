import { constants } from "node:fs";
import { messageOf } from "../core/errors.ts";
import type { Key } from "../core/key.ts";
import type { FileSystem } from "./file-system.ts";
import { type CheckpointSegment, readCheckpoint, type StoredCheckpoint } from "./segment-checkpoint.ts";
import { SegmentFile } from "./segment-file.ts";
import type { SegmentFolder } from "./segment-folder.ts";
import { RECORD_HEADER_BYTES, type RecordTarget, SEGMENT_HEADER_BYTES, SegmentSalt } from "./segment-record.ts";
import { type ScannedRecord, scanSegment, scanWindow } from "./segment-scan.ts";
import type { SegmentSet } from "./segment-set.ts";
import type { ActiveSegment } from "./segment-writer.ts";

export interface LoadSegmentsOptions {
  readonly files: FileSystem;
  readonly folder: SegmentFolder;
  readonly set: SegmentSet;
  readonly maxSegmentBytes: number;
  readonly onNotice: (message: string) => void;
}

export interface LoadedSegments {
  /** The last segment, where it takes more. */
  readonly active: ActiveSegment | undefined;
  readonly nextId: number;
  /** Compacted away, but perhaps still in a checkpoint. */
  readonly gone: number[];
  /** Records that are no copies: written anew elsewhere, or torn, by a process that died before it could say so. To be deleted. */
  readonly superseded: ReadonlyArray<{ readonly key: Key; readonly target: RecordTarget }>;
  /** Some copies may be lost, and nobody can tell which: that a key is not here says nothing. */
  readonly hasLost: boolean;
  /** A segment is there, but what is in it is not known: a next start may read it. */
  readonly hasUnread: boolean;
  /** How much had to be read, as no checkpoint told of it. */
  readonly scannedBytes: number;
}

/** Fills the set: from the checkpoint, and from the records that came after it; from all records where there is no checkpoint. */
export async function loadSegments(options: LoadSegmentsOptions): Promise<LoadedSegments> {
  return new SegmentLoading(options).run();
}

class SegmentLoading {
  private readonly options: LoadSegmentsOptions;
  private readonly superseded = new Map<string, { key: Key; target: RecordTarget }>();
  private readonly checkpointed = new Map<number, CheckpointSegment>();
  private readonly window = scanWindow();
  private lostCount = 0;
  private hasUnread = false;
  private scannedBytes = 0;

  constructor(options: LoadSegmentsOptions) {
    this.options = options;
  }

  async run(): Promise<LoadedSegments> {
    const { files, folder, set } = this.options;
    const { present, gone } = await folder.list();
    const checkpoint = await readCheckpoint(files, folder.checkpoint);
    for (const segment of checkpoint?.segments ?? []) this.checkpointed.set(segment.id, segment);
    this.missNone(new Set([...present, ...gone]));
    const sizes = new Map<number, number>();
    for (const id of present) await this.meet(id, sizes);
    if (checkpoint) await this.take(checkpoint, sizes, new Set(gone));
    for (const segment of set.all()) await this.scan(segment, sizes.get(segment.id) as number);
    const nextId = Math.max(0, ...present, ...gone, ...this.checkpointed.keys()) + 1;
    return {
      active: await this.openLast(),
      nextId,
      gone,
      superseded: [...this.superseded.values()],
      hasLost: this.lostCount > 0,
      hasUnread: this.hasUnread,
      scannedBytes: this.scannedBytes,
    };
  }

  /** Numbers are given one by one, and a segment that went is remembered until a checkpoint was written without it. */
  private missNone(known: ReadonlySet<number>): void {
    const first = Math.max(0, ...this.checkpointed.keys()) + 1;
    for (let id = first; id < Math.max(0, ...known); id++) {
      if (!known.has(id)) this.lost(`${this.options.folder.segment(id)} has vanished`);
    }
  }

  private async meet(id: number, sizes: Map<number, number>): Promise<void> {
    const { files, folder, set, onNotice } = this.options;
    const path = folder.segment(id);
    const known = this.checkpointed.get(id);
    try {
      const { salt: own, sizeBytes } = await this.reading(path, (handle) => folder.look(handle));
      const salt = own ?? (known ? new SegmentSalt(Buffer.from(known.salt, "hex")) : null);
      if (salt) {
        if (known && known.salt !== salt.bytes.toString("hex")) this.checkpointed.delete(id);
        set.add(new SegmentFile({ id, path, salt, endBytes: SEGMENT_HEADER_BYTES }));
        sizes.set(id, sizeBytes);
      } else if (sizeBytes <= SEGMENT_HEADER_BYTES)
        await files.unlink(path); // its begin was cut short: nothing was ever in it
      else this.lost(`${path} has no readable header`);
    } catch (error) {
      this.unread(path, error);
      if (!known) return;
      onNotice(`what ${folder.checkpoint} says of it is kept: a copy that is asked for may come back`);
      const salt = new SegmentSalt(Buffer.from(known.salt, "hex"));
      set.add(new SegmentFile({ id, path, salt, endBytes: known.endBytes }));
      sizes.set(id, known.endBytes);
    }
  }

  private async take(
    checkpoint: StoredCheckpoint,
    sizes: ReadonlyMap<number, number>,
    gone: ReadonlySet<number>,
  ): Promise<void> {
    const { set } = this.options;
    let missing = 0;
    set.index.expect(checkpoint.entryCount);
    await checkpoint.walk((key, place) => {
      const sizeBytes = sizes.get(place.segment);
      if (sizeBytes === undefined) missing += gone.has(place.segment) ? 0 : 1;
      else if (!this.checkpointed.has(place.segment))
        return; // of another segment with this number
      else if (place.offset + RECORD_HEADER_BYTES + place.sizeBytes <= sizeBytes) set.known(key, place);
      else missing++;
    });
    if (missing > 0) this.lost(`${missing} copies lie in segments that have vanished or are too short`);
  }

  private async scan(segment: SegmentFile, sizeBytes: number): Promise<void> {
    const known = this.checkpointed.get(segment.id);
    const isCovered = known !== undefined && known.endBytes <= sizeBytes;
    const from = isCovered ? known.endBytes : SEGMENT_HEADER_BYTES;
    this.scannedBytes += sizeBytes - from;
    for (const [target, count] of isCovered ? known.deletions : []) segment.addDeletions(target, count);
    try {
      const { salt } = segment;
      const onRecord = (record: ScannedRecord) => this.apply(segment, record);
      const scanned = await this.reading(segment.path, (handle) =>
        scanSegment(handle, { salt, from, sizeBytes, onRecord, window: this.window }),
      );
      for (const { key, offset } of scanned.torn) this.supersede(key, { segment: segment.id, offset });
      segment.endBytes = scanned.endBytes;
      if (scanned.damagedCount > 0) this.lost(`${segment.path} is damaged in ${scanned.damagedCount} places`);
      if (scanned.endBytes < sizeBytes) await this.cut(segment, sizeBytes);
    } catch (error) {
      segment.endBytes = sizeBytes;
      this.unread(segment.path, error);
    }
  }

  private apply(segment: SegmentFile, record: ScannedRecord): void {
    const { set } = this.options;
    if (record.kind === "deletion") {
      segment.addDeletions(record.target.segment);
      this.superseded.delete(nameOf(record.target));
      set.deleted(record.key, record.target);
      return;
    }
    const place = { segment: segment.id, offset: record.offset, sizeBytes: record.sizeBytes };
    const known = set.index.place(record.key);
    // A checkpoint may know a later one than this.
    if (known && isLater(known, place)) this.supersede(record.key, place);
    else if (known && !isLater(place, known)) return;
    else {
      set.stored(record.key, place);
      if (known) this.supersede(record.key, known);
    }
  }

  private supersede(key: Key, target: RecordTarget): void {
    this.superseded.set(nameOf(target), { key, target });
  }

  /** Bytes behind the end were never acknowledged. They must not stand behind what is written next. */
  private async cut(segment: SegmentFile, sizeBytes: number): Promise<void> {
    const handle = await this.options.files.open(segment.path, constants.O_RDWR);
    try {
      await handle.truncate(segment.endBytes);
      await handle.sync();
    } finally {
      await handle.close();
    }
    this.options.onNotice(
      `${segment.path} ended in ${sizeBytes - segment.endBytes} bytes that were being written when the process died: cut off`,
    );
  }

  private async openLast(): Promise<ActiveSegment | undefined> {
    const { files, set, maxSegmentBytes } = this.options;
    const segment = set.all().at(-1);
    if (!segment || this.lostCount > 0 || segment.endBytes >= maxSegmentBytes) return undefined;
    return { segment, handle: await files.open(segment.path, constants.O_RDWR) };
  }

  private async reading<T>(
    path: string,
    work: (handle: Awaited<ReturnType<FileSystem["open"]>>) => Promise<T>,
  ): Promise<T> {
    const handle = await this.options.files.open(path, constants.O_RDONLY);
    try {
      return await work(handle);
    } finally {
      await handle.close();
    }
  }

  private unread(path: string, error: unknown): void {
    this.hasUnread = true;
    this.lost(`${path} can't be read: ${messageOf(error)}`);
  }

  private lost(what: string): void {
    this.lostCount++;
    this.options.onNotice(
      `${what}: check the disk. Copies may be lost from this node until it is repaired from others`,
    );
  }
}

function isLater(a: RecordTarget, b: RecordTarget): boolean {
  return a.segment > b.segment || (a.segment === b.segment && a.offset > b.offset);
}

function nameOf({ segment, offset }: RecordTarget): string {
  return `${segment}-${offset}`;
}
