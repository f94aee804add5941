import { constants } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { isPageAligned } from "../core/piece-pool.ts";
import type { FileSystem } from "./file-system.ts";
import { removeIfThere } from "./remove-if-there.ts";
import { writeAll } from "./write-all.ts";

/** A multiple of what any disk takes at a time. */
const BLOCK_BYTES = 4096;

/**
 * Files that are written past the page cache (`O_DIRECT`): the disk takes the bytes from where they lie. To copy them into memory that the system
 * must find first can take longer than all else of an upload. Who reads such a file goes to the disk the first time.
 */
export class DirectFiles {
  private readonly files: FileSystem;
  /** Some filesystems have no such thing. Found out once. */
  private areHad = constants.O_DIRECT !== undefined;

  constructor(files: FileSystem) {
    this.files = files;
  }

  /**
   * Makes a file of these bytes, which are not durable yet: its handle can be synced and closed, no more. Null, and no file, where that can't be
   * done: bytes have to begin at a page of memory. What lies behind them in their last block of memory is written over with zeros.
   */
  async create(path: string, bytes: Uint8Array): Promise<FileHandle | null> {
    if (!this.areHad || bytes.length === 0 || !isPageAligned(bytes)) return null;
    let handle: FileHandle | undefined;
    try {
      handle = await this.files.open(
        path,
        constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_DIRECT,
        0o644,
      );
      const blocks = inBlocks(bytes);
      await writeAll(handle, blocks, 0);
      if (blocks.length > bytes.length) await handle.truncate(bytes.length);
      return handle;
    } catch (error) {
      await handle?.close();
      if ((error as NodeJS.ErrnoException).code !== "EINVAL") throw error;
      this.areHad = false;
      await removeIfThere(this.files, path); // Linux makes a file even where it then refuses to open it so
      return null;
    }
  }
}

function inBlocks({ buffer, byteOffset, length }: Uint8Array): Buffer {
  const blocks = Buffer.from(buffer, byteOffset, Math.ceil(length / BLOCK_BYTES) * BLOCK_BYTES);
  return blocks.fill(0, length);
}
