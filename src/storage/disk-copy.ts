import type { BigIntStats } from "node:fs";
import { constants } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import type { ByteBudget } from "../core/byte-budget.ts";
import { CaskError, messageOf } from "../core/errors.ts";
import type { Key } from "../core/key.ts";
import type { Seen, Stat, StoredBlob } from "./backend.ts";
import type { FileSystem } from "./file-system.ts";
import type { Layout } from "./layout.ts";
import { readRange } from "./read-range.ts";
import { isAbsent, isUnreadable, storageFailure } from "./storage-failure.ts";

/** O_NONBLOCK: a named pipe must not hang us. O_NOFOLLOW: what a listing doesn't show isn't served either. */
const READ_FLAGS = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW;

/** A blob's file and what it is at present. */
export interface Located extends Stat {
  readonly path: string;
  readonly isLegacy: boolean;
}

/** STORAGE_FAILED through the fault of this one file: its disk can't give it back. Nothing is said about others. */
export class UnreadableCopy extends CaskError {
  readonly path: string;
  readonly isLegacy: boolean;

  constructor({ path, isLegacy }: Pick<Located, "path" | "isLegacy">, cause: unknown) {
    super("STORAGE_FAILED", `${path} can't be read: ${messageOf(cause)}`, cause);
    this.path = path;
    this.isLegacy = isLegacy;
  }
}

export interface DiskCopyOptions {
  readonly files: FileSystem;
  readonly handle: FileHandle;
  readonly located: Located;
  readonly pieces: ByteBudget;
}

/**
 * One copy on disk, open. What it reads is the file that was opened, whatever happens to its name meanwhile. The descriptor is
 * released when the last reader ends; one who reads again after that gets the same, unchanged file or a rejection.
 */
export class DiskCopy implements StoredBlob, Located {
  readonly path: string;
  readonly isLegacy: boolean;
  readonly sizeBytes: number;
  readonly seen: Seen;
  private readonly files: FileSystem;
  private readonly pieces: ByteBudget;
  private handle: Promise<FileHandle> | undefined;
  private readers = 0;
  private closed = false;

  constructor({ files, handle, located, pieces }: DiskCopyOptions) {
    this.files = files;
    this.pieces = pieces;
    this.handle = Promise.resolve(handle);
    this.path = located.path;
    this.isLegacy = located.isLegacy;
    this.sizeBytes = located.sizeBytes;
    this.seen = located.seen;
  }

  async *chunks(start = 0, end = this.sizeBytes - 1): AsyncGenerator<Uint8Array> {
    if (this.closed) throw new CaskError("STORAGE_FAILED", `${this.path} was closed`);
    this.readers++;
    try {
      this.handle ??= this.reopen();
      yield* readRange({ handle: await this.handle, start, end, path: this.path, pieces: this.pieces });
    } finally {
      this.readers--;
      if (this.readers === 0) await this.release();
    }
  }

  async sync(): Promise<void> {
    await (await (this.handle ?? this.reopen())).sync();
  }

  async close(): Promise<void> {
    this.closed = true;
    await this.release();
  }

  private async release(): Promise<void> {
    const { handle } = this;
    this.handle = undefined;
    await (await handle)?.close();
  }

  private async reopen(): Promise<FileHandle> {
    const handle = await openFile(this.files, this.path);
    const { seen } = located(await handle.stat({ bigint: true }), this.path, this.isLegacy);
    if (seen === this.seen) return handle;
    await handle.close();
    throw new CaskError("STORAGE_FAILED", `${this.path} has changed since it was opened`);
  }
}

/** Where copies are looked for. `pieces`: what readers of large blobs take beyond the least piece, all together. */
export interface CopyPlace {
  readonly files: FileSystem;
  readonly layout: Layout;
  readonly pieces: ByteBudget;
}

/** Null: absent in both layouts, as far as the folder can be seen. Anything else that is not an answer rejects. */
export async function openCopy({ files, layout, pieces }: CopyPlace, key: Key): Promise<DiskCopy | null> {
  return firstPresent(files, layout, key, async (path, isLegacy) => {
    const handle = await openFile(files, path);
    try {
      const is = located(await handle.stat({ bigint: true }), path, isLegacy);
      return new DiskCopy({ files, handle, located: is, pieces });
    } catch (error) {
      await handle.close();
      throw error;
    }
  });
}

export async function statCopy(files: FileSystem, layout: Layout, key: Key): Promise<Located | null> {
  return firstPresent(files, layout, key, async (path, isLegacy) =>
    located(await files.lstat(path, { bigint: true }), path, isLegacy),
  );
}

type Look<T> = (path: string, isLegacy: boolean) => Promise<T>;

async function firstPresent<T>(files: FileSystem, layout: Layout, key: Key, look: Look<T>): Promise<T | null> {
  try {
    const found =
      (await unlessAbsent(look, layout.blob(key), false)) ?? (await unlessAbsent(look, layout.legacyBlob(key), true));
    if (found !== null) return found;
    await mustBeFolder(files, layout.folder(key));
    return null;
  } catch (error) {
    throw storageFailure(error, `looking for ${key}`);
  }
}

async function unlessAbsent<T>(look: Look<T>, path: string, isLegacy: boolean): Promise<T | null> {
  try {
    return await look(path, isLegacy);
  } catch (error) {
    if (isAbsent(error)) return null;
    throw isUnreadable(error) ? new UnreadableCopy({ path, isLegacy }, error) : error;
  }
}

/** The 256 folders are made at start. One that is missing means an unmounted or damaged disk: what it held is not "absent". */
async function mustBeFolder(files: FileSystem, folder: string): Promise<void> {
  const stats = await files.stat(folder);
  if (!stats.isDirectory()) throw new CaskError("STORAGE_FAILED", `${folder} is not a folder`);
}

function openFile(files: FileSystem, path: string): Promise<FileHandle> {
  return files.open(path, READ_FLAGS);
}

function located(stats: BigIntStats, path: string, isLegacy: boolean): Located {
  if (!stats.isFile()) throw new CaskError("STORAGE_FAILED", `${path} is not a file: please move it away`);
  const seen = `${stats.ino}-${stats.size}-${stats.mtimeNs}-${stats.ctimeNs}` as Seen;
  return { path, isLegacy, sizeBytes: Number(stats.size), seen };
}
