import { Refused } from "./messages.ts";
import { MSGPACK_DEPTH_MAX_COUNT } from "./wire-limits.ts";

/** Bytes of an integer or float, by type byte. */
const NUMBER_BYTES: Readonly<Record<number, number>> = {
  202: 4,
  203: 8,
  204: 1,
  205: 2,
  206: 4,
  207: 8,
  208: 1,
  209: 2,
  210: 4,
  211: 8,
};
/** Bytes of the length that follows, by type byte: bin, ext, raw (str), array, map. */
const LENGTH_BYTES: Readonly<Record<number, number>> = {
  196: 1,
  197: 2,
  198: 4,
  199: 1,
  200: 2,
  201: 4,
  217: 1,
  218: 2,
  219: 4,
  220: 2,
  221: 4,
  222: 2,
  223: 4,
};

/** One token: its own bytes (those of text included), and how many values belong to it when it opens an array or a map. */
interface Token {
  readonly bytes: number;
  readonly values: number;
  readonly container: boolean;
}

/**
 * Finds where a MessagePack value ends, without building anything and without recursion. Bytes may come in pieces of any size: each is looked
 * at once, so that a sender of single bytes costs no more than another.
 */
export class MsgpackScanner {
  private readonly maxBytes: number;
  private readonly outerDepth: number;
  private position = 0;
  /** Values still to come, for each array or map that is open. */
  private readonly open: number[] = [1];

  /** `outerDepth`: in how many maps or arrays the value lies itself. */
  constructor(maxBytes: number, outerDepth = 0) {
    this.maxBytes = maxBytes;
    this.outerDepth = outerDepth;
  }

  /**
   * How long the value is that begins `bytes`; null while more bytes are needed (call again with all of them).
   * Throws Refused as soon as it is no MessagePack, is nested too deep or claims to be longer than allowed.
   */
  scan(bytes: Uint8Array): number | null {
    while (this.open.length > 0) {
      const token = readToken(bytes, this.position);
      if (token === null) return null;
      const end = this.position + token.bytes;
      // Each value that is still to come takes a byte at least.
      if (end + token.values > this.maxBytes) throw new Refused("limit", "a MessagePack value claims too many bytes");
      if (end > bytes.length) return null;
      this.position = end;
      this.count(token);
    }
    return this.position;
  }

  private count({ container, values }: Token): void {
    const { open } = this;
    open[open.length - 1] = (open[open.length - 1] as number) - 1;
    if (container) {
      if (this.outerDepth + open.length >= MSGPACK_DEPTH_MAX_COUNT)
        throw new Refused("msgpack", "maximum decoding depth exceeded");
      open.push(values);
    }
    while (open.length > 0 && open[open.length - 1] === 0) open.pop();
  }
}

function readToken(bytes: Uint8Array, at: number): Token | null {
  const type = bytes[at];
  if (type === undefined) return null;
  if (type < 0x80 || type >= 0xe0) return plain(1);
  if (type < 0x90) return { bytes: 1, values: 2 * (type & 15), container: true };
  if (type < 0xa0) return { bytes: 1, values: type & 15, container: true };
  if (type < 0xc0) return plain(1 + (type & 31));
  if (type === 0xc1) throw new Refused("msgpack", "MessagePack has no type c1");
  if (type >= 0xd4 && type <= 0xd8) return plain(2 + 2 ** (type - 0xd4));
  const lengthBytes = LENGTH_BYTES[type];
  if (lengthBytes === undefined) return plain(1 + (NUMBER_BYTES[type] ?? 0));
  if (at + lengthBytes >= bytes.length) return null;
  let length = 0;
  for (let i = 1; i <= lengthBytes; i++) length = length * 256 + (bytes[at + i] as number);
  return sized(type, 1 + lengthBytes, length);
}

function sized(type: number, headerBytes: number, length: number): Token {
  if (type >= 0xde) return { bytes: headerBytes, values: 2 * length, container: true };
  if (type >= 0xdc) return { bytes: headerBytes, values: length, container: true };
  const isExtension = type >= 0xc7 && type <= 0xc9;
  return plain(headerBytes + length + (isExtension ? 1 : 0));
}

function plain(bytes: number): Token {
  return { bytes, values: 0, container: false };
}
