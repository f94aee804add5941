import { constants } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import type { ByteBudget } from "../core/byte-budget.ts";
import { CaskError, messageOf } from "../core/errors.ts";
import type { Key } from "../core/key.ts";
import {
  SPACE_CHECK_EVERY_BYTES,
  STAGE_RESERVE_BYTES,
  STAGED_PIECE_LEAST_BYTES,
  SYNC_EVERY_BYTES,
  WHOLE_BLOB_MAX_BYTES,
} from "../core/limits.ts";
import { isAlone, isPiece, recycle, retain } from "../core/piece-pool.ts";
import type { Random } from "../core/random.ts";
import type { CommitOutcome, Stage } from "./backend.ts";
import type { DirectFiles } from "./direct-files.ts";
import type { FileSystem } from "./file-system.ts";
import type { Layout } from "./layout.ts";
import { readRange } from "./read-range.ts";
import { removeIfThere } from "./remove-if-there.ts";
import { storageFailure } from "./storage-failure.ts";
import { writeAll } from "./write-all.ts";

const STAGE_FLAGS = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL;
const NAME_BYTES = 16;
const FIRST_BUFFER_BYTES = 4096;
const NOTHING = new Uint8Array(0);

/** What a commit needs of a stage. */
export interface StagedBytes {
  readonly sizeBytes: number;
  read(): AsyncIterable<Uint8Array>;
  /** All of the bytes, where memory still has them. Good until the stage ends. */
  inMemory(): Uint8Array | undefined;
  /**
   * The path of a file in `stage/` that holds the bytes and was synced. Who renames it calls `moved`.
   * After a rejection the file is given up: a sync that failed must not be tried again, the kernel may have dropped the bytes.
   */
  toDurableFile(): Promise<string>;
  moved(): void;
}

export interface DiskStageOptions {
  readonly files: FileSystem;
  /** Null: all files go through the page cache. */
  readonly direct: DirectFiles | null;
  readonly layout: Layout;
  readonly random: Random;
  readonly budget: ByteBudget;
  /** See readRange. */
  readonly pieces: ByteBudget;
  /** The bytes go to a file at once. */
  readonly large: boolean;
  readonly freeBytes: () => Promise<number>;
  readonly commit: (key: Key, staged: StagedBytes) => Promise<CommitOutcome>;
  readonly onEnd: (stage: DiskStage) => void;
  readonly onNotice: (message: string) => void;
}

/** Small blobs wait in memory, as long as all of them together keep within the budget; others in a file of `stage/`. */
export class DiskStage implements Stage, StagedBytes {
  private readonly options: DiskStageOptions;
  private state: "open" | "failed" | "committed" | "aborted" = "open";
  private size = 0;
  /** All of the bytes so far. Its capacity is what was taken from the budget. Of a pool it is where they came in as one piece: then it stays until the end. */
  private buffer: Buffer | undefined;
  private handle: FileHandle | undefined;
  private path: string | undefined;
  private unsyncedBytes = 0;
  /** What was written a while ago, while more is. Never rejects. */
  private syncing: Promise<void> = Promise.resolve();
  private syncError: unknown;
  private uncheckedBytes = 0;
  private durable = false;
  private released = false;
  private underWay: Promise<unknown> = Promise.resolve();
  private ending: Promise<void> | undefined;

  constructor(options: DiskStageOptions) {
    this.options = options;
  }

  get sizeBytes(): number {
    return this.size;
  }

  async write(chunk: Uint8Array, isGiven = false): Promise<void> {
    this.mustBeOpen();
    await this.track(this.append(chunk, isGiven));
  }

  /** Also while it is being given up: a commit that runs reads to its end. */
  async *read(): AsyncGenerator<Uint8Array> {
    if (this.released) throw ended();
    if (this.buffer) {
      // Who reads may recycle what it gets: a piece is this stage's.
      const bytes = this.buffer.subarray(0, this.size);
      if (this.size > 0) yield isPiece(bytes) ? Buffer.from(bytes) : bytes;
    } else if (this.handle) {
      const { pieces } = this.options;
      yield* readRange({ handle: this.handle, start: 0, end: this.size - 1, path: this.path ?? "the stage", pieces });
    }
  }

  async commit(key: Key): Promise<CommitOutcome> {
    this.mustBeOpen();
    this.state = "committed";
    return this.track(this.options.commit(key, this));
  }

  /** Waits for the call under way: a file must not be removed while a commit renames it. */
  abort(): Promise<void> {
    this.ending ??= this.end();
    return this.ending;
  }

  private async end(): Promise<void> {
    this.state = "aborted";
    await this.underWay.catch(() => undefined); // told to whoever called it
    await this.release();
    this.options.onEnd(this);
  }

  inMemory(): Uint8Array | undefined {
    if (this.released || (this.handle && !this.buffer)) return undefined;
    return this.buffer?.subarray(0, this.size) ?? NOTHING;
  }

  async toDurableFile(): Promise<string> {
    try {
      if (!this.handle) await this.spillAll();
      await this.syncing;
      this.mustBeSyncable();
      if (!this.durable) await this.open().sync();
      this.durable = true;
      return this.path as string;
    } catch (error) {
      throw storageFailure(error, "writing a blob to disk");
    }
  }

  moved(): void {
    this.path = undefined;
  }

