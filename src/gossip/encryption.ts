import type { Random } from "../core/random.ts";
import type { Keyring } from "./keyring.ts";
import { Refused } from "./messages.ts";

/** With protocol 2 and above. Version 0 pads the plaintext to whole blocks first. */
const VERSION = 1;
const PADDED_VERSION = 0;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const BLOCK_BYTES = 16;

/** Version, nonce, tag. */
export const ENCRYPTION_OVERHEAD_BYTES = 1 + NONCE_BYTES + TAG_BYTES;

/** `version nonce ciphertext tag`. What it means stands in no type byte: the receiver knows that packets are encrypted, or it doesn't. */
export function encrypt(keyring: Keyring, plain: Uint8Array, additional: Uint8Array, random: Random): Buffer {
  const nonce = Buffer.from(random.hex(NONCE_BYTES), "hex");
  return Buffer.concat([Uint8Array.of(VERSION), nonce, keyring.seal(plain, nonce, additional)]);
}

export interface DecryptOptions {
  /**
   * Also version 0, which nodes of protocol 1 send. The version byte is not authenticated: whoever captures a packet can relabel it, and its
   * last byte then counts as padding. So only where it is asked for.
   */
  readonly acceptVersion0: boolean;
}

/** Throws Refused: `short`, `version`, `key` (none fits, or it was changed on the way), `padding`. */
export function decrypt(
  keyring: Keyring,
  sealed: Uint8Array,
  additional: Uint8Array,
  { acceptVersion0 }: DecryptOptions,
): Buffer {
  const version = sealed[0];
  const isPadded = version === PADDED_VERSION && acceptVersion0;
  if (version !== undefined && version !== VERSION && !isPadded)
    throw new Refused("version", `unsupported encryption version ${version}`);
  if (sealed.length < ENCRYPTION_OVERHEAD_BYTES + (isPadded ? BLOCK_BYTES : 0))
    throw new Refused("short", `payload is too small to decrypt: ${sealed.length}`);
  const body = sealed.subarray(1 + NONCE_BYTES);
  const plain = keyring.open(body, sealed.subarray(1, 1 + NONCE_BYTES), additional);
  if (plain === null) throw new Refused("key", "no installed keys could decrypt the message");
  return isPadded ? withoutPadding(plain) : plain;
}

/** 1 to 16 bytes that each say how many they are (PKCS #7). Go doesn't look, and its process ends where they say more than there is. */
function withoutPadding(plain: Buffer): Buffer {
  const count = plain[plain.length - 1] ?? 0;
  const end = plain.length - count;
  if (count < 1 || count > BLOCK_BYTES || end < 0 || plain.length % BLOCK_BYTES !== 0)
    throw new Refused("padding", "the padding is wrong");
  if (plain.subarray(end).some((byte) => byte !== count)) throw new Refused("padding", "the padding is wrong");
  return plain.subarray(0, end);
}
