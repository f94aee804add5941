import type { LzwInflater } from "./lzw-decoder.ts";
import { deflateLzw } from "./lzw-encoder.ts";
import { MESSAGE_TYPE } from "./message-types.ts";
import { Refused } from "./messages.ts";
import { MsgpackWriter } from "./msgpack-writer.ts";
import { readStruct, STRUCTS } from "./struct-reader.ts";

const LZW = 0;

/** The compressed message, wrapped: it may well be longer. */
export function compress(message: Uint8Array): Buffer {
  const deflated = deflateLzw(message);
  const writer = new MsgpackWriter(deflated.length + 32).byte(MESSAGE_TYPE.compress).map(2);
  return writer.key("Algo").uint(LZW).key("Buf").raw(deflated).finish();
}

/** `body` without the type byte. Throws Refused: `limit` when it inflates to more than `maxBytes`, before it does. */
export function decompress(body: Uint8Array, inflater: LzwInflater, maxBytes: number): Buffer {
  const { Algo, Buf } = readStruct(body, STRUCTS.compress);
  if (Algo !== LZW) throw new Refused("lzw", `cannot decompress unknown algorithm ${Algo}`);
  return inflater.inflate(Buf ?? new Uint8Array(), maxBytes);
}
