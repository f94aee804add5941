/**
 * MessagePack as hashicorp/go-msgpack writes it with its default handle: the format's first edition, in which text and bytes are one type
 * ("raw"), without str8 and bin. Integers of Go's unsigned types are written unsigned, those of its signed `int` signed: 200 is `cc c8` in
 * one and `d1 00c8` in the other. Nodes compare and relay what they get, so we write the very same bytes.
 */
export class MsgpackWriter {
  private bytes: Buffer;
  private length = 0;

  constructor(expectedBytes = 256) {
    this.bytes = Buffer.allocUnsafe(expectedBytes);
  }

  byte(value: number): this {
    const at = this.reserve(1);
    this.bytes[at] = value;
    return this;
  }

  /** At most 15 entries, as many `key`s with their values must follow, in the order of the keys' bytes. */
  map(entries: number): this {
    return this.byte(0x80 | entries);
  }

  key(name: string): this {
    return this.text(name);
  }

  /** Go's u8, u16 and u32. */
  uint(value: number): this {
    if (value < 0x80) return this.byte(value);
    if (value < 0x100) return this.byte(0xcc).byte(value);
    if (value < 0x1_0000) return this.byte(0xcd).uint16(value);
    return this.byte(0xce).uint32(value);
  }

  /** Go's `int`, of which only counts and lengths are sent: 0 to 2^31 - 1. */
  int(value: number): this {
    if (value < 0x80) return this.byte(value);
    if (value < 0x8000) return this.byte(0xd1).uint16(value);
    return this.byte(0xd2).uint32(value);
  }

  bool(value: boolean): this {
    return this.byte(value ? 0xc3 : 0xc2);
  }

  text(value: string): this {
    const bytes = Buffer.byteLength(value);
    this.rawHeader(bytes);
    const at = this.reserve(bytes);
    this.bytes.write(value, at, "utf8");
    return this;
  }

  /** `null` is Go's nil, which is not the same as no bytes. */
  raw(value: Uint8Array | null): this {
    if (value === null) return this.byte(0xc0);
    return this.rawHeader(value.length).append(value);
  }

  /** As they are, without a header. */
  append(value: Uint8Array): this {
    const at = this.reserve(value.length);
    this.bytes.set(value, at);
    return this;
  }

  /** What was written. The writer must not be used again. */
  finish(): Buffer {
    return this.bytes.subarray(0, this.length);
  }

  private rawHeader(bytes: number): this {
    if (bytes < 32) return this.byte(0xa0 | bytes);
    if (bytes < 0x1_0000) return this.byte(0xda).uint16(bytes);
    return this.byte(0xdb).uint32(bytes);
  }

  private uint16(value: number): this {
    const at = this.reserve(2);
    this.bytes.writeUInt16BE(value, at);
    return this;
  }

  private uint32(value: number): this {
    const at = this.reserve(4);
    this.bytes.writeUInt32BE(value, at);
    return this;
  }

  /** Makes room and answers where it begins. Take `this.bytes` only afterwards: it may be another buffer then. */
  private reserve(bytes: number): number {
    const start = this.length;
    this.length += bytes;
    if (this.length > this.bytes.length) {
      const larger = Buffer.allocUnsafe(Math.max(this.length, 2 * this.bytes.length));
      larger.set(this.bytes.subarray(0, start));
      this.bytes = larger;
    }
    return start;
  }
}
