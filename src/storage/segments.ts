import type { Clock } from "../core/clock.ts";
import { CaskError, messageOf, systemCode } from "../core/errors.ts";
import { type Key, keyOfBytes } from "../core/key.ts";
import {
  CHECKPOINT_EVERY_BYTES,
  LEFTOVER_RECORDS_MAX_COUNT,
  SEGMENT_FILES_OPEN_MAX_COUNT,
  SEGMENT_MAX_BYTES,
} from "../core/limits.ts";
import type { Random } from "../core/random.ts";
import { readBytes } from "../core/read-bytes.ts";
import { type CopyIndex, INDEXED_SEGMENT_MAX_ID } from "./copy-index.ts";
import type { FileSystem } from "./file-system.ts";
import { OpenFiles } from "./open-files.ts";
import { writeCheckpoint } from "./segment-checkpoint.ts";
import type { SegmentFile } from "./segment-file.ts";
import { SegmentFolder } from "./segment-folder.ts";
import { type LoadedSegments, loadSegments } from "./segment-loading.ts";
import { decodeRecord, RECORD_HEADER_BYTES, type RecordPlace, type RecordTarget } from "./segment-record.ts";
import { type ScannedRecord, scanSegment } from "./segment-scan.ts";
import { SegmentSet } from "./segment-set.ts";
import { type ActiveSegment, type NewRecord, SegmentWriter, type Written } from "./segment-writer.ts";
import { storageFailure } from "./storage-failure.ts";

export interface SegmentsOptions {
  readonly root: string;
  readonly files: FileSystem;
  readonly random: Random;
  readonly clock: Pick<Clock, "wallMs">;
  readonly index: CopyIndex;
  readonly maxSegmentBytes?: number;
  /** So much is written between two checkpoints at least. */
  readonly checkpointEveryBytes?: number;
  readonly onNotice: (message: string) => void;
}

/** A record of this key. */
interface RecordOf {
  readonly key: Key;
  readonly target: RecordTarget;
}

/**
 * Small blobs as records in few large files. Whoever calls sees to it that changes of one key follow one another. What is in the index is on
 * stable storage.
 */
export class Segments {
  readonly set: SegmentSet;
  /** Some copies may be lost, and nobody can tell which. */
  readonly hasLost: boolean;
  /** Told each segment that was compacted away. */
  onDropped: (segment: number) => void = () => undefined;
  /**
   * Nobody knows what is in a segment, because this start could not read it. Until one can, no other segment goes, and no checkpoint is written: the first would
   * take deletions with it that may be of copies in there, with the second nobody would read it again.
   */
  readonly hasUnread: boolean;
  private readonly options: Required<SegmentsOptions>;
  private readonly folder: SegmentFolder;
  private readonly readers: OpenFiles;
  private readonly writer: SegmentWriter;
  private readonly gone: Set<number>;
  /** Records that are no copies, while their deletions are not known to be on the disk. */
  private leftovers: RecordOf[] = [];
  private nextId: number;
  private checkpointing: Promise<void> | undefined;
  private uncheckpointedBytes: number;
  private checkpointBytes = 0;

  private constructor(
    options: Required<SegmentsOptions>,
    folder: SegmentFolder,
    { set, loaded }: { set: SegmentSet; loaded: LoadedSegments },
  ) {
    this.options = options;
    this.folder = folder;
    this.set = set;
    this.hasLost = loaded.hasLost;
    this.hasUnread = loaded.hasUnread;
    this.nextId = loaded.nextId;
    this.uncheckpointedBytes = loaded.scannedBytes;
    this.gone = new Set(loaded.gone);
    this.readers = new OpenFiles(options.files, SEGMENT_FILES_OPEN_MAX_COUNT);
    this.writer = new SegmentWriter(
      {
        create: () => this.create(),
        maxSegmentBytes: options.maxSegmentBytes,
        nowSeconds: () => Math.floor(options.clock.wallMs() / 1_000),
        onWritten: (written) => this.written(written),
        onUncertain: (records) => this.uncertain(records),
      },
      loaded.active,
    );
  }

