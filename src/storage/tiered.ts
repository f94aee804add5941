import type { Clock } from "../core/clock.ts";
import { CaskError } from "../core/errors.ts";
import { type Key, keyOfBytes } from "../core/key.ts";
import { type KeyRange, WHOLE_RANGE } from "../core/key-range.ts";
import { KeyedMutex } from "../core/keyed-mutex.ts";
import type { RateLimit } from "../core/rate-limit.ts";
import type { Backend, CommitOutcome, Seen, Space, Stage, Stat, StoredBlob, WholeCopy } from "./backend.ts";
import { type Compacted, Compaction } from "./compaction.ts";
import { CopyIndex } from "./copy-index.ts";
import { DiskBackend, type DiskBackendOptions } from "./disk.ts";
import type { StagedBytes } from "./disk-stage.ts";
import type { KnownKeys } from "./inventory.ts";
import { mergeKeys } from "./merge-keys.ts";
import { allowSegments } from "./root-settings.ts";
import { SegmentCopy, seenAt } from "./segment-copy.ts";
import type { RecordPlace } from "./segment-record.ts";
import { Segments } from "./segments.ts";
import { isUnreadable, storageFailure } from "./storage-failure.ts";
import type { SharedMemory } from "./table-share.ts";

export interface TieredBackendOptions extends DiskBackendOptions {
  readonly clock: Pick<Clock, "wallMs">;
  /** Blobs up to this size go to segments. 0: none, but those that are there are still served. */
  readonly segmentBlobMaxBytes: number;
  /** For `shareWith`. */
  readonly isShared?: boolean;
  readonly maxSegmentBytes?: number;
  readonly checkpointEveryBytes?: number;
  /** How fast copies are moved while segments are compacted. */
  readonly compactionRate: RateLimit;
}

/** What readers in other threads are told: the memory of the index, each time it is another, and segments that were compacted away. */
export interface CopyReaders {
  readonly memory: (memory: SharedMemory) => void;
  readonly dropped: (segment: number) => void;
}

const READ_ATTEMPTS_MAX_COUNT = 3;

type Existing = "absent" | "equal" | "other" | "corrupt";

/**
 * One data folder, in two tiers: small blobs in segments, large ones as files. A key is in one of them. What is in a segment is known from
 * the index alone. Of files the index says only where there may be one; it is complete once all files have been listed, and from then
 * on a new blob costs no look at the filesystem.
 */
export class TieredBackend implements Backend {
  private readonly options: TieredBackendOptions;
  private readonly disk: DiskBackend;
  private readonly segments: Segments;
  private readonly index: CopyIndex;
  /** For an inventory over this backend: what is in segments needs no listing. */
  readonly known: KnownKeys;
  private readonly compaction: Compaction;
  /** All changes of one key, in either tier, follow one another. */
  private readonly mutex = new KeyedMutex();
  private allFilesListed = false;
  private readonly underWay = new Set<Promise<unknown>>();

  private constructor(options: TieredBackendOptions, disk: DiskBackend, segments: Segments) {
    this.options = options;
    this.disk = disk;
    this.segments = segments;
    this.index = segments.set.index;
    this.known = { table: this.index, listedBefore: () => this.index.files(), list: () => this.allFiles() };
    const { mutex } = this;
    this.compaction = new Compaction({ segments, mutex, rate: options.compactionRate });
  }

  /** Rejects with ROOT_IN_USE, BAD_ROOT, NO_SPACE, STORAGE_FAILED. */
  static async open(options: TieredBackendOptions): Promise<TieredBackend> {
    const disk = await DiskBackend.open(options);
    try {
      const { files, layout, store } = disk;
      if (options.segmentBlobMaxBytes > 0) await allowSegments(files, layout, store);
      const segments = await Segments.open({
        ...options,
        files,
        root: layout.root,
        index: new CopyIndex(options.isShared),
      });
      return new TieredBackend(options, disk, segments);
    } catch (error) {
      await disk.close();
      throw storageFailure(error, `opening ${options.root}`);
    }
  }

  get store(): string {
    return this.disk.store;
  }

  get foreignFiles(): number {
    return this.disk.foreignFiles;
  }

  /** Some copies may have been lost since the last start, and nobody can tell which: that a key is absent says nothing. */
  get hasLost(): boolean {
    return this.segments.hasLost;
  }

