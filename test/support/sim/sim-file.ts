import type { PowerCut } from "./power-cut.ts";

type Change =
  | { readonly kind: "write"; readonly at: number; readonly bytes: Buffer }
  | { readonly kind: "truncate"; readonly size: number };

const NOTHING = Buffer.alloc(0);

/** An inode with bytes: as they are read now, and as they are on the platter. */
export class SimFile {
  readonly kind = "file";
  readonly ino: number;
  mtimeNs = 0n;
  ctimeNs = 0n;
  /** Names and open descriptors: without any of either its space is free. */
  links = 0;
  handles = 0;
  size: number;
  /** Another one after each change of its bytes. */
  version = 0;
  /** The first `size` bytes count. `synced` may be the begin of the same memory: that part is never written to. */
  private buffer: Buffer;
  private synced: Buffer;
  private unsynced: Change[] = [];
  /** A sync failed: the kernel forgot that these bytes were to be written, and goes on showing them. */
  private hasDropped = false;

  constructor(ino: number, bytes: Buffer = NOTHING) {
    this.ino = ino;
    this.buffer = bytes;
    this.synced = bytes;
    this.size = bytes.length;
  }

  get bytes(): Buffer {
    return this.buffer.subarray(0, this.size);
  }

  get isSynced(): boolean {
    return this.unsynced.length === 0 && !this.hasDropped;
  }

  read(into: Uint8Array, offset: number, length: number, position: number): number {
    const piece = this.buffer.subarray(position, Math.min(position + length, this.size));
    into.set(piece, offset);
    return piece.length;
  }

  write(bytes: Uint8Array, at: number): void {
    this.apply({ kind: "write", at, bytes: Buffer.from(bytes) });
  }

  truncate(size: number): void {
    this.apply({ kind: "truncate", size });
  }

  sync(): void {
    this.synced = this.hasDropped ? changed(this.synced, this.unsynced) : this.bytes;
    this.unsynced = [];
  }

  /** The next sync will be called a success, and what is un-synced now will not be part of it. */
  failSync(): void {
    this.hasDropped ||= this.unsynced.length > 0;
    this.unsynced = [];
  }

  /** What the platter has after a power cut. */
  afterCut(cut: PowerCut): Buffer {
    const kept = this.unsynced.flatMap((change): Change[] => {
      if (change.kind === "truncate") return cut.spares() ? [change] : [];
      const length = cut.sparedBytes(change.bytes.length);
      return length > 0 ? [{ ...change, bytes: change.bytes.subarray(0, length) }] : [];
    });
    return changed(this.synced, kept);
  }

  /** Other bytes, on the platter too, as a failing disk makes them: nothing else of the file tells. */
  rot(bytes: Buffer): void {
    this.version++;
    this.buffer = bytes;
    this.synced = bytes;
    this.size = bytes.length;
    this.unsynced = [];
    this.hasDropped = false;
  }

  /** Some bytes change where they are, on the platter too; what was not synced still is not. */
  damage(at: number, bytes: Uint8Array): void {
    this.version++;
    this.synced = overwritten(this.synced, at, bytes);
    this.buffer = overwritten(this.bytes, at, bytes);
  }

  private apply(change: Change): void {
    this.version++;
    this.unsynced.push(change);
    const end = change.kind === "write" ? change.at + change.bytes.length : change.size;
    const from = Math.min(change.kind === "write" ? change.at : change.size, this.size);
    this.makeWriteable(from, end);
    if (change.kind === "truncate") {
      this.buffer.fill(0, Math.min(this.size, end), end);
      this.size = end;
      return;
    }
    if (change.at > this.size) this.buffer.fill(0, this.size, change.at);
    this.buffer.set(change.bytes, change.at);
    this.size = Math.max(this.size, end);
  }

  private makeWriteable(from: number, end: number): void {
    const isShared = this.synced.buffer === this.buffer.buffer && from < this.synced.length;
    if (end <= this.buffer.length && !isShared) return;
    const grown = Buffer.alloc(end <= this.buffer.length ? this.buffer.length : Math.max(end, 2 * this.buffer.length));
    this.buffer.copy(grown, 0, 0, this.size);
    this.buffer = grown;
  }
}

function overwritten(whole: Buffer, at: number, bytes: Uint8Array): Buffer {
  const made = Buffer.from(whole);
  made.set(bytes.subarray(0, Math.max(0, made.length - at)), Math.min(at, made.length));
  return made;
}

function changed(bytes: Buffer, changes: readonly Change[]): Buffer {
  if (changes.length === 0) return bytes;
  const file = new SimFile(0, Buffer.from(bytes));
  for (const change of changes) {
    if (change.kind === "write") file.write(change.bytes, change.at);
    else file.truncate(change.size);
  }
  return Buffer.from(file.bytes);
}
