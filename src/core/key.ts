import { createHash, hash } from "node:crypto";
import { CaskError } from "./errors.ts";

/** `sha1:<40 lowercase hex>`: the name of a blob, made from its bytes. Only `parseKey` and `keyOfDigest` make one. */
export type Key = string & { readonly __key: unique symbol };

const KEY_PATTERN = /^sha1:[0-9a-f]{40}$/;

/** Reads a key that came from outside. Throws BAD_KEY for anything but the one canonical spelling. */
export function parseKey(text: string): Key {
  if (!KEY_PATTERN.test(text)) {
    throw new CaskError("BAD_KEY", "not a key: expected sha1: and 40 lowercase hexadecimal digits");
  }
  return text as Key;
}

/** True for the canonical spelling of a key: for names found on disk, where anything else is a foreign file. */
export function isKey(text: string): text is Key {
  return KEY_PATTERN.test(text);
}

/** The 40 hexadecimal digits of a key: its position on the ring, its name in a folder. */
export function hexOf(key: Key): string {
  return key.slice(5);
}

export function keyOfHex(hex: string): Key {
  return parseKey(`sha1:${hex}`);
}

/** Hashes bytes as they pass. `digest()` may be called once. */
export class KeyHasher {
  private readonly hash = createHash("sha1");

  update(bytes: Uint8Array): void {
    this.hash.update(bytes);
  }

  digest(): Key {
    return `sha1:${this.hash.digest("hex")}` as Key;
  }
}

export function keyOfBytes(bytes: Uint8Array): Key {
  return `sha1:${hash("sha1", bytes)}` as Key;
}