  static async open(options: SegmentsOptions): Promise<Segments> {
    const complete = {
      maxSegmentBytes: SEGMENT_MAX_BYTES,
      checkpointEveryBytes: CHECKPOINT_EVERY_BYTES,
      ...options,
    };
    const folder = new SegmentFolder(complete.files, complete.root);
    const set = new SegmentSet(complete.index);
    const loaded = await loadSegments({ ...complete, folder, set }).catch((error: unknown) => {
      throw storageFailure(error, `reading ${folder.path}`);
    });
    const segments = new Segments(complete, folder, { set, loaded });
    segments.leave(loaded.superseded);
    await segments.deleteLeftovers().catch((error: unknown) => {
      complete.onNotice(`superseded copies could not be deleted: ${messageOf(error)}: will try again`);
    });
    return segments;
  }

  find(key: Key): RecordPlace | null {
    return this.set.index.place(key);
  }

  /** Makes the bytes the copy of the key, in the place of the one that is there. Rejects with NO_SPACE, STORAGE_FAILED. */
  async store(key: Key, bytes: Uint8Array): Promise<void> {
    const before = this.find(key);
    const records: NewRecord[] = [{ kind: "blob", key, bytes }];
    if (before) records.push({ kind: "deletion", key, target: before });
    await this.writer.append(records);
  }

  async delete(key: Key, target: RecordPlace): Promise<void> {
    await this.writer.append([{ kind: "deletion", key, target }]);
  }

  /**
   * Deletes what a start found to be superseded, and what a failing disk may have kept: else the next start would take it for copies. Rejects with
   * NO_SPACE, STORAGE_FAILED; then the next call tries again.
   */
  async deleteLeftovers(): Promise<void> {
    const deleting = this.leftovers;
    this.leftovers = [];
    try {
      await this.deleteAgain(deleting.filter(({ target }) => this.set.exists(target.segment)));
    } catch (error) {
      this.leave(deleting);
      throw error;
    }
  }

  /** Writes deletions anew whose own segment is to go, while what they delete is still there. */
  async deleteAgain(deletions: readonly RecordOf[]): Promise<void> {
    if (deletions.length === 0) return;
    await this.writer.append(deletions.map(({ key, target }) => ({ kind: "deletion", key, target })));
  }

  /** Shows the records of a segment, from its file. */
  async readRecords({ path, salt, endBytes }: SegmentFile, onRecord: (record: ScannedRecord) => void): Promise<void> {
    await this.readers.use(path, (handle) => scanSegment(handle, { salt, sizeBytes: endBytes, onRecord }));
  }

  /**
   * The bytes of a copy, unverified; fewer, where the file has become shorter. `isIntact`: its record can be told again without the index. Rejects
   * with STORAGE_FAILED.
   */
  async read(key: Key, { segment, offset, sizeBytes }: RecordPlace): Promise<{ bytes: Buffer; isIntact: boolean }> {
    const file = this.set.get(segment);
    if (!file) throw new CaskError("STORAGE_FAILED", `the segment of ${key} has vanished`);
    const length = RECORD_HEADER_BYTES + sizeBytes;
    const record = await this.readers
      .use(file.path, (handle) => readBytes(handle, length, offset))
      .catch((error: unknown) => Promise.reject(storageFailure(error, `reading ${file.path}`)));
    const header = decodeRecord(file.salt, record, offset);
    const isIntact = header?.kind === "blob" && header.key === key && header.sizeBytes === sizeBytes;
    return { bytes: record.subarray(RECORD_HEADER_BYTES), isIntact };
  }

  /** Writes a copy anew if it is still where it was, and its bytes are right. Answers whether nothing is left to be moved. */
  async move(key: Key, from: RecordPlace): Promise<boolean> {
    if (!this.set.index.isAt(key, from)) return true;
    const { bytes } = await this.read(key, from);
    if (keyOfBytes(bytes) !== key) return false;
    await this.store(key, bytes);
    return true;
  }

  /** All that is needed of a segment has been written elsewhere. */
  async drop(segment: SegmentFile): Promise<void> {
    try {
      await this.folder.remove(segment);
    } catch (error) {
      throw storageFailure(error, `removing ${segment.path}`);
    }
    this.set.remove(segment.id);
    this.gone.add(segment.id);
    this.onDropped(segment.id);
    await this.readers.drop(segment.path);
  }

