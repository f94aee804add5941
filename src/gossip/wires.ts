import { MEMBERS_MAX_COUNT } from "../core/limits.ts";
import { formatEndpoint } from "./endpoint.ts";
import { deriveGossipKey, Keyring } from "./keyring.ts";
import { type Endpoint, Refused } from "./messages.ts";
import { openPacket, type ReadMessage, type Wire } from "./packet-codec.ts";

export type Encryption = "true" | "accept" | "false";

/** Type byte of an encrypted stream. */
const ENCRYPTED_STREAM = 10;

/**
 * Encrypted, in clear, or (`accept`, while a running cluster is being moved from one to the other) both: then everybody is spoken to in clear
 * until something encrypted came from there, so that nodes which already insist on it and nodes which don't know it yet are both understood.
 */
export class Wires {
  private readonly secure: Wire | null;
  private readonly plain: Wire | null;
  private readonly secureEndpoints = new Set<string>();

  constructor(encryption: Encryption, secrets: readonly string[]) {
    const keyring = encryption === "false" ? null : new Keyring(secrets.map(deriveGossipKey));
    const common = { label: "", compress: true };
    this.secure = keyring && { ...common, keyring };
    this.plain = encryption === "true" ? null : { ...common, keyring: null };
  }

  /** Is a stranger without the key to hear nothing at all? */
  get isSecret(): boolean {
    return this.plain === null;
  }

  /** The one with the larger overhead: what fits into it fits. */
  get widest(): Wire {
    return this.secure ?? (this.plain as Wire);
  }

  /** Throws Refused. Parts of a compound that are refused are told; the others are read all the same. */
  openPacket(bytes: Uint8Array, from: Endpoint, onRefusedPart: (error: Refused) => void): ReadMessage[] {
    if (!this.secure || !this.plain) return openPacket(this.widest, bytes, onRefusedPart);
    // Nothing in a packet says whether it is encrypted.
    try {
      const messages = openPacket(this.secure, bytes, onRefusedPart);
      this.noteSecure(from);
      return messages;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      return openPacket(this.plain, bytes, onRefusedPart);
    }
  }

  /** To whom we speak first. */
  to(endpoint: Endpoint): Wire {
    if (!this.secure || !this.plain) return this.widest;
    return this.secureEndpoints.has(formatEndpoint(endpoint)) ? this.secure : this.plain;
  }

  /** How a connection to there is to be tried, one after the other: who insists on encryption hangs up on what is not. */
  forDial(endpoint: Endpoint): readonly Wire[] {
    const first = this.to(endpoint);
    return first === this.plain && this.secure ? [first, this.secure] : [first];
  }

  /** That kind of connection was answered there. */
  answered(endpoint: Endpoint, wire: Wire): void {
    if (wire === this.secure && this.plain) this.noteSecure(endpoint);
  }

  /** For a connection that somebody made, by its first byte: it is read, and answered, in its own way. */
  ofStream(firstByte: number): Wire {
    if (!this.secure || !this.plain) return this.widest;
    return firstByte === ENCRYPTED_STREAM ? this.secure : this.plain;
  }

  private noteSecure({ addr, port }: Endpoint): void {
    if (this.secureEndpoints.size < MEMBERS_MAX_COUNT) this.secureEndpoints.add(formatEndpoint({ addr, port }));
  }
}
