import { constants } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { CaskError } from "../../../src/core/errors.ts";
import type { FileSystem } from "../../../src/storage/file-system.ts";
import type { HeldLock } from "../../../src/storage/root-lock.ts";
import type { SimCall, SimDisk, Verdict } from "./sim-disk.ts";
import { simError } from "./sim-errors.ts";
import type { SimFile } from "./sim-file.ts";
import type { SimFolder, SimNode } from "./sim-folder.ts";
import { SimBigStats, SimDirent, SimStats } from "./sim-stats.ts";

const BLOCK_BYTES = 4096;
const ACCESS_MODES = constants.O_RDONLY | constants.O_WRONLY | constants.O_RDWR;

interface Kinds {
  readonly bigint?: boolean;
  readonly withFileTypes?: boolean;
  readonly recursive?: boolean;
}

/** What one process sees of a disk, until it dies: from then on none of its calls is made, and none of them ends. */
export class SimProcess {
  isDead = false;
  readonly files: FileSystem;
  private readonly disk: SimDisk;
  private readonly open = new Set<SimHandle>();
  private readonly locked = new Set<string>();

  constructor(disk: SimDisk) {
    this.disk = disk;
    this.files = this.makeFiles();
  }

  /** Like SIGKILL: what was written stays seen, locks and descriptors are gone. */
  kill(): void {
    if (this.isDead) return;
    this.isDead = true;
    for (const handle of this.open) handle.release();
    for (const file of this.locked) this.disk.unlock(file, this);
  }

  /** In the place of `RootLock.take`. */
  readonly takeLock = (file: string, root: string): HeldLock => {
    if (!this.disk.lock(file, this)) throw new CaskError("ROOT_IN_USE", `another process uses the data folder ${root}`);
    this.locked.add(file);
    return { release: () => this.disk.unlock(file, this) };
  };

  /** Makes a call, unless the test has it fail or hang. `otherwise`: what a failing call does all the same. */
  call<T>(call: SimCall, work: () => T, otherwise?: () => void): Promise<T> {
    const { disk } = this;
    if (this.isDead) return never();
    disk.calls++;
    const verdict = disk.beforeCall(call, this);
    const ms = disk.latencyMs(call);
    if (verdict instanceof Promise || ms > 0) return this.callLater({ verdict, ms }, work, otherwise);
    return this.end(verdict, work, otherwise);
  }

  private async callLater<T>(
    { verdict, ms }: { verdict: Verdict; ms: number },
    work: () => T,
    otherwise: (() => void) | undefined,
  ): Promise<T> {
    const error = await verdict;
    if (ms > 0) await this.disk.clock?.sleep(ms);
    return this.end(error, work, otherwise);
  }

  /** No async function: a seed makes tens of thousands of calls. */
  private end<T>(error: Error | undefined, work: () => T, otherwise: (() => void) | undefined): Promise<T> {
    if (this.isDead) return never();
    if (error) otherwise?.();
    try {
      return error ? Promise.reject(error) : Promise.resolve(work());
    } catch (failure) {
      return Promise.reject(failure);
    }
  }

  closed(handle: SimHandle): void {
    this.open.delete(handle);
  }

  private makeFiles(): FileSystem {
    const { disk } = this;
    const files = {
      lstat: (path: string, kinds?: Kinds) =>
        this.call({ name: "lstat", path }, () => statsOf(disk.find(path, "lstat"), kinds)),
      stat: (path: string, kinds?: Kinds) =>
        this.call({ name: "stat", path }, () => statsOf(disk.find(path, "stat"), kinds)),
      mkdir: (path: string, kinds?: Kinds) =>
        this.call({ name: "mkdir", path }, () => (kinds?.recursive ? this.makeAll(path) : disk.mkdir(path))),
      open: (path: string, flags: number = constants.O_RDONLY) =>
        this.call({ name: "open", path }, () => this.openPath(path, flags)),
      readdir: (path: string, kinds?: Kinds) => this.call({ name: "readdir", path }, () => this.list(path, kinds)),
      readFile: (path: string, encoding?: BufferEncoding) =>
        this.call({ name: "readFile", path }, () => {
          const bytes = disk.bytesOf(path);
          return encoding ? bytes.toString(encoding) : bytes;
        }),
      rename: (path: string, to: string) => this.call({ name: "rename", path, to }, () => disk.rename(path, to)),
      rmdir: (path: string) => this.call({ name: "rmdir", path }, () => disk.rmdir(path)),
      unlink: (path: string) => this.call({ name: "unlink", path }, () => disk.unlink(path)),
      statfs: (path: string) => this.call({ name: "statfs", path }, () => this.space(path)),
    };
    return files as unknown as FileSystem;
  }

  private openPath(path: string, flags: number): FileHandle {
    const { disk } = this;
    let node = this.existing(path, flags);
    if (!node) node = disk.createFile(path);
    else if ((flags & constants.O_EXCL) !== 0 && (flags & constants.O_CREAT) !== 0)
      throw simError("EEXIST", "open", path);
    const access = flags & ACCESS_MODES;
    if (node.kind === "file" && (flags & constants.O_DIRECTORY) !== 0) throw simError("ENOTDIR", "open", path);
    if (node.kind === "folder" && access !== constants.O_RDONLY) throw simError("EISDIR", "open", path);
    if (node.kind === "file" && (flags & constants.O_TRUNC) !== 0 && node.size > 0) disk.truncate(node, 0, path);
    const handle = new SimHandle({ process: this, disk, node, path, access });
    this.open.add(handle);
    disk.opened(node);
    return handle as unknown as FileHandle;
  }