  /** Threads that read copies: `SharedCopies`. */
  shareWith({ memory, dropped }: CopyReaders): void {
    this.index.shareWith(memory);
    this.segments.onDropped = dropped;
  }

  stage(sizeHint?: number): Promise<Stage> {
    // Whether a small blob fits is found when it is written: asking each time would cost more than the write.
    const isSmall = sizeHint !== undefined && this.isForSegments(sizeHint);
    return this.disk.stageFor((key, staged) => this.commit(key, staged), isSmall ? undefined : sizeHint);
  }

  async get(key: Key): Promise<StoredBlob | null> {
    this.disk.mustBeOpen();
    const place = this.segments.find(key);
    return place ? this.track(this.open(key, place)) : this.disk.get(key);
  }

  readAtOnce(key: Key, maxBytes = Number.POSITIVE_INFINITY): Promise<WholeCopy> | null {
    const place = this.segments.find(key);
    if (!place || place.sizeBytes > maxBytes) return null;
    this.disk.mustBeOpen();
    return this.track(this.read(key, place));
  }

  async stat(key: Key): Promise<Stat | null> {
    this.disk.mustBeOpen();
    const place = this.segments.find(key);
    return place ? { sizeBytes: place.sizeBytes, seen: seenAt(place) } : this.disk.stat(key);
  }

  delete(key: Key, seen: Seen): Promise<boolean> {
    return this.change(key, async () => {
      const place = this.segments.find(key);
      if (!place) return this.removeFile(key, () => this.disk.delete(key, seen));
      if (seenAt(place) !== seen) return false;
      await this.segments.delete(key, place);
      return true;
    });
  }

  quarantine(key: Key, seen: Seen): Promise<boolean> {
    return this.change(key, async () => {
      const place = this.segments.find(key);
      if (!place) return this.removeFile(key, () => this.disk.quarantine(key, seen));
      if (seenAt(place) !== seen) return false;
      await this.disk.quarantineBytes(key, await this.readable(key, place));
      await this.segments.delete(key, place);
      return true;
    });
  }

  isQuarantined(key: Key): Promise<boolean> {
    return this.disk.isQuarantined(key);
  }

  quarantinedCount(): Promise<number> {
    return this.disk.quarantinedCount();
  }

  async *keys(from?: Key, to?: Key): AsyncGenerator<Key> {
    const files = from === undefined && to === undefined ? this.allFiles() : this.fileKeys(from, to);
    yield* mergeKeys(this.recordKeys({ from: from ?? WHOLE_RANGE.from, to }), files);
  }

  space(): Promise<Space> {
    return this.disk.space();
  }

  /** One step of giving back the space of deleted copies. */
  async compact(signal: AbortSignal): Promise<Compacted> {
    const compacted = await this.compaction.step(signal);
    await this.segments.checkpointIfDue();
    await this.segments.deleteLeftovers();
    return compacted;
  }

  async close(): Promise<void> {
    await this.disk.stop();
    await Promise.allSettled([...this.underWay]);
    await this.segments.close();
    await this.disk.close();
  }

  /** Without segments not even the empty blob: the root's format may not allow them. */
  private isForSegments(sizeBytes: number): boolean {
    const { segmentBlobMaxBytes } = this.options;
    return segmentBlobMaxBytes > 0 && sizeBytes <= segmentBlobMaxBytes;
  }

  private commit(key: Key, staged: StagedBytes): Promise<CommitOutcome> {
    return this.change(key, async () => {
      const bytes = this.isForSegments(staged.sizeBytes) ? staged.inMemory() : undefined;
      const place = this.segments.find(key);
      if (place) return this.replace(key, place, { staged, bytes });
      if (!bytes) return this.commitFile(key, staged, this.isNoFile(key));
      if (await this.isFile(key)) return this.commitFile(key, staged);
      await this.segments.store(key, bytes);
      return "stored";
    });
  }

  private async commitFile(key: Key, staged: StagedBytes, isAbsent = false): Promise<CommitOutcome> {
    const outcome = await this.disk.commit(key, staged, isAbsent);
    this.index.noteFile(key);
    return outcome;
  }

