/** A number of bytes that many share. Who gets none finds another way: nobody waits for it. */
export class ByteBudget {
  private free: number;

  constructor(bytes: number) {
    this.free = bytes;
  }

  /** Answers whether the bytes were granted; they are to be given back. */
  tryTake(bytes: number): boolean {
    if (bytes > this.free) return false;
    this.free -= bytes;
    return true;
  }

  give(bytes: number): void {
    this.free += bytes;
  }

  get freeBytes(): number {
    return this.free;
  }
}
