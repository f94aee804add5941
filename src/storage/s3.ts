import { join, resolve } from "node:path";
import { ByteBudget } from "../core/byte-budget.ts";
import type { Clock } from "../core/clock.ts";
import { CaskError } from "../core/errors.ts";
import type { Key } from "../core/key.ts";
import { KeyedMutex } from "../core/keyed-mutex.ts";
import {
  S3_PAGE_MAX_COUNT,
  STAGE_RESERVE_BYTES,
  STAGED_IN_MEMORY_MAX_BYTES,
  WHOLE_BLOB_MAX_BYTES,
} from "../core/limits.ts";
import type { Random } from "../core/random.ts";
import {
  type Backend,
  type CommitOutcome,
  DamagedCopy,
  type Seen,
  type Space,
  type Stage,
  type Stat,
  type StoredBlob,
} from "./backend.ts";
import { DiskStage } from "./disk-stage.ts";
import { type FileSystem, systemFiles } from "./file-system.ts";
import { Layout } from "./layout.ts";
import { type HeldLock, RootLock, type TakeLock } from "./root-lock.ts";
import { S3_TIMING, S3Connection, type S3Place, type S3Timing } from "./s3-client.ts";
import { S3Commit } from "./s3-commit.ts";
import { S3Copy } from "./s3-copy.ts";
import { s3Failure } from "./s3-failure.ts";
import { S3Layout } from "./s3-layout.ts";
import { S3Objects, type S3Stat, WrongLength } from "./s3-objects.ts";
import { S3Owner } from "./s3-owner.ts";
import { S3Quarantine } from "./s3-quarantine.ts";
import { S3Removal } from "./s3-removal.ts";
import { FormerNonces, makeStateFolder, removeStages } from "./s3-state.ts";
import { type S3Figures, S3Traffic } from "./s3-traffic.ts";
import { S3Uploads, type UploadSource } from "./s3-upload.ts";
import { storageFailure } from "./storage-failure.ts";

export interface S3BackendOptions {
  readonly place: S3Place;
  /** Whose prefix it is. */
  readonly uuid: string;
  /** Bytes on their way to S3 wait here, and what must be remembered of deletes and of the claim on the prefix. */
  readonly stateDir: string;
  readonly clock: Clock;
  readonly random: Random;
  /** Something that the operator should know and that stops nothing. */
  readonly onNotice: (message: string) => void;
  /** Another process has taken the prefix: this one must end. */
  readonly onLost: (error: CaskError) => void;
  readonly timing?: Partial<S3Timing>;
  readonly stageBudget?: ByteBudget;
  /** Of the state folder. Default: the system's. */
  readonly files?: FileSystem;
  /** Default: RootLock.take. */
  readonly takeLock?: TakeLock;
}

interface Parts {
  readonly options: S3BackendOptions & { readonly timing: S3Timing; readonly stageBudget: ByteBudget };
  readonly files: FileSystem;
  readonly state: Layout;
  readonly layout: S3Layout;
  readonly traffic: S3Traffic;
  readonly connection: S3Connection;
  readonly objects: S3Objects;
  readonly uploads: S3Uploads;
  readonly removal: S3Removal;
  readonly quarantined: S3Quarantine;
  readonly owner: S3Owner;
  readonly closing: AbortController;
  readonly open: (name: string) => Promise<S3Copy | null>;
}

/** Blobs as objects below one prefix of a bucket. */
export class S3Backend implements Backend {
  readonly store: string;
  private readonly parts: Parts;
  private readonly lock: HeldLock;
  private readonly committing: S3Commit;
  private readonly mutex = new KeyedMutex();
  private readonly stages = new Set<DiskStage>();
  private readonly underWay = new Set<Promise<unknown>>();
  private closed = false;

  private constructor(parts: Parts, lock: HeldLock) {
    this.parts = parts;
    this.lock = lock;
    this.store = parts.owner.store;
    const { objects, uploads, layout, quarantined: quarantine, removal, open } = parts;
    this.committing = new S3Commit({
      objects,
      uploads,
      layout,
      quarantine,
      removal,
      open,
      random: parts.options.random,
    });
  }

