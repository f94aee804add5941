import { hexOf, type Key } from "./key.ts";

export const KEY_BYTES = 20;

/** The 20 bytes of a key's digest, into an array that can be used again. */
export function writeKey(key: Key, into: Uint8Array): void {
  const hex = hexOf(key);
  for (let i = 0; i < KEY_BYTES; i++) into[i] = (digitAt(hex, 2 * i) << 4) | digitAt(hex, 2 * i + 1);
}

export function readKey(bytes: Buffer): Key {
  return `sha1:${bytes.toString("hex", 0, KEY_BYTES)}` as Key;
}

function digitAt(hex: string, at: number): number {
  const code = hex.charCodeAt(at);
  return code < 0x3a ? code - 0x30 : code - 0x57; // "0" to "9", "a" to "f"
}
