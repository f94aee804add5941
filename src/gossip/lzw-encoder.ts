import { LZW_CLEAR, LZW_CODES, LZW_END, LZW_MAX_BITS, LZW_MIN_BITS } from "./lzw-code.ts";

/** Makes the same bytes as Go's writer, which clears its table one code before the last. */
export function deflateLzw(plain: Uint8Array): Buffer {
  const out = new CodeWriter(plain.length);
  out.write(LZW_CLEAR);
  const known = new SequenceTable(plain.length);
  let prefix = plain[0];
  if (prefix !== undefined) {
    for (let i = 1; i < plain.length; i++) {
      const byte = plain[i] as number;
      const code = known.find(prefix, byte);
      if (code !== 0) {
        prefix = code;
        continue;
      }
      if (out.writeData(prefix)) known.add(out.lastCode);
      else known.clear();
      prefix = byte;
    }
    out.writeData(prefix);
  }
  out.write(LZW_END);
  return out.finish();
}

/** Codes into bits. Counts them as the reader does, because both must widen them at the same place. */
class CodeWriter {
  /** The last code that has been given to a sequence. */
  lastCode = LZW_END;
  private readonly bytes: Buffer;
  private length = 0;
  private width = LZW_MIN_BITS;
  private bits = 0;
  private bitsCount = 0;

  constructor(plainBytes: number) {
    // Each byte makes one code at most; and a clear for each full table, of which there is at most one in 3,800 codes.
    this.bytes = Buffer.allocUnsafe(
      Math.ceil(((plainBytes + 3) * LZW_MAX_BITS) / 8) + Math.ceil(plainBytes / 1_000) + 8,
    );
  }

  /** A code of a sequence. True: `lastCode` may now be given to the sequence and the byte that follows it; false: the table is full and was cleared. */
  writeData(code: number): boolean {
    this.write(code);
    this.lastCode++;
    if (this.lastCode === 2 ** this.width) this.width++;
    if (this.lastCode < LZW_CODES - 1) return true;
    this.write(LZW_CLEAR);
    this.width = LZW_MIN_BITS;
    this.lastCode = LZW_END;
    return false;
  }

  write(code: number): void {
    this.bits |= code << this.bitsCount;
    this.bitsCount += this.width;
    while (this.bitsCount >= 8) this.pushByte();
  }

  finish(): Buffer {
    if (this.bitsCount > 0) this.pushByte();
    return this.bytes.subarray(0, this.length);
  }

  private pushByte(): void {
    this.bytes[this.length++] = this.bits & 0xff;
    this.bits >>>= 8;
    this.bitsCount -= 8;
  }
}

/** Code of (code, byte): open addressing, at most half full. An entry is `code << 20 | prefix << 8 | byte`; no sequence has code 0. */
class SequenceTable {
  private readonly entries: Int32Array;
  private readonly mask: number;
  private slot = 0;
  private wanted = 0;

  constructor(plainBytes: number) {
    const size = 2 ** Math.ceil(Math.log2(2 * Math.min(LZW_CODES, plainBytes + 8)));
    this.entries = new Int32Array(size);
    this.mask = size - 1;
  }

  /** 0: unknown. */
  find(prefix: number, byte: number): number {
    this.wanted = (prefix << 8) | byte;
    for (let slot = Math.imul(this.wanted, 0x9e3779b1) >>> 15; ; slot++) {
      this.slot = slot & this.mask;
      const entry = this.entries[this.slot] as number;
      if (entry === 0) return 0;
      if ((entry & 0xfffff) === this.wanted) return entry >>> 20;
    }
  }

  /** What `find` just did not find. */
  add(code: number): void {
    this.entries[this.slot] = (code << 20) | this.wanted;
  }

  clear(): void {
    this.entries.fill(0);
  }
}