  /** Rejects with ROOT_IN_USE, BAD_ROOT, STORAGE_FAILED. */
  static async open(given: S3BackendOptions): Promise<S3Backend> {
    const parts = assemble(given);
    const { state, connection, layout, objects, owner, uploads, quarantined, removal } = parts;
    await makeStateFolder(parts.files, state);
    const { takeLock = RootLock.take } = given;
    const lock = takeLock(state.lock, state.root);
    try {
      await removeStages(parts.files, state);
      await reach(objects, layout, connection);
      await owner.take();
      const count = await uploads.removeStray(layout.all);
      if (count > 0) given.onNotice(`removed what ${count} uploads of a former life of this node had left in S3`);
      await quarantined.load();
      await removal.load();
      return new S3Backend(parts, lock);
    } catch (error) {
      await owner.release();
      connection.close();
      lock.release();
      throw s3Failure(error, `opening the bucket ${connection.bucket}`);
    }
  }

  figures(): S3Figures {
    return this.parts.traffic.figures();
  }

  async stage(sizeHint?: number): Promise<Stage> {
    this.mustBeOpen();
    const { files, state: layout, options } = this.parts;
    const large = sizeHint !== undefined && sizeHint > WHOLE_BLOB_MAX_BYTES;
    if (large) await this.mustFit(sizeHint);
    const stage = new DiskStage({
      files,
      direct: null, // what a stage holds in memory is sent from there: no file is made of it
      layout,
      random: options.random,
      budget: options.stageBudget,
      pieces: options.stageBudget,
      large,
      freeBytes: () => this.freeToStage(),
      commit: (key, staged) => this.commit(key, staged),
      onEnd: (ended) => this.stages.delete(ended),
      onNotice: options.onNotice,
    });
    this.stages.add(stage);
    return stage;
  }

  async get(key: Key): Promise<StoredBlob | null> {
    return this.track(`reading ${key}`, () => this.parts.open(this.parts.layout.blob(key)));
  }

  async stat(key: Key): Promise<Stat | null> {
    return this.track(`looking for ${key}`, () => this.parts.objects.head(this.parts.layout.blob(key)));
  }

  async delete(key: Key, seen: Seen): Promise<boolean> {
    return this.ifStill(key, seen, (name, stat) => this.parts.removal.remove(key, name, stat));
  }

  async quarantine(key: Key, seen: Seen): Promise<boolean> {
    return this.ifStill(key, seen, async (name, stat) => {
      await this.parts.quarantined.keep(key, name, stat);
      return this.parts.removal.remove(key, name, stat);
    });
  }

  async isQuarantined(key: Key): Promise<boolean> {
    return this.track(`looking for ${key} in quarantine`, () => this.parts.quarantined.holds(key));
  }

  async quarantinedCount(): Promise<number> {
    return this.track("counting what is in quarantine", () => this.parts.quarantined.count());
  }

  async *keys(from?: Key, to?: Key): AsyncGenerator<Key> {
    this.mustBeOpen();
    const { objects, layout, traffic } = this.parts;
    let [count, bytes, foreign] = [0, 0, 0];
    try {
      for await (const { name, sizeBytes } of objects.listAll(layout.blobs, from && layout.before(from))) {
        const key = layout.keyOf(name);
        if (key === null) foreign++;
        else if (to !== undefined && key >= to) return;
        else if (from === undefined || key >= from) {
          count++;
          bytes += sizeBytes;
          yield key;
        }
      }
    } catch (error) {
      throw s3Failure(error, "listing the blobs");
    }
    if (from !== undefined || to !== undefined) return;
    traffic.foreignObjects = foreign;
    const pages = Math.max(1, Math.ceil((count + foreign) / S3_PAGE_MAX_COUNT));
    traffic.pass = { requests: count + 2 * pages, bytes }; // at its end a pass compares the listing with what is known
  }

