import { type FileHandle, open, rename, unlink } from "node:fs/promises";
import path from "node:path";
import type { ByteBudget } from "../core/byte-budget.ts";
import { CaskError } from "../core/errors.ts";
import type { Key } from "../core/key.ts";
import { READ_CHUNK_BYTES, SYNC_EVERY_BYTES, WHOLE_BLOB_MAX_BYTES } from "../core/limits.ts";
import type { CommitOutcome, Stage } from "./backend.ts";
import { diskError, isAbsent, onDisk } from "./disk-errors.ts";

export interface DiskStageOptions {
  /** Path of the temporary file, should one be needed. */
  readonly file: string;
  /** Shared by all stages in memory. */
  readonly budget: ByteBudget;
  readonly commit: (key: Key, stage: DiskStage) => Promise<CommitOutcome>;
}

/** A stage that begins in memory, and moves to a temporary file on the data disk when it grows or memory is short. */
export class DiskStage implements Stage {
  private readonly options: DiskStageOptions;
  private parts: Uint8Array[] = [];
  private takenBytes = 0;
  private size = 0;
  private unsynced = 0;
  private handle: FileHandle | undefined;
  private fileExists = false;
  private ended: "no" | "committed" | "aborted" = "no";

  constructor(options: DiskStageOptions) {
    this.options = options;
  }

  get sizeBytes(): number {
    return this.size;
  }

  async write(chunk: Uint8Array): Promise<void> {
    if (!this.handle && this.keepInMemory(chunk)) return;
    await onDisk("writing an upload", async () => {
      const handle = await this.openFile();
      await writeAll(handle, chunk, this.size);
      this.size += chunk.length;
      this.unsynced += chunk.length;
      if (this.unsynced < SYNC_EVERY_BYTES) return;
      this.unsynced = 0;
      await handle.datasync();
    });
  }

  async *read(): AsyncGenerator<Uint8Array> {
    if (!this.handle) {
      yield* this.parts;
      return;
    }
    for (let at = 0; at < this.size; ) {
      const buffer = Buffer.allocUnsafe(Math.min(READ_CHUNK_BYTES, this.size - at));
      const handle = this.handle;
      const { bytesRead } = await onDisk("reading an upload", () => handle.read(buffer, 0, buffer.length, at));
      if (bytesRead === 0) throw new CaskError("STORAGE_FAILED", "an upload became shorter while it was staged");
      at += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  }

  commit(key: Key): Promise<CommitOutcome> {
    if (this.ended !== "no") throw new CaskError("INTERNAL", "a stage is committed once");
    return this.options.commit(key, this);
  }

  /**
   * Makes the bytes durable under the name `target`; the folder is the caller's to sync. After a failed sync the data must be
   * taken for lost: the file is discarded, never synced again.
   */
  async moveTo(target: string): Promise<void> {
    const handle = await this.openFile();
    await handle.sync();
    await rename(this.options.file, target);
    this.fileExists = false;
    this.ended = "committed";
  }

  /** The bytes are where they belong already. */
  markCommitted(): void {
    this.ended = "committed";
  }

  async abort(): Promise<void> {
    if (this.ended === "no") this.ended = "aborted";
    this.parts = [];
    this.options.budget.give(this.takenBytes);
    this.takenBytes = 0;
    const { handle } = this;
    this.handle = undefined;
    try {
      await handle?.close();
      if (this.fileExists) await unlink(this.options.file);
    } catch (error) {
      if (!isAbsent(error)) this.leftover = diskError("removing an upload", error);
    }
    this.fileExists = false;
  }

  /** Why a temporary file could not be removed; it goes at the next start. */
  leftover: CaskError | undefined;

  private keepInMemory(chunk: Uint8Array): boolean {
    if (this.size + chunk.length > WHOLE_BLOB_MAX_BYTES || !this.options.budget.tryTake(chunk.length)) return false;
    this.takenBytes += chunk.length;
    this.parts.push(Uint8Array.from(chunk)); // the sender may reuse its buffer
    this.size += chunk.length;
    return true;
  }

  /** The temporary file, with what was in memory so far. It stays open, so that it can be read after its renaming. */
  private async openFile(): Promise<FileHandle> {
    if (this.handle) return this.handle;
    if (this.ended === "aborted") throw new CaskError("INTERNAL", "the stage was aborted");
    const handle = await open(this.options.file, "wx+");
    this.fileExists = true;
    let at = 0;
    try {
      for (const part of this.parts) {
        await writeAll(handle, part, at);
        at += part.length;
      }
    } catch (error) {
      await handle.close();
      throw error;
    }
    this.handle = handle;
    this.unsynced = at;
    this.parts = [];
    this.options.budget.give(this.takenBytes);
    this.takenBytes = 0;
    return handle;
  }
}

async function writeAll(handle: FileHandle, chunk: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < chunk.length; ) {
    const { bytesWritten } = await handle.write(chunk, done, chunk.length - done, position + done);
    done += bytesWritten;
  }
}

export function stageFile(folder: string, random: string): string {
  return path.join(folder, random);
}
