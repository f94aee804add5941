import { Refused } from "./messages.ts";

/** Bytes that came and were not yet used, in one piece. Grows with what came, never with what was announced. */
export class ByteQueue {
  private readonly maxBytes: number;
  private bytes: Buffer;
  private start = 0;
  private end = 0;
  private taken = 0;

  /** `maxBytes`: of all that may ever come. */
  constructor(maxBytes: number, bytes: Buffer = Buffer.alloc(0)) {
    this.maxBytes = maxBytes;
    this.bytes = bytes;
    this.end = bytes.length;
  }

  get length(): number {
    return this.end - this.start;
  }

  /** Throws Refused when it becomes too much. */
  append(chunk: Uint8Array): void {
    if (this.taken + this.length + chunk.length > this.maxBytes)
      throw new Refused("limit", "the stream is longer than a message may be");
    if (chunk.length > this.bytes.length - this.end) this.makeRoom(chunk.length);
    this.bytes.set(chunk, this.end);
    this.end += chunk.length;
  }

  /** All of it, as a view that is good until the next call of `append`. */
  peek(): Buffer {
    return this.bytes.subarray(this.start, this.end);
  }

  /** The first ones, at most as many as there are, as such a view. */
  take(bytes: number): Buffer {
    const view = this.bytes.subarray(this.start, this.start + bytes);
    this.start += bytes;
    this.taken += bytes;
    return view;
  }

  private makeRoom(bytes: number): void {
    const needed = this.length + bytes;
    const target = Buffer.allocUnsafeSlow(Math.max(needed, Math.min(2 * needed, this.maxBytes)));
    this.bytes.copy(target, 0, this.start, this.end);
    this.end -= this.start;
    this.start = 0;
    this.bytes = target;
  }
}
