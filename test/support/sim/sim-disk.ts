import type { Clock } from "../../../src/core/clock.ts";
import type { Random } from "../../../src/core/random.ts";
import { PowerCut } from "./power-cut.ts";
import { simError } from "./sim-errors.ts";
import { SimFile } from "./sim-file.ts";
import { type EntryChange, type Rename, SimFolder, type SimNode, setEntry } from "./sim-folder.ts";
import { SimProcess } from "./sim-process.ts";

/** A call that a process is about to make. `to`: where to, for `rename`; `bytes`: how many, for `read` and `write`. */
export interface SimCall {
  readonly name: string;
  readonly path: string;
  readonly to?: string;
  readonly bytes?: number;
}

/** Nothing: the call is made. An error: it fails with it. A promise: it hangs until that settles. */
export type Verdict = Error | undefined | Promise<Error | undefined>;

export interface SimDiskOptions {
  readonly totalBytes?: number;
  /** File times are taken from it, and delays. */
  readonly clock?: Clock;
}

const DEFAULT_TOTAL_BYTES = 64 * 2 ** 30;

/**
 * A disk with a filesystem on it, in memory: what is written is seen at once, and is on the platter only after a sync of that file; a name
 * that came or went, only after a sync of that folder. Power cuts (`crash`), bit rot, faults and delays are up to the test; with
 * the same test and the same seed all is the same again. It is harsher than a journaling filesystem: what was not synced is kept or lost
 * each for itself. Only a rename stays whole: at no time has the platter neither name.
 */
export class SimDisk {
  totalBytes: number;
  /** Asked before every call of every process. It may kill that process. */
  beforeCall: (call: SimCall, by: SimProcess) => Verdict = () => undefined;
  /** How long a call takes, in milliseconds of the clock. */
  latencyMs: (call: SimCall) => number = () => 0;
  /** Calls made so far. */
  calls = 0;
  /** Files that could not be cut: they hold what their process took back. */
  readonly uncut = new Set<string>();
  /** A segment was taken away: what its deletions deleted can be read again, but by whoever has a checkpoint. */
  hasLostSegment = false;
  readonly clock: Clock | undefined;
  private root: SimFolder;
  private usedBytes = 0;
  private lastIno = 1;
  private lastNs = 0n;
  private changes = 0;
  private readonly processes = new Set<SimProcess>();
  private readonly dirty = new Set<SimFolder>();
  private readonly locks = new Map<string, SimProcess>();
  /** Folders by path, for as long as none is moved or removed: nearly all calls name a file of a few hundred folders. */
  private readonly folders = new Map<string, SimFolder>();

  constructor({ totalBytes = DEFAULT_TOTAL_BYTES, clock }: SimDiskOptions = {}) {
    this.totalBytes = totalBytes;
    this.clock = clock;
    this.root = new SimFolder(1);
    this.root.links = 1;
  }

  /** One life of a process that uses this disk. */
  start(): SimProcess {
    const process = new SimProcess(this);
    this.processes.add(process);
    return process;
  }

  get freeBytes(): number {
    return Math.max(0, this.totalBytes - this.usedBytes);
  }

  /** Fills the disk up, or frees it: from now on so much is free. */
  set freeBytes(bytes: number) {
    this.totalBytes = this.usedBytes + bytes;
  }

  /** The disk as it is found after a power cut at this moment. All processes die; this one stays as it is, to look at. */
  crash(random: Random): SimDisk {
    for (const process of this.processes) process.kill();
    const cut = new PowerCut(random);
    const spared = this.namesAfter(cut);
    const disk = new SimDisk({ totalBytes: this.totalBytes, ...(this.clock ? { clock: this.clock } : {}) });
    disk.beforeCall = this.beforeCall;
    disk.latencyMs = this.latencyMs;
    disk.calls = this.calls;
    disk.hasLostSegment = this.hasLostSegment;
    disk.lastIno = this.lastIno;
    disk.lastNs = this.lastNs;
    const copies = new Map<SimNode, SimNode>();
    const copy = (node: SimNode): SimNode => {
      const known = copies.get(node);
      if (known) return known;
      const made = node.kind === "file" ? new SimFile(node.ino, node.afterCut(cut)) : new SimFolder(node.ino);
      copies.set(node, made);
      made.mtimeNs = node.mtimeNs;
      made.ctimeNs = node.ctimeNs;
      if (made.kind === "file") disk.usedBytes += made.size;
      else
        for (const [name, each] of spared.get(node as SimFolder) ?? (node as SimFolder).synced)
          link(made, name, copy(each));
      return made;
    };
    disk.root = copy(this.root) as SimFolder;
    disk.root.links = 1;
    return disk;
  }