  private async replace(
    key: Key,
    place: RecordPlace,
    { staged, bytes }: { staged: StagedBytes; bytes: Uint8Array | undefined },
  ): Promise<CommitOutcome> {
    switch (await this.examine(key, place, staged)) {
      case "equal":
        return "known"; // what the index knows is on stable storage
      case "other":
        throw new CaskError(
          "KEY_COLLISION",
          `other bytes are stored under ${key} already, with the same hash; they stay`,
        );
      default:
        await this.disk.quarantineBytes(key, await this.readable(key, place));
    }
    if (bytes) await this.segments.store(key, bytes);
    else {
      await this.disk.commit(key, staged);
      await this.segments.delete(key, place);
      this.index.noteFile(key);
    }
    return "replaced";
  }

  private async examine(key: Key, place: RecordPlace, staged: StagedBytes): Promise<Existing> {
    let read: { readonly bytes: Buffer; readonly isIntact: boolean };
    try {
      read = await this.segments.read(key, place);
    } catch (error) {
      if (isUnreadable(error)) return "corrupt";
      throw error;
    }
    const existing = read.bytes;
    const staging: Uint8Array[] = [];
    if (existing.length === staged.sizeBytes) for await (const chunk of staged.read()) staging.push(chunk);
    if (existing.length === staged.sizeBytes && existing.equals(Buffer.concat(staging))) {
      if (!read.isIntact) await this.segments.move(key, place); // the next start would not find what is acknowledged here
      return "equal";
    }
    return keyOfBytes(existing) === key ? "other" : "corrupt";
  }

  private async open(key: Key, place: RecordPlace): Promise<StoredBlob> {
    const { bytes, seen } = await this.read(key, place);
    return new SegmentCopy(bytes, seen);
  }

  /** A copy may be moved while it is read. */
  private async read(key: Key, place: RecordPlace, attempts = READ_ATTEMPTS_MAX_COUNT): Promise<WholeCopy> {
    const movedTo = () => {
      const now = this.segments.find(key);
      return now && attempts > 1 && seenAt(now) !== seenAt(place) ? now : null;
    };
    try {
      const { bytes, isIntact } = await this.segments.read(key, place);
      if (!isIntact && keyOfBytes(bytes) === key) await this.rewrite(key, place);
      return { bytes, seen: seenAt(place) };
    } catch (error) {
      const now = movedTo();
      if (now) return this.read(key, now, attempts - 1);
      throw error;
    }
  }

  /**
   * The bytes are right, but a start without the index would not find them. The reader waits, for it may be about to vouch for this copy. Never
   * rejects: the bytes are what was asked for.
   */
  private async rewrite(key: Key, place: RecordPlace): Promise<void> {
    try {
      await this.change(key, () => this.segments.move(key, place));
    } catch (error) {
      this.options.onNotice(storageFailure(error, `writing ${key} anew`).message);
    }
  }

  /** What can be read of a corrupt copy, for the operator. */
  private async readable(key: Key, place: RecordPlace): Promise<Uint8Array> {
    try {
      return (await this.segments.read(key, place)).bytes;
    } catch (error) {
      if (isUnreadable(error)) return new Uint8Array(0);
      throw error;
    }
  }

  private async removeFile(key: Key, act: () => Promise<boolean>): Promise<boolean> {
    const isRemoved = await act();
    if (isRemoved) this.index.remove(key);
    return isRemoved;
  }

  private async isFile(key: Key): Promise<boolean> {
    if (this.isNoFile(key)) return false;
    return (await this.disk.stat(key)) !== null;
  }

  private isNoFile(key: Key): boolean {
    return this.allFilesListed && !this.index.mayBeFile(key);
  }

  private *recordKeys(range: KeyRange): Generator<Key> {
    for (const [key] of this.index.records(range)) yield key;
  }

  /** This is how the disk is compared with what is known of it. */
  private async *allFiles(): AsyncGenerator<Key> {
    await this.segments.mendHeaders();
    yield* this.fileKeys(undefined, undefined);
    this.allFilesListed = true;
  }

  private async *fileKeys(from: Key | undefined, to: Key | undefined): AsyncGenerator<Key> {
    for await (const key of this.disk.keys(from, to)) {
      this.index.noteFile(key);
      yield key;
    }
  }

  private async change<T>(key: Key, work: () => Promise<T>): Promise<T> {
    this.disk.mustBeOpen();
    return this.track(this.mutex.run(key, work));
  }

  private async track<T>(work: Promise<T>): Promise<T> {
    this.underWay.add(work);
    try {
      return await work;
    } finally {
      this.underWay.delete(work);
    }
  }
}
