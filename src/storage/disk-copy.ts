import { type FileHandle, open } from "node:fs/promises";
import { CaskError } from "../core/errors.ts";
import { READ_CHUNK_BYTES, WHOLE_BLOB_MAX_BYTES } from "../core/limits.ts";
import type { Seen, StoredBlob } from "./backend.ts";
import { isAbsent, onDisk } from "./disk-errors.ts";

/** An open file that holds a copy. What it says of itself comes from the open file, not from a second look at the path. */
export class DiskCopy implements StoredBlob {
  readonly file: string;
  readonly sizeBytes: number;
  readonly seen: Seen;
  private readonly handle: FileHandle;
  private closing: Promise<void> | undefined;

  private constructor(file: string, handle: FileHandle, sizeBytes: number, seen: Seen) {
    this.file = file;
    this.handle = handle;
    this.sizeBytes = sizeBytes;
    this.seen = seen;
  }

  /** null when there is no such file. Anything else than a readable regular file rejects with STORAGE_FAILED. */
  static async open(file: string): Promise<DiskCopy | null> {
    return onDisk(`opening ${file}`, async () => {
      let handle: FileHandle;
      try {
        handle = await open(file, "r");
      } catch (error) {
        if (isAbsent(error)) return null;
        throw error;
      }
      try {
        const stat = await handle.stat({ bigint: true });
        if (!stat.isFile()) throw new CaskError("STORAGE_FAILED", `${file} is not a regular file`);
        return new DiskCopy(file, handle, Number(stat.size), seenOf(stat));
      } catch (error) {
        await handle.close();
        throw error;
      }
    });
  }

  async *chunks(start = 0, end = this.sizeBytes - 1): AsyncGenerator<Uint8Array> {
    const step = this.sizeBytes <= WHOLE_BLOB_MAX_BYTES ? WHOLE_BLOB_MAX_BYTES : READ_CHUNK_BYTES;
    try {
      for (let at = start; at <= end; ) {
        const buffer = Buffer.allocUnsafeSlow(Math.min(step, end + 1 - at));
        const { bytesRead } = await onDisk(`reading ${this.file}`, () =>
          this.handle.read(buffer, 0, buffer.length, at),
        );
        if (bytesRead === 0) throw new CaskError("STORAGE_FAILED", `${this.file} became shorter while it was read`);
        at += bytesRead;
        yield buffer.subarray(0, bytesRead);
      }
    } finally {
      await this.close();
    }
  }

  sync(): Promise<void> {
    return onDisk(`syncing ${this.file}`, () => this.handle.sync());
  }

  close(): Promise<void> {
    this.closing ??= this.handle.close();
    return this.closing;
  }
}

/** A file that was written, replaced or moved since has another one. */
export function seenOf(stat: { ino: bigint; size: bigint; mtimeNs: bigint; ctimeNs: bigint }): Seen {
  return `${stat.ino}.${stat.size}.${stat.mtimeNs}.${stat.ctimeNs}` as Seen;
}