  /** The names that each folder with un-synced changes has afterwards. */
  private namesAfter(cut: PowerCut): Map<SimFolder, Map<string, SimNode>> {
    const after = new Map<SimFolder, Map<string, SimNode>>();
    for (const folder of this.dirty) after.set(folder, new Map(folder.synced));
    const unsynced = [...this.dirty].flatMap((folder) => folder.unsynced).sort((a, b) => a.order - b.order);
    const spared = new Set<EntryChange>();
    for (const change of unsynced) {
      if (!isSpared(change, { cut, spared, isUnsynced: (other) => other.folder.unsynced.includes(other) })) continue;
      spared.add(change);
      setEntry(after.get(change.folder) as Map<string, SimNode>, change);
    }
    return after;
  }

  // What processes do, each at once and as a whole.

  find(path: string, syscall: string): SimNode {
    const cut = path.lastIndexOf("/");
    const folder = this.folders.get(path.slice(0, cut));
    if (!folder) return this.walk(path, syscall);
    const node = cut === path.length - 1 ? folder : folder.entries.get(path.slice(cut + 1));
    if (!node) throw simError("ENOENT", syscall, path);
    return node;
  }

  private walk(path: string, syscall: string): SimNode {
    let node: SimNode = this.root;
    for (let begin = 0, end = 0; begin < path.length; begin = end + 1) {
      end = path.indexOf("/", begin);
      if (end < 0) end = path.length;
      if (end === begin) continue;
      if (node.kind !== "folder") throw simError("ENOTDIR", syscall, path);
      const next: SimNode | undefined = node.entries.get(path.slice(begin, end));
      if (!next) throw simError("ENOENT", syscall, path);
      node = next;
      if (node.kind === "folder") this.folders.set(path.slice(0, end), node);
    }
    return node;
  }

  /** The folder in which the last name of a path is, or would be. */
  parentOf(path: string, syscall: string): { folder: SimFolder; name: string; node: SimNode | undefined } {
    const cut = path.lastIndexOf("/");
    const folder = this.find(path.slice(0, cut), syscall);
    if (folder.kind !== "folder") throw simError("ENOTDIR", syscall, path);
    const name = path.slice(cut + 1);
    return { folder, name, node: folder.entries.get(name) };
  }

  createFile(path: string): SimFile {
    const { folder, name } = this.parentOf(path, "open");
    const file = new SimFile(++this.lastIno);
    this.addName(folder, name, file);
    this.touch(file);
    return file;
  }

  mkdir(path: string): void {
    const { folder, name, node } = this.parentOf(path, "mkdir");
    if (node || name === "") throw simError("EEXIST", "mkdir", path);
    const made = new SimFolder(++this.lastIno);
    this.addName(folder, name, made);
    this.touch(made);
  }

  unlink(path: string): void {
    const { folder, name, node } = this.parentOf(path, "unlink");
    if (!node) throw simError("ENOENT", "unlink", path);
    if (node.kind === "folder") throw simError("EISDIR", "unlink", path);
    this.removeName(folder, name, node);
  }

  rmdir(path: string): void {
    const { folder, name, node } = this.parentOf(path, "rmdir");
    if (!node) throw simError("ENOENT", "rmdir", path);
    if (node.kind !== "folder") throw simError("ENOTDIR", "rmdir", path);
    if (node.entries.size > 0) throw simError("ENOTEMPTY", "rmdir", path);
    this.removeName(folder, name, node);
  }

  rename(path: string, to: string): void {
    const source = this.parentOf(path, "rename");
    const target = this.parentOf(to, "rename");
    const { node } = source;
    if (!node) throw simError("ENOENT", "rename", path);
    if (node.kind === "folder" && `${to}/`.startsWith(`${path}/`)) throw simError("EINVAL", "rename", path);
    if (target.node === node) return;
    if (target.node) this.mustBeReplaceable(node, target.node, to);
    if (node.kind === "folder") this.folders.clear();
    const rename: Rename = { added: undefined };
    if (target.node) this.unlinked(target.node);
    rename.added = this.changeName(target.folder, target.name, node, rename);
    this.changeName(source.folder, source.name, undefined, rename);
    this.touchChange(node);
  }

  write(file: SimFile, bytes: Uint8Array, at: number, path: string): number {
    const growth = Math.max(0, at + bytes.length - file.size);
    const fits = Math.min(bytes.length, bytes.length - growth + this.freeBytes);
    if (bytes.length > 0 && fits <= 0) throw simError("ENOSPC", "write", path);
    const written = bytes.subarray(0, fits);
    const before = file.size;
    file.write(written, at);
    this.usedBytes += file.size - before;
    this.touch(file);
    return written.length;
  }

  truncate(file: SimFile, size: number, path: string): void {
    if (size - file.size > this.freeBytes) throw simError("ENOSPC", "ftruncate", path);
    this.usedBytes += size - file.size;
    file.truncate(size);
    this.touch(file);
  }

  sync(node: SimNode): void {
    node.sync();
  }

  opened(node: SimNode): void {
    node.handles++;
  }

  released(node: SimNode): void {
    node.handles--;
    this.freeIfUnused(node);
  }

  lock(file: string, by: SimProcess): boolean {
    if (this.locks.has(file)) return false;
    this.locks.set(file, by);
    return true;
  }

