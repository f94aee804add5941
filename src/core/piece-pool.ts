/** Where each piece that is in use came from. Who never gives one back lets it be collected like any other memory. */
const homes = new WeakMap<Uint8Array, PiecePool>();

/**
 * Memory of one size, used again: large pieces that are made anew for each read make the garbage collector run all the time.
 * Safe for those who don't know of it: only a piece that was explicitly recycled is ever handed out again.
 */
export class PiecePool {
  readonly pieceBytes: number;
  private readonly maxCount: number;
  private readonly free: Buffer[] = [];

  constructor(pieceBytes: number, maxCount: number) {
    this.pieceBytes = pieceBytes;
    this.maxCount = maxCount;
  }

  /** With whatever bytes are in it. */
  take(): Buffer {
    const piece = this.free.pop() ?? Buffer.allocUnsafeSlow(this.pieceBytes);
    homes.set(piece, this);
    return piece;
  }

  giveBack(piece: Buffer): void {
    if (this.free.length < this.maxCount) this.free.push(piece);
  }
}

/** To be called by who is the last to use a piece, when nothing will look at its bytes any more. Other memory is left alone. */
export function recycle(piece: Uint8Array): void {
  const home = homes.get(piece);
  if (!home) return;
  homes.delete(piece);
  home.giveBack(piece as Buffer);
}
