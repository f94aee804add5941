import { dirname } from "node:path";
import { ByteBudget } from "../core/byte-budget.ts";
import { CaskError } from "../core/errors.ts";
import type { Key } from "../core/key.ts";
import { KeyedMutex } from "../core/keyed-mutex.ts";
import {
  READ_LARGE_CHUNKS_MAX_BYTES,
  SPACE_CHECK_EVERY_BYTES,
  STAGE_RESERVE_BYTES,
  STAGED_IN_MEMORY_MAX_BYTES,
  WHOLE_BLOB_MAX_BYTES,
} from "../core/limits.ts";
import type { Random } from "../core/random.ts";
import type { Backend, CommitOutcome, Seen, Space, Stage, Stat, StoredBlob } from "./backend.ts";
import { DirectFiles } from "./direct-files.ts";
import { DiskCommit } from "./disk-commit.ts";
import { type Located, openCopy, statCopy } from "./disk-copy.ts";
import { DiskListing } from "./disk-listing.ts";
import { DiskStage, type DiskStageOptions, type StagedBytes } from "./disk-stage.ts";
import { type FileSystem, systemFiles } from "./file-system.ts";
import { syncFolder } from "./folder-sync.ts";
import type { Layout } from "./layout.ts";
import { removeEmptyParents } from "./legacy-parents.ts";
import { type OpenRoot, openRoot } from "./open-root.ts";
import { Quarantine } from "./quarantine.ts";
import { RootLock, type TakeLock } from "./root-lock.ts";
import { storageFailure } from "./storage-failure.ts";

export interface DiskBackendOptions {
  readonly root: string;
  readonly random: Random;
  /** Something that the operator should know and that stops nothing. */
  readonly onNotice: (message: string) => void;
  /** What all stages of this backend hold in memory together. */
  readonly stageBudget?: ByteBudget;
  readonly files?: FileSystem;
  /** The lock needs a file of the real system, whatever `files` is: who hands in others hands in a lock, too. */
  readonly takeLock?: TakeLock;
}

/** Blobs as files in one data folder. */
export class DiskBackend implements Backend {
  readonly store: string;
  /** Files and folders below `sha1/` that are no blobs, as the last complete listing found them. They are left alone. */
  foreignFiles = 0;
  private readonly options: Required<DiskBackendOptions>;
  private readonly root: OpenRoot;
  private readonly quarantined: Quarantine;
  private readonly committing: DiskCommit;
  private readonly direct: DirectFiles;
  private readonly mutex = new KeyedMutex();
  private readonly pieces = new ByteBudget(READ_LARGE_CHUNKS_MAX_BYTES);
  private readonly stages = new Set<DiskStage>();
  private readonly underWay = new Set<Promise<unknown>>();
  /** So much may be taken in before the free space is looked at again. */
  private unlookedBytes = 0;
  private closed = false;
  private released = false;

  private constructor(options: Required<DiskBackendOptions>, root: OpenRoot, quarantined: Quarantine) {
    this.options = options;
    this.root = root;
    this.store = root.store;
    this.quarantined = quarantined;
    const { files } = options;
    this.direct = new DirectFiles(files);
    this.committing = new DiskCommit({ files, layout: root.layout, pieces: this.pieces, quarantine: quarantined });
  }

  /** Makes the folder if need be, and locks it. Rejects with ROOT_IN_USE, BAD_ROOT, NO_SPACE. */
  get files(): FileSystem {
    return this.options.files;
  }

  get layout(): Layout {
    return this.root.layout;
  }

  static async open(options: DiskBackendOptions): Promise<DiskBackend> {
    const complete = {
      files: systemFiles,
      takeLock: RootLock.take,
      stageBudget: new ByteBudget(STAGED_IN_MEMORY_MAX_BYTES),
      ...options,
    };
    const root = await openRoot(complete);
    try {
      const quarantined = new Quarantine(complete.files, root.layout, options.random);
      await quarantined.load();
      return new DiskBackend(complete, root, quarantined);
    } catch (error) {
      root.lock.release();
      throw storageFailure(error, `opening ${options.root}`);
    }
  }

  stage(sizeHint?: number): Promise<Stage> {
    return this.stageFor((key, staged) => this.commit(key, staged), sizeHint);
  }

  /** A stage whose bytes go where `commit` puts them: perhaps elsewhere than into a file. */
  async stageFor(commit: DiskStageOptions["commit"], sizeHint?: number): Promise<Stage> {
    this.mustBeOpen();
    const { files, random, onNotice, stageBudget: budget } = this.options;
    const large = sizeHint !== undefined && sizeHint > WHOLE_BLOB_MAX_BYTES;
    if (sizeHint !== undefined) await this.mustFit(sizeHint, large ? STAGE_RESERVE_BYTES : 0);
    const stage = new DiskStage({
      files,
      direct: this.direct,
      layout: this.root.layout,
      random,
      budget,
      pieces: this.pieces,
      large,
      freeBytes: async () => (await this.statfs()).freeBytes,
      commit,
      onEnd: (ended) => this.stages.delete(ended),
      onNotice,
    });
    this.stages.add(stage);
    return stage;
  }