  unlock(file: string, by: SimProcess): void {
    if (this.locks.get(file) === by) this.locks.delete(file);
  }

  // What happens to a disk, and what an operator does: at once, durable, without calls.

  /** The bytes of a file as they are read now. */
  bytesOf(path: string): Buffer {
    return Buffer.from(this.fileAt(path).bytes);
  }

  /** What is there, without a call; undefined: nothing. */
  at(path: string): SimNode | undefined {
    const cut = path.lastIndexOf("/");
    const folder = this.folders.get(path.slice(0, cut));
    if (folder) return folder.entries.get(path.slice(cut + 1));
    return namesOf(path).reduce<SimNode | undefined>(
      (node, name) => (node?.kind === "folder" ? node.entries.get(name) : undefined),
      this.root,
    );
  }

  has(path: string): boolean {
    return this.at(path) !== undefined;
  }

  namesIn(path: string): string[] {
    const folder = this.find(path, "scandir");
    return folder.kind === "folder" ? [...folder.entries.keys()] : [];
  }

  /** Writes a whole file, new or not, in a folder that is there. */
  put(path: string, bytes: Uint8Array): void {
    const { folder, node } = this.parentOf(path, "open");
    const file = node?.kind === "file" ? node : this.createFile(path);
    this.setBytes(file, Buffer.from(bytes));
    this.touch(file);
    folder.sync();
  }

  remove(path: string): void {
    this.unlink(path);
    this.parentOf(path, "unlink").folder.sync();
  }

  /** Bits that flip, blocks that vanish: the file has other bytes, and its times tell nothing. */
  rot(path: string, change: (bytes: Buffer) => Uint8Array): void {
    const file = this.fileAt(path);
    this.setBytes(file, Buffer.from(change(Buffer.from(file.bytes))));
  }

  flip(path: string, at: number, mask = 1): void {
    this.rot(path, (bytes) => {
      bytes[at] = (bytes[at] as number) ^ mask;
      return bytes;
    });
  }

  private fileAt(path: string): SimFile {
    const node = this.find(path, "open");
    if (node.kind !== "file") throw simError("EISDIR", "open", path);
    return node;
  }

  private setBytes(file: SimFile, bytes: Buffer): void {
    this.usedBytes += bytes.length - file.size;
    file.rot(bytes);
  }

  private mustBeReplaceable(node: SimNode, replaced: SimNode, path: string): void {
    if (node.kind === "file" && replaced.kind === "folder") throw simError("EISDIR", "rename", path);
    if (node.kind === "folder" && replaced.kind === "file") throw simError("ENOTDIR", "rename", path);
    if (replaced.kind === "folder" && replaced.entries.size > 0) throw simError("ENOTEMPTY", "rename", path);
  }

  private addName(folder: SimFolder, name: string, node: SimNode): void {
    node.links++;
    this.changeName(folder, name, node);
  }

  private removeName(folder: SimFolder, name: string, node: SimNode): void {
    if (node.kind === "folder") this.folders.clear();
    this.changeName(folder, name, undefined);
    this.touchChange(node);
    this.unlinked(node);
  }

  private changeName(folder: SimFolder, name: string, node: SimNode | undefined, rename?: Rename): EntryChange {
    const change = { order: ++this.changes, folder, name, node, ...(rename ? { rename } : {}) };
    folder.change(change);
    this.dirty.add(folder);
    this.touch(folder);
    return change;
  }

  private unlinked(node: SimNode): void {
    node.links--;
    this.freeIfUnused(node);
  }

  private freeIfUnused(node: SimNode): void {
    if (node.kind === "file" && node.links === 0 && node.handles === 0) this.usedBytes -= node.size;
  }

  private touch(node: SimNode): void {
    this.touchChange(node);
    node.mtimeNs = node.ctimeNs;
  }

  /** Times never repeat, also while the clock stands still. */
  private touchChange(node: SimNode): void {
    const nowNs = BigInt(Math.floor(this.clock?.wallMs() ?? 0)) * 1_000_000n;
    this.lastNs = nowNs > this.lastNs ? nowNs : this.lastNs + 1n;
    node.ctimeNs = this.lastNs;
  }
}

interface Sparing {
  readonly cut: PowerCut;
  readonly spared: ReadonlySet<EntryChange>;
  readonly isUnsynced: (change: EntryChange) => boolean;
}

/** The second half of a rename goes with its first where they are in one folder; else it is never alone. */
function isSpared(change: EntryChange, { cut, spared, isUnsynced }: Sparing): boolean {
  const added = change.rename?.added;
  if (!added || added === change) return cut.spares();
  const isAdded = spared.has(added) || !isUnsynced(added);
  return isAdded && (added.folder === change.folder || cut.spares());
}

function link(folder: SimFolder, name: string, node: SimNode): void {
  node.links++;
  folder.entries.set(name, node);
  folder.synced.set(name, node);
}

function namesOf(path: string): string[] {
  return path.split("/").filter((name) => name !== "");
}
