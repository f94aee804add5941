import { isUtf8 } from "node:buffer";
import { Refused } from "./messages.ts";
import { MsgpackScanner } from "./msgpack-scanner.ts";

/** What a map or array announces. */
export interface Container {
  readonly kind: "map" | "array";
  readonly count: number;
}

/**
 * Reads MessagePack as hashicorp/go-msgpack does: any width of an integer whose value fits, bytes and text in every form that either may
 * have (raw, str8, bin, an array of small numbers), booleans also as 0 and 1, and nil for the zero of everything.
 * Whatever else comes throws Refused, and nothing is allocated for what was merely claimed.
 */
export class MsgpackReader {
  private readonly bytes: Buffer;
  private position = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Null: nil. */
  container(): Container | null {
    const type = this.byte();
    if (type === 0xc0) return null;
    if (type >= 0x80 && type < 0x90) return { kind: "map", count: type & 15 };
    if (type >= 0x90 && type < 0xa0) return { kind: "array", count: type & 15 };
    if (type === 0xdc) return { kind: "array", count: this.bytes.readUInt16BE(this.take(2)) };
    if (type === 0xdd) return { kind: "array", count: this.bytes.readUInt32BE(this.take(4)) };
    if (type === 0xde) return { kind: "map", count: this.bytes.readUInt16BE(this.take(2)) };
    if (type === 0xdf) return { kind: "map", count: this.bytes.readUInt32BE(this.take(4)) };
    throw new Refused("msgpack", "neither a map nor an array");
  }

  /** 0 to `max`. */
  uint(max: number): number {
    const value = this.integer();
    if (value < 0 || value > max) throw new Refused("msgpack", `a number outside of 0 to ${max}`);
    return value;
  }

  /** Go's `int`. Beyond 2^53 it is not exact, which no bound of ours comes near; unsigned ones above 2^63 are negative, as in Go. */
  int(): number {
    return this.integer(true);
  }

  bool(): boolean {
    const type = this.byte();
    if (type === 0xc3 || type === 1) return true;
    if (type === 0xc2 || type === 0 || type === 0xc0) return false;
    throw new Refused("msgpack", "no boolean");
  }

  /** A copy: what is kept must not hold the whole packet in memory. Go also takes a map here, for its keys and values in turn. */
  raw(): Uint8Array | null {
    const type = this.bytes[this.position] ?? 0;
    const isMap = (type >= 0x80 && type < 0x90) || type === 0xde || type === 0xdf;
    const view = isMap ? this.numbers(2 * (this.container()?.count ?? 0)) : this.rawView();
    return view && new Uint8Array(view);
  }

  /** Text that is not UTF-8 is refused: it could not be passed on as it came, and two names might become one. */
  text(): string {
    const view = this.rawView();
    if (view === null) return "";
    if (!isUtf8(view)) throw new Refused("text", "text that is not UTF-8");
    return view.toString("utf8");
  }

  /** As Latin-1: to be compared with ASCII. Go refuses one of no bytes. */
  key(): string {
    const view = this.rawView();
    if (!view?.length) throw new Refused("msgpack", "an empty key");
    return view.toString("latin1");
  }

  /** Passes over a value of any kind that lies in `outerDepth` maps and arrays. */
  skip(outerDepth: number): void {
    const rest = this.bytes.subarray(this.position);
    const length = new MsgpackScanner(Number.MAX_SAFE_INTEGER, outerDepth).scan(rest);
    if (length === null) throw short();
    this.position += length;
  }

  private rawView(): Buffer | null {
    const type = this.byte();
    if (type === 0xc0) return null;
    if (type >= 0xa0 && type < 0xc0) return this.view(type & 31);
    if (type === 0xc4 || type === 0xd9) return this.view(this.byte());
    if (type === 0xc5 || type === 0xda) return this.view(this.bytes.readUInt16BE(this.take(2)));
    if (type === 0xc6 || type === 0xdb) return this.view(this.bytes.readUInt32BE(this.take(4)));
    if (type >= 0x90 && type < 0xa0) return this.numbers(type & 15);
    if (type === 0xdc) return this.numbers(this.bytes.readUInt16BE(this.take(2)));
    if (type === 0xdd) return this.numbers(this.bytes.readUInt32BE(this.take(4)));
    throw new Refused("msgpack", "neither bytes nor text");
  }

  /** Bytes, written as an array. */
  private numbers(count: number): Buffer {
    if (count > this.bytes.length - this.position) throw short();
    const bytes = Buffer.allocUnsafe(count);
    for (let i = 0; i < count; i++) bytes[i] = this.uint(255);
    return bytes;
  }

  private integer(wrap = false): number {
    const type = this.byte();
    if (type < 0x80) return type;
    if (type >= 0xe0) return type - 256;
    switch (type) {
      case 0xc0:
        return 0;
      case 0xcc:
        return this.byte();
      case 0xcd:
        return this.bytes.readUInt16BE(this.take(2));
      case 0xce:
        return this.bytes.readUInt32BE(this.take(4));
      case 0xcf: {
        const value = this.bytes.readBigUInt64BE(this.take(8));
        return Number(wrap ? BigInt.asIntN(64, value) : value);
      }
      case 0xd0:
        return this.bytes.readInt8(this.take(1));
      case 0xd1:
        return this.bytes.readInt16BE(this.take(2));
      case 0xd2:
        return this.bytes.readInt32BE(this.take(4));
      case 0xd3:
        return Number(this.bytes.readBigInt64BE(this.take(8)));
      default:
        throw new Refused("msgpack", "no integer");
    }
  }

  private byte(): number {
    return this.bytes[this.take(1)] as number;
  }

  private view(bytes: number): Buffer {
    const start = this.take(bytes);
    return this.bytes.subarray(start, start + bytes);
  }

  /** Steps over so many bytes and answers where they begin. */
  private take(bytes: number): number {
    const start = this.position;
    if (bytes > this.bytes.length - start) throw short();
    this.position = start + bytes;
    return start;
  }
}

function short(): Refused {
  return new Refused("short", "the MessagePack ends too early");
}
