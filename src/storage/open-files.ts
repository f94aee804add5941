import { constants } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import type { FileSystem } from "./file-system.ts";

interface OpenFile {
  readonly handle: Promise<FileHandle>;
  users: number;
  /** It goes when its last user ends. */
  dropped: boolean;
}

/** Files that are open to be read, so that each read is one call; those not used for longest are closed. */
export class OpenFiles {
  private readonly files: FileSystem;
  private readonly maxCount: number;
  private readonly open = new Map<string, OpenFile>();

  constructor(files: FileSystem, maxCount: number) {
    this.files = files;
    this.maxCount = maxCount;
  }

  async use<T>(path: string, work: (handle: FileHandle) => Promise<T>): Promise<T> {
    const file = this.take(path);
    try {
      return await work(await file.handle);
    } finally {
      file.users--;
      await this.closeIfDropped(file);
    }
  }

  /** The file is removed: who reads it goes on, nobody else begins. */
  async drop(path: string): Promise<void> {
    const file = this.open.get(path);
    this.open.delete(path);
    if (!file) return;
    file.dropped = true;
    await this.closeIfDropped(file);
  }

  async close(): Promise<void> {
    await Promise.allSettled([...this.open.keys()].map((path) => this.drop(path)));
  }

  private take(path: string): OpenFile {
    let file = this.open.get(path);
    if (file)
      this.open.delete(path); // to the end of the order
    else {
      file = { handle: this.files.open(path, constants.O_RDONLY), users: 0, dropped: false };
      file.handle.catch(() => this.forget(path)); // told to whoever waits for it; the next one tries again
    }
    file.users++;
    this.open.set(path, file);
    if (this.open.size > this.maxCount) this.closeOldest();
    return file;
  }

  private closeOldest(): void {
    for (const [path, { users }] of this.open) {
      if (users > 0) continue;
      void this.drop(path).catch(() => undefined); // it was only read: nothing is lost by a close that fails
      return;
    }
  }

  private forget(path: string): void {
    this.open.delete(path);
  }

  private async closeIfDropped(file: OpenFile): Promise<void> {
    if (!file.dropped || file.users > 0) return;
    await (await file.handle).close();
  }
}