  private async append(chunk: Uint8Array, isGiven: boolean): Promise<void> {
    try {
      this.mustBeSyncable();
      if (!this.takePiece(chunk) && !(isGiven && this.takeAsItIs(chunk))) {
        if (!this.handle && !this.fitsInMemory(chunk.length)) {
          await this.spill(this.newPath());
          this.dropBuffer();
        }
        if (this.handle) await this.appendToFile(chunk);
        else this.buffer?.set(chunk, this.size);
      }
      this.size += chunk.length;
    } catch (error) {
      this.state = "failed";
      throw storageFailure(error, "staging a blob");
    }
  }

  /** A first chunk that is a good part of a pool's piece: perhaps it is all there is. Nobody changes it as long as somebody has it. */
  private takePiece(chunk: Uint8Array): boolean {
    if (this.size > 0 || this.handle || this.options.large || !isPiece(chunk)) return false;
    if (chunk.length < STAGED_PIECE_LEAST_BYTES || !this.options.budget.tryTake(chunk.length)) return false;
    retain(chunk);
    this.buffer = chunk as Buffer;
    return true;
  }

  /** A first chunk, if it has its memory to itself: a part of a network buffer would keep all of that alive. */
  private takeAsItIs(chunk: Uint8Array): boolean {
    if (this.size > 0 || this.handle || this.options.large || chunk.length > WHOLE_BLOB_MAX_BYTES) return false;
    if (!isAlone(chunk) || chunk.length === 0 || !this.options.budget.tryTake(chunk.length)) return false;
    this.buffer = Buffer.from(chunk.buffer);
    return true;
  }

  /** Copies, so that a few bytes don't keep a network buffer alive; grows by doubling, so that a slow client takes little. */
  private fitsInMemory(more: number): boolean {
    const needed = this.size + more;
    if (this.options.large || needed > WHOLE_BLOB_MAX_BYTES) return false;
    const has = this.buffer?.length ?? 0;
    if (needed <= has) return true;
    let capacity = Math.max(has, FIRST_BUFFER_BYTES);
    while (capacity < needed) capacity *= 2;
    if (!this.options.budget.tryTake(capacity - has)) return false;
    const grown = Buffer.allocUnsafeSlow(capacity);
    if (this.buffer) {
      this.buffer.copy(grown, 0, 0, this.size);
      recycle(this.buffer);
    }
    this.buffer = grown;
    return true;
  }

  /** The last step to a file. */
  private async spillAll(): Promise<void> {
    const path = this.newPath();
    const { direct } = this.options;
    if (direct && this.buffer && isPiece(this.buffer)) {
      this.path = path;
      this.handle = (await direct.create(path, this.buffer)) ?? undefined;
    }
    if (!this.handle) await this.spill(path);
    if (this.buffer && !isPiece(this.buffer)) this.dropBuffer();
  }

  /** From memory, which still has it then, to a file. */
  private async spill(path: string): Promise<void> {
    const { files } = this.options;
    const handle = await files.open(path, STAGE_FLAGS, 0o644);
    this.path = path;
    try {
      if (this.buffer) await writeAll(handle, this.buffer.subarray(0, this.size), 0);
    } catch (error) {
      await handle.close();
      throw error;
    }
    this.handle = handle;
  }

  private async appendToFile(chunk: Uint8Array): Promise<void> {
    await this.checkSpace(chunk.length);
    const handle = this.open();
    await writeAll(handle, chunk, this.size);
    this.unsyncedBytes += chunk.length;
    if (this.unsyncedBytes < SYNC_EVERY_BYTES) return;
    this.unsyncedBytes = 0;
    await this.syncing;
    this.syncing = handle.datasync().catch((error: unknown) => {
      this.syncError = error;
    });
  }

  /** The kernel may have dropped what it could not write, and call the next sync a success. */
  private mustBeSyncable(): void {
    if (this.syncError !== undefined) throw this.syncError;
  }

  /** A body of unknown length must not fill the disk to its last byte: the node needs some to go on. */
  private async checkSpace(more: number): Promise<void> {
    this.uncheckedBytes += more;
    if (this.size + more <= WHOLE_BLOB_MAX_BYTES || this.uncheckedBytes < SPACE_CHECK_EVERY_BYTES) return;
    this.uncheckedBytes = 0;
    const freeBytes = await this.options.freeBytes();
    if (freeBytes < STAGE_RESERVE_BYTES)
      throw new CaskError("NO_SPACE", `only ${freeBytes} bytes are free on the disk`);
  }

  private async release(): Promise<void> {
    const { path } = this;
    this.released = true;
    this.dropBuffer();
    await this.syncing;
    await this.orNotice("closed", this.handle?.close());
    if (path === undefined) return;
    await this.orNotice("removed; the next start will do it", removeIfThere(this.options.files, path));
  }

  private async orNotice(what: string, work: Promise<void> | undefined): Promise<void> {
    try {
      await work;
    } catch (error) {
      this.options.onNotice(`a stage could not be ${what}: ${messageOf(error)}`);
    }
  }

  private dropBuffer(): void {
    if (!this.buffer) return;
    this.options.budget.give(this.buffer.length);
    recycle(this.buffer);
    this.buffer = undefined;
  }

  private async track<T>(work: Promise<T>): Promise<T> {
    this.underWay = work;
    return work;
  }

  private newPath(): string {
    const { layout, random } = this.options;
    return layout.staged(random.hex(NAME_BYTES));
  }

  private open(): FileHandle {
    if (!this.handle) throw new CaskError("INTERNAL", "the stage has no file");
    return this.handle;
  }

  private mustBeOpen(): void {
    if (this.state !== "open") throw ended();
  }
}

function ended(): CaskError {
  return new CaskError("STORAGE_FAILED", "the stage has failed, was committed, or was given up already");
}
