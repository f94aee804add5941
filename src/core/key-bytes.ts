import { hexOf, type Key } from "./key.ts";

export const KEY_BYTES = 20;

const DIGITS = Buffer.from("0123456789abcdef", "latin1");
/** Used again by each call. */
const spelling = Buffer.from(`sha1:${"0".repeat(2 * KEY_BYTES)}`, "latin1");
const HEX_AT = 5;

/** The 20 bytes of a key's digest, into an array that can be used again. */
export function writeKey(key: Key, into: Uint8Array): void {
  const hex = hexOf(key);
  for (let i = 0; i < KEY_BYTES; i++) into[i] = (digitAt(hex, 2 * i) << 4) | digitAt(hex, 2 * i + 1);
}

/** In one piece: a string that is put together from two takes three times the memory by the time its characters were looked at. */
export function readKey(bytes: Uint8Array, at = 0): Key {
  for (let i = 0; i < KEY_BYTES; i++) {
    const byte = bytes[at + i] as number;
    spelling[HEX_AT + 2 * i] = DIGITS[byte >>> 4] as number;
    spelling[HEX_AT + 2 * i + 1] = DIGITS[byte & 0xf] as number;
  }
  return spelling.toString("latin1") as Key;
}

function digitAt(hex: string, at: number): number {
  const code = hex.charCodeAt(at);
  return code < 0x3a ? code - 0x30 : code - 0x57; // "0" to "9", "a" to "f"
}
