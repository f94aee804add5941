import { type CipherGCM, createCipheriv } from "node:crypto";
import { SystemRandom } from "./random.ts";

export const FINGERPRINT_BYTES = 16;

/** Of this process alone, never written or sent anywhere: whoever does not know it can't make other bytes with the same fingerprint. */
const KEY = Buffer.from(new SystemRandom().hex(16), "hex");
/** The same for all, which would tell something of the key to whoever saw two fingerprints. Nobody does. */
const NONCE = Buffer.alloc(12);

/**
 * Tells whether bytes are the same as others that this process saw before. The fingerprint is the tag that AES-GCM makes of data that it does not
 * encrypt (GMAC, NIST SP 800-38D): 128 bits, with a secret key, and eight times as fast as SHA-1. Two different MiB have the same one once in 2^112.
 */
export class Fingerprinter {
  private readonly cipher: CipherGCM = createCipheriv("aes-128-gcm", KEY, NONCE);

  update(bytes: Uint8Array): void {
    this.cipher.setAAD(bytes);
  }

  /** May be called once. FINGERPRINT_BYTES long. */
  digest(): Buffer {
    this.cipher.final();
    return this.cipher.getAuthTag();
  }
}
