import { createCipheriv, createDecipheriv, createSecretKey, hkdfSync, type KeyObject } from "node:crypto";
import { CaskError } from "../core/errors.ts";

const TAG_BYTES = 16;

type Algorithm = "aes-128-gcm" | "aes-192-gcm" | "aes-256-gcm";

const ALGORITHMS: Readonly<Record<number, Algorithm>> = { 16: "aes-128-gcm", 24: "aes-192-gcm", 32: "aes-256-gcm" };

interface Key {
  readonly algorithm: Algorithm;
  readonly key: KeyObject;
}

/** Keys of the cluster: the first one encrypts, all of them decrypt, so that they can be changed one node after the other. */
export class Keyring {
  private readonly first: Key;
  private readonly all: readonly Key[];

  /** Of 16, 24 or 32 bytes each, which choose AES-128, 192 or 256. Throws BAD_CONFIG for others, and for none. */
  constructor(keys: readonly Uint8Array[]) {
    this.all = keys.map(importKey);
    const [first] = this.all;
    if (!first) throw new CaskError("BAD_CONFIG", "gossip is to be encrypted, but there is no key");
    this.first = first;
  }

  /** The ciphertext, and the tag after it. `nonce`: 12 bytes, MUST never be used twice with a key. */
  seal(plain: Uint8Array, nonce: Uint8Array, additional: Uint8Array): Buffer {
    const cipher = createCipheriv(this.first.algorithm, this.first.key, nonce, { authTagLength: TAG_BYTES });
    cipher.setAAD(additional);
    const text = cipher.update(plain);
    cipher.final();
    return Buffer.concat([text, cipher.getAuthTag()]);
  }

  /** Null: no key fits, or something was changed on the way. `sealed`: at least as long as a tag. */
  open(sealed: Uint8Array, nonce: Uint8Array, additional: Uint8Array): Buffer | null {
    for (const key of this.all) {
      const plain = openWith(key, sealed, nonce, additional);
      if (plain) return plain;
    }
    return null;
  }
}

/** 32 bytes: AES-256. The secret itself is in no packet, and what is sent tells nothing about it. */
export function deriveGossipKey(secret: string): Buffer {
  return Buffer.from(hkdfSync("sha256", secret, "", "cask gossip encryption v1", 32));
}

function importKey(bytes: Uint8Array): Key {
  const algorithm = ALGORITHMS[bytes.length];
  if (!algorithm) throw new CaskError("BAD_CONFIG", `a gossip key has 16, 24 or 32 bytes, not ${bytes.length}`);
  return { algorithm, key: createSecretKey(bytes) };
}

function openWith({ algorithm, key }: Key, sealed: Uint8Array, nonce: Uint8Array, additional: Uint8Array) {
  const end = sealed.length - TAG_BYTES;
  const decipher = createDecipheriv(algorithm, key, nonce, { authTagLength: TAG_BYTES });
  decipher.setAAD(additional);
  decipher.setAuthTag(sealed.subarray(end));
  const plain = decipher.update(sealed.subarray(0, end));
  try {
    decipher.final();
    return plain;
  } catch (_error) {
    return null; // all that `final` can say is that the tag is wrong
  }
}