  /**
   * Looks at the headers of all segments. Nobody reads them while a node runs, and damage would be found by the next start, which could tell
   * none of the copies any more. Never rejects: what can't be looked at now is looked at the next time.
   */
  async mendHeaders(): Promise<void> {
    const { onNotice } = this.options;
    for (const segment of this.set.all()) {
      try {
        if (!(await this.folder.mend(segment))) continue;
        onNotice(`the header of ${segment.path} was damaged, and has been written anew: check the disk`);
      } catch (error) {
        if (this.set.exists(segment.id)) onNotice(storageFailure(error, `looking at ${segment.path}`).message);
      }
    }
  }

  /** Notes where all copies lie, if much has been written since the last time: so that the next start is quick. */
  async checkpointIfDue(): Promise<void> {
    if (this.uncheckpointedBytes < Math.max(this.options.checkpointEveryBytes, 2 * this.checkpointBytes)) return;
    await this.checkpoint();
  }

  async checkpoint(): Promise<void> {
    if (this.hasUnread) return;
    this.checkpointing ??= this.writeCheckpoint().finally(() => {
      this.checkpointing = undefined;
    });
    await this.checkpointing;
  }

  /** Waits for what is being written. Never rejects: what can't be noted now is found again at the next start. */
  async close(): Promise<void> {
    const { onNotice } = this.options;
    try {
      await this.writer.close();
      if (this.uncheckpointedBytes > 0) await this.checkpoint();
    } catch (error) {
      onNotice(`${storageFailure(error, "closing the segments").message}: the next start will take longer`);
    }
    await this.readers.close();
  }

  private async create(): Promise<ActiveSegment> {
    const id = this.nextId;
    if (id > INDEXED_SEGMENT_MAX_ID) throw new CaskError("STORAGE_FAILED", "there are no more numbers for segments");
    try {
      const active = await this.folder.create(id, this.options.random);
      this.nextId = id + 1;
      this.set.add(active.segment);
      return active;
    } catch (error) {
      if (systemCode(error) !== "EEXIST") throw error;
      this.nextId = id + 1; // left, without a record, by an attempt that failed and could not be tidied up
      return this.create();
    }
  }

  private written(written: readonly Written[]): void {
    for (const { record, segment, place } of written) {
      if (record.kind === "blob") this.set.stored(record.key, place);
      else {
        segment.addDeletions(record.target.segment);
        this.set.deleted(record.key, record.target);
      }
      this.uncheckpointedBytes += RECORD_HEADER_BYTES + place.sizeBytes;
    }
  }

  /** A copy that was to be replaced counts on: the next start finds it, or the new one before its deletion. */
  private uncertain(records: readonly NewRecord[]): void {
    const stored = new Set(records.flatMap(({ kind, key }) => (kind === "blob" ? [key] : [])));
    for (const record of records) {
      if (record.kind !== "deletion" || stored.has(record.key)) continue;
      this.set.deleted(record.key, record.target);
      this.leave([record]);
    }
  }

  private leave(records: readonly RecordOf[]): void {
    const room = Math.max(0, LEFTOVER_RECORDS_MAX_COUNT - this.leftovers.length);
    for (const { key, target } of records.slice(0, room)) this.leftovers.push({ key, target });
  }

  private async writeCheckpoint(): Promise<void> {
    const { files } = this.options;
    const { path: folder, checkpoint: path } = this.folder;
    this.uncheckpointedBytes = 0;
    const segments = this.set.all().map((segment) => ({
      id: segment.id,
      salt: segment.salt.bytes.toString("hex"),
      endBytes: segment.endBytes,
      deletions: [...segment.deletionCounts()],
    }));
    // The highest number stays known, whatever is compacted: a number that is used again could meet old deletions.
    const highest = segments.at(-1)?.id ?? 0;
    const forgettable = [...this.gone].filter((id) => id < highest);
    this.checkpointBytes = await writeCheckpoint(
      { files, folder, path },
      { segments, entries: (from, limit, each) => this.set.index.walkRecords(from, limit, each) },
    );
    for (const id of forgettable) {
      await this.folder.forget(id);
      this.gone.delete(id);
    }
  }
}