  async space(): Promise<Space> {
    this.mustBeOpen();
    return { freeBytes: null, totalBytes: null };
  }

  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    this.parts.closing.abort(
      new CaskError("STORAGE_FAILED", "the node stops: what was not known by then stays unknown"),
    );
    await Promise.all([...this.stages].map((stage) => stage.abort()));
    await Promise.allSettled([...this.underWay]);
    await this.parts.owner.release();
    this.parts.connection.close();
    this.lock.release();
  }

  private commit(key: Key, staged: UploadSource): Promise<CommitOutcome> {
    return this.track(`storing ${key}`, () =>
      this.mutex.run(key, async () => {
        await this.parts.owner.mustBeOurs();
        return this.committing.commit(key, staged);
      }),
    );
  }

  /**
   * Nothing else changes the copy between the look and the act: the mutex keeps this process off, the owner object others, and what a former life was
   * deleting is waited for.
   */
  private ifStill(key: Key, seen: Seen, act: (name: string, stat: S3Stat) => Promise<boolean>): Promise<boolean> {
    return this.track(`removing ${key}`, () =>
      this.mutex.run(key, async () => {
        await this.parts.removal.settled(key);
        await this.parts.owner.mustBeOurs();
        const name = this.parts.layout.blob(key);
        const stat = await this.parts.objects.look(name);
        return stat?.seen === seen && act(name, stat);
      }),
    );
  }

  private async mustFit(bytes: number): Promise<void> {
    const freeBytes = await this.freeToStage();
    if (bytes <= freeBytes - STAGE_RESERVE_BYTES) return;
    const { root } = this.parts.state;
    throw new CaskError("NO_SPACE", `${bytes} bytes can't wait for S3: ${freeBytes} are free on the disk of ${root}`);
  }

  private async freeToStage(): Promise<number> {
    const { root } = this.parts.state;
    try {
      const { bavail, bsize } = await this.parts.files.statfs(root);
      return bavail * bsize;
    } catch (error) {
      throw storageFailure(error, `asking for the free space of ${root}`);
    }
  }

  private async track<T>(doing: string, act: () => Promise<T>): Promise<T> {
    this.mustBeOpen();
    const work = act();
    this.underWay.add(work);
    try {
      return await work;
    } catch (error) {
      throw error instanceof WrongLength ? new DamagedCopy(error.message, error.stat.seen) : s3Failure(error, doing);
    } finally {
      this.underWay.delete(work);
    }
  }

  private mustBeOpen(): void {
    if (this.closed) throw new CaskError("STORAGE_FAILED", `the bucket ${this.parts.connection.bucket} was closed`);
  }
}

function assemble(given: S3BackendOptions): Parts {
  const timing = { ...S3_TIMING, ...given.timing };
  const options = { ...given, timing, stageBudget: given.stageBudget ?? new ByteBudget(STAGED_IN_MEMORY_MAX_BYTES) };
  const { clock, random, onNotice, onLost, uuid } = options;
  const files = given.files ?? systemFiles;
  const state = new Layout(resolve(options.stateDir));
  const layout = new S3Layout(options.place.prefix);
  const traffic = new S3Traffic();
  const connection = new S3Connection({ place: options.place, timing, traffic, clock, random });
  const objects = new S3Objects(connection);
  const uploads = new S3Uploads(connection, objects);
  const closing = new AbortController();
  const folder = join(state.root, "deleting");
  const removal = new S3Removal({ objects, folder, files, timing, clock, closing: closing.signal, onNotice });
  const open = async (name: string) => {
    const opened = await objects.open(name);
    return opened && new S3Copy({ objects, name, opened, timing, traffic, clock });
  };
  const quarantined = new S3Quarantine({ objects, uploads, layout, clock, random, open });
  const nonces = new FormerNonces(files, state);
  const owner = new S3Owner({
    connection,
    objects,
    open,
    layout,
    uuid,
    timing,
    clock,
    random,
    nonces,
    onNotice,
    onLost,
  });
  return {
    options,
    files,
    state,
    layout,
    traffic,
    connection,
    objects,
    uploads,
    removal,
    quarantined,
    owner,
    closing,
    open,
  };
}

/** The first request: what is wrong with the settings shows here, and is told in their words. */
async function reach(objects: S3Objects, layout: S3Layout, { bucket }: S3Connection): Promise<void> {
  try {
    await objects.list(layout.all, undefined, 1);
  } catch (error) {
    const advice =
      "check CASK_S3_BUCKET, CASK_S3_ENDPOINT, CASK_S3_REGION, CASK_S3_FORCE_PATH_STYLE and the keys; the bucket must exist, and the keys " +
      "must allow to list, get, put and delete in it";
    const failure = s3Failure(error, "looking into it");
    throw new CaskError("BAD_ROOT", `can't use the bucket ${bucket} (${failure.message}): ${advice}`, failure);
  }
}