  async get(key: Key): Promise<StoredBlob | null> {
    this.mustBeOpen();
    return this.track(openCopy({ files: this.files, layout: this.layout, pieces: this.pieces }, key));
  }

  async stat(key: Key): Promise<Stat | null> {
    this.mustBeOpen();
    return this.track(statCopy(this.options.files, this.root.layout, key));
  }

  async delete(key: Key, seen: Seen): Promise<boolean> {
    return this.ifStill(key, seen, async (copy) => {
      await this.options.files.unlink(copy.path);
      await this.settleFolder(key, copy);
    });
  }

  async quarantine(key: Key, seen: Seen): Promise<boolean> {
    return this.ifStill(key, seen, async (copy) => {
      await this.quarantined.take(key, copy.path);
      await this.settleFolder(key, copy);
    });
  }

  /** Puts bytes into quarantine that were a copy, but no file. */
  async quarantineBytes(key: Key, bytes: Uint8Array): Promise<void> {
    const take = async (_key: Key, staged: StagedBytes): Promise<CommitOutcome> => {
      await this.quarantined.take(key, await staged.toDurableFile());
      staged.moved();
      return "stored";
    };
    const stage = await this.stageFor(take);
    try {
      await stage.write(bytes);
      await stage.commit(key);
    } catch (error) {
      throw storageFailure(error, `moving a copy of ${key} to quarantine`);
    } finally {
      await stage.abort();
    }
  }

  async isQuarantined(key: Key): Promise<boolean> {
    this.mustBeOpen();
    return this.track(this.quarantined.holds(key));
  }

  async quarantinedCount(): Promise<number> {
    this.mustBeOpen();
    return this.track(this.quarantined.count());
  }

  async *keys(from?: Key, to?: Key): AsyncGenerator<Key> {
    this.mustBeOpen();
    const listing = new DiskListing(this.options.files, this.root.layout);
    yield* listing.keys(from, to);
    this.foreignFiles = listing.foreignFiles;
  }

  async space(): Promise<Space> {
    this.mustBeOpen();
    return this.track(this.statfs());
  }

  /** Takes nothing more, and gives up what is staged; commits under way end first. */
  async stop(): Promise<void> {
    this.closed = true;
    await Promise.all([...this.stages].map((stage) => stage.abort()));
  }

  async close(): Promise<void> {
    if (this.released) return;
    this.released = true;
    await this.stop();
    await Promise.allSettled([...this.underWay]);
    this.root.lock.release();
  }

  /** Commits to a file what `stageFor` handed out. `isAbsent`: who calls knows that there is no copy; nobody looks for one then. */
  commit(key: Key, staged: StagedBytes, isAbsent = false): Promise<CommitOutcome> {
    return this.track(this.mutex.run(key, () => this.committing.commit(key, staged, isAbsent)));
  }

  /** Nothing else changes the copy between the look and the act: the mutex keeps this process off, the root's lock others. */
  private async ifStill(key: Key, seen: Seen, act: (copy: Located) => Promise<void>): Promise<boolean> {
    this.mustBeOpen();
    const work = this.mutex.run(key, async () => {
      const copy = await statCopy(this.options.files, this.root.layout, key);
      if (copy?.seen !== seen) return false;
      try {
        await act(copy);
        return true;
      } catch (error) {
        throw storageFailure(error, `removing ${copy.path}`);
      }
    });
    return this.track(work);
  }

  private async settleFolder(key: Key, copy: Located): Promise<void> {
    const { files } = this.options;
    if (copy.isLegacy) await removeEmptyParents(files, copy.path, this.root.layout.folder(key));
    else await syncFolder(files, dirname(copy.path));
  }

  /** Small blobs are let in without a look as long as the last one left room for many; the disk itself says when it is full. */
  private async mustFit(bytes: number, reserveBytes: number): Promise<void> {
    this.unlookedBytes -= bytes;
    if (this.unlookedBytes >= 0 && bytes <= WHOLE_BLOB_MAX_BYTES) return;
    const { freeBytes } = await this.track(this.statfs());
    const roomy = freeBytes - reserveBytes - bytes > STAGE_RESERVE_BYTES;
    this.unlookedBytes = roomy ? SPACE_CHECK_EVERY_BYTES : 0;
    if (bytes <= freeBytes - reserveBytes) return;
    throw new CaskError(
      "NO_SPACE",
      `${bytes} bytes don't fit: ${freeBytes} are free on the disk of ${this.root.layout.root}`,
    );
  }

  private async statfs(): Promise<{ freeBytes: number; totalBytes: number }> {
    const { root } = this.root.layout;
    try {
      const { bavail, blocks, bsize } = await this.options.files.statfs(root);
      return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
    } catch (error) {
      throw storageFailure(error, `asking for the free space of ${root}`);
    }
  }

  private async track<T>(work: Promise<T>): Promise<T> {
    this.underWay.add(work);
    try {
      return await work;
    } finally {
      this.underWay.delete(work);
    }
  }

  mustBeOpen(): void {
    if (this.closed) throw new CaskError("STORAGE_FAILED", `the data folder ${this.root.layout.root} was closed`);
  }
}