  private existing(path: string, flags: number): SimNode | undefined {
    if ((flags & constants.O_CREAT) === 0) return this.disk.find(path, "open");
    const { name, node } = this.disk.parentOf(path, "open");
    if (name === "") throw simError("EISDIR", "open", path);
    return node;
  }

  private makeAll(path: string): string | undefined {
    const names = path.split("/").filter((name) => name !== "");
    let first: string | undefined;
    for (let depth = 1; depth <= names.length; depth++) {
      const at = `/${names.slice(0, depth).join("/")}`;
      const { node } = this.disk.parentOf(at, "mkdir");
      if (node?.kind === "file") throw simError(depth === names.length ? "EEXIST" : "ENOTDIR", "mkdir", path);
      if (node) continue;
      this.disk.mkdir(at);
      first ??= at;
    }
    return first;
  }

  private list(path: string, kinds: Kinds | undefined): string[] | SimDirent[] {
    const node = this.disk.find(path, "scandir");
    if (node.kind !== "folder") throw simError("ENOTDIR", "scandir", path);
    if (!kinds?.withFileTypes) return [...node.entries.keys()];
    return Array.from(node.entries, ([name, each]) => new SimDirent(name, path, each));
  }

  private space(path: string): object {
    this.disk.find(path, "statfs");
    const [blocks, free] = [this.disk.totalBytes, this.disk.freeBytes].map((bytes) => Math.floor(bytes / BLOCK_BYTES));
    return { bsize: BLOCK_BYTES, blocks, bfree: free, bavail: free };
  }
}

interface HandleOptions {
  readonly process: SimProcess;
  readonly disk: SimDisk;
  readonly node: SimFile | SimFolder;
  readonly path: string;
  readonly access: number;
}

/** An open file or folder: it stays what it is, whatever becomes of its name. */
class SimHandle {
  private readonly options: HandleOptions;
  private position = 0;
  private isClosed = false;

  constructor(options: HandleOptions) {
    this.options = options;
  }

  read(buffer: Uint8Array, offset: number, length: number, position: number | null) {
    return this.call("read", length, () => {
      const file = this.file(constants.O_RDONLY, "read");
      const at = position ?? this.position;
      const bytesRead = file.read(buffer, offset, length, at);
      if (position === null) this.position += bytesRead;
      return { bytesRead, buffer };
    });
  }

  write(buffer: Uint8Array, offset = 0, length = buffer.length - offset, position: number | null = null) {
    return this.call("write", length, () => {
      const file = this.file(constants.O_WRONLY, "write");
      const { disk, path } = this.options;
      const at = position ?? this.position;
      const bytesWritten = disk.write(file, buffer.subarray(offset, offset + length), at, path);
      if (position === null) this.position += bytesWritten;
      return { bytesWritten, buffer };
    });
  }

  writev(buffers: readonly Uint8Array[], position: number) {
    return this.write(Buffer.concat(buffers), 0, undefined, position);
  }

  async writeFile(data: string | Uint8Array): Promise<void> {
    const bytes = Buffer.from(data as Uint8Array);
    for (let done = 0; done < bytes.length; ) done += (await this.write(bytes, done)).bytesWritten;
  }

  stat(kinds?: Kinds) {
    return this.call("stat", undefined, () => statsOf(this.options.node, kinds));
  }

  async truncate(size = 0) {
    const { disk, path } = this.options;
    try {
      await this.call("truncate", undefined, () =>
        disk.truncate(this.file(constants.O_WRONLY, "ftruncate"), size, path),
      );
    } catch (error) {
      disk.uncut.add(path);
      throw error;
    }
  }

  sync() {
    return this.syncBy("sync");
  }

  datasync() {
    return this.syncBy("datasync");
  }

  /** A close that fails has closed. */
  close(): Promise<void> {
    const end = () => this.release();
    return this.options.process.call({ name: "close", path: this.options.path }, end, end);
  }

  release(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.options.process.closed(this);
    this.options.disk.released(this.options.node);
  }

  private syncBy(name: string): Promise<void> {
    const { process, disk, node, path } = this.options;
    const work = () => {
      this.mustBeOpen("fsync");
      disk.sync(node);
    };
    return process.call({ name, path }, work, () => {
      if (node.kind === "file") node.failSync();
    });
  }

  private call<T>(name: string, bytes: number | undefined, work: () => T): Promise<T> {
    const { process, path } = this.options;
    const call = bytes === undefined ? { name, path } : { name, path, bytes };
    return process.call(call, () => {
      this.mustBeOpen(name);
      return work();
    });
  }

  private file(forWhat: number, syscall: string): SimFile {
    const { node, path, access } = this.options;
    if (node.kind !== "file") throw simError("EISDIR", syscall, path);
    if (access !== constants.O_RDWR && access !== forWhat) throw simError("EBADF", syscall, path);
    return node;
  }

  private mustBeOpen(syscall: string): void {
    if (this.isClosed) throw simError("EBADF", syscall, this.options.path);
  }
}

function statsOf(node: SimNode, kinds: Kinds | undefined): SimStats | SimBigStats {
  return kinds?.bigint ? new SimBigStats(node) : new SimStats(node);
}

/** A dead process does nothing more. */
function never<T>(): Promise<T> {
  return new Promise(() => undefined);
}
