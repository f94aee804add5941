import { types } from "node:util";

declare const WebAssembly: {
  readonly Memory: new (pages: {
    initial: number;
    maximum: number;
    shared: true;
  }) => { readonly buffer: SharedArrayBuffer };
};

const WEB_ASSEMBLY_PAGE_BYTES = 64 * 1024;

interface Home {
  readonly pool: PiecePool;
  readonly piece: Buffer;
  users: number;
}

/** Where each piece that is in use came from, by its memory: a part of a piece stands for the piece. */
const homes = new WeakMap<ArrayBufferLike, Home>();

/**
 * Memory of one size that another thread can see too, used again: large pieces that are made anew for each read make the garbage collector
 * run all the time. Safe for those who don't know of it: only a piece that was explicitly recycled is ever handed out again.
 *
 * There are never more than so many. The garbage collector does not count shared memory, so that without this bound those who never give
 * a piece back would fill the machine before it sets to work.
 */
export class PiecePool {
  readonly pieceBytes: number;
  private isAligned: boolean;
  private readonly maxCount: number;
  private readonly free: Buffer[] = [];
  private madeCount = 0;
  /**
   * What is never given back comes back when the garbage collector finds that nobody looks at it, through whatever view. It is used again, not
   * made anew: the thread that hashed it may hold it long after.
   */
  private readonly lost = new FinalizationRegistry<SharedArrayBuffer>((memory) => this.free.push(this.watched(memory)));

  /** `aligned`: its pieces begin at a page of memory, if the system lets them; a multiple of 64 KiB long. */
  constructor(pieceBytes: number, maxCount: number, { aligned = false } = {}) {
    this.pieceBytes = pieceBytes;
    this.maxCount = maxCount;
    this.isAligned = aligned;
  }

  isPageAligned(piece: Uint8Array): boolean {
    return this.isAligned && piece.byteOffset === 0;
  }

  /** With whatever bytes are in it. Null when all are in use: then other memory has to do. */
  take(): Buffer | null {
    const piece = this.free.pop() ?? this.make();
    if (piece) homes.set(piece.buffer, { pool: this, piece, users: 1 });
    return piece;
  }

  giveBack(piece: Buffer): void {
    this.free.push(piece);
  }

  private make(): Buffer | null {
    if (this.madeCount >= this.maxCount) return null;
    this.madeCount++;
    return this.watched(this.pageAligned() ?? new SharedArrayBuffer(this.pieceBytes));
  }

  /** The memory of WebAssembly is the only one that is sure to begin at a page. Each takes 8 GiB of addresses, which may be limited, and no more memory than others. */
  private pageAligned(): SharedArrayBuffer | null {
    if (!this.isAligned) return null;
    const pages = this.pieceBytes / WEB_ASSEMBLY_PAGE_BYTES;
    try {
      return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true }).buffer;
    } catch (_noAddresses) {
      this.isAligned = false;
      return null;
    }
  }

  /** The same memory can be had as another object, which the registry keeps until this one is gone. */
  private watched(memory: SharedArrayBuffer): Buffer {
    this.lost.register(memory, structuredClone(memory));
    return Buffer.from(memory);
  }
}

/** One more user of a piece: it is free after one more `recycle`. Other memory is left alone. */
export function retain(piece: Uint8Array): void {
  const home = homes.get(piece.buffer);
  if (home) home.users++;
}

/** To be called once by each user of a piece, when it will not look at its bytes any more. Other memory is left alone. */
export function recycle(piece: Uint8Array): void {
  const home = homes.get(piece.buffer);
  if (!home || --home.users > 0) return;
  homes.delete(piece.buffer);
  home.pool.giveBack(home.piece);
}

/** As `into.set(bytes, at)`, in half the time: V8 copies into shared memory word by word, so that what others write meanwhile does no harm; here nobody does. */
export function copyInto(into: Buffer, bytes: Uint8Array, at: number): void {
  if (bytes.length > 0) into.fill(bytes, at, at + bytes.length);
}

/** Are the bytes a piece of a pool, or a part of one, that is in use? */
export function isPiece(bytes: Uint8Array): boolean {
  return homes.has(bytes.buffer);
}

/** Do they begin at a page of memory, as a disk wants it that reads from there itself? */
export function isPageAligned(bytes: Uint8Array): boolean {
  return homes.get(bytes.buffer)?.pool.isPageAligned(bytes) ?? false;
}

/** Another thread sees the bytes without a copy being made. */
export function isShared(bytes: Uint8Array): boolean {
  return types.isSharedArrayBuffer(bytes.buffer);
}

/** Has it its memory to itself, and is that no pool's? */
export function isAlone(bytes: Uint8Array): boolean {
  return bytes.length === bytes.buffer.byteLength && !isShared(bytes);
}

/**
 * Frees the memory of bytes that nobody looks at any more: at once, not when the garbage collector comes by. It would, each 16 MiB or so, and go
 * through the whole heap for a few hundred chunks. Memory that holds something else besides is left alone.
 */
export function freeAlone(bytes: Uint8Array): void {
  if (isAlone(bytes)) (bytes.buffer as ArrayBuffer).transfer(0);
}
