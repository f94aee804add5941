import { LZW_CLEAR, LZW_CODES, LZW_END, LZW_MAX_BITS, LZW_MIN_BITS } from "./lzw-code.ts";
import { Refused } from "./messages.ts";

const NO_CODE = -1;

/**
 * Reads what Go's `compress/lzw` writes and refuses what it refuses. Works through the codes twice: first to find how long the whole
 * becomes, so that a small bomb is refused before anything is allocated, then to write it. The tables are kept for the next call.
 */
export class LzwInflater {
  /** Each sequence has occurred in the output before: where, and how long it is. By code. */
  private readonly starts = new Uint32Array(LZW_CODES);
  private readonly lengths = new Uint16Array(LZW_CODES);

  /** Throws Refused: `limit` above maxBytes, else `lzw`. What follows the end code is ignored. */
  inflate(bytes: Uint8Array, maxBytes: number): Buffer {
    const plain = Buffer.allocUnsafeSlow(this.run(bytes, maxBytes, null));
    this.run(bytes, maxBytes, plain);
    return plain;
  }

  /** Answers the length of the output, and writes it if there is somewhere to. */
  private run(bytes: Uint8Array, maxBytes: number, plain: Buffer | null): number {
    const codes = new CodeReader(bytes);
    const { starts, lengths } = this;
    let written = 0;
    let highest = LZW_END;
    let lastStart = 0;
    let lastLength = 0;
    let last = NO_CODE;
    for (;;) {
      const code = codes.next();
      if (code === LZW_END) return written;
      if (code === LZW_CLEAR) {
        codes.width = LZW_MIN_BITS;
        highest = LZW_END;
        last = NO_CODE;
        continue;
      }
      // The newest sequence is the last one and the byte after it, which may be the first one of itself.
      if (last !== NO_CODE) {
        starts[highest] = lastStart;
        lengths[highest] = lastLength + 1;
      }
      if (code > highest) throw new Refused("lzw", "lzw: invalid code");
      lastLength = code < LZW_CLEAR ? 1 : (lengths[code] as number);
      lastStart = written;
      written += lastLength;
      if (written > maxBytes) throw new Refused("limit", `decompressed message is larger than limit (${maxBytes})`);
      if (plain) copySequence(plain, lastStart, code, starts[code] as number, lastLength);
      last = code;
      highest++;
      if (highest < 2 ** codes.width) continue;
      if (codes.width < LZW_MAX_BITS) codes.width++;
      else {
        highest--; // the table is full: it stays as it is until a clear
        last = NO_CODE;
      }
    }
  }
}

function copySequence(plain: Buffer, at: number, code: number, from: number, length: number): void {
  if (code < LZW_CLEAR) plain[at] = code;
  // Byte by byte: the two may overlap, and the last byte may be the first one that is written.
  else for (let i = 0; i < length; i++) plain[at + i] = plain[from + i] as number;
}

class CodeReader {
  width = LZW_MIN_BITS;
  private readonly bytes: Uint8Array;
  private position = 0;
  private bits = 0;
  private bitsCount = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  next(): number {
    while (this.bitsCount < this.width) {
      const byte = this.bytes[this.position++];
      if (byte === undefined) throw new Refused("lzw", "lzw: unexpected EOF");
      this.bits |= byte << this.bitsCount;
      this.bitsCount += 8;
    }
    const code = this.bits & (2 ** this.width - 1);
    this.bits >>>= this.width;
    this.bitsCount -= this.width;
    return code;
  }
}
