import { CaskError, hasCode, messageOf } from "../core/errors.ts";
import type { Key } from "../core/key.ts";
import type { Holding } from "../peer/peer.ts";

/** A copy was stored, and rotted: "don't know", and a proof that the blob exists or existed (decision 021). */
export class QuarantinedOnly extends CaskError {
  constructor(uuid: string, key: Key) {
    super("DONT_KNOW", `node ${uuid} has ${key} in quarantine only`);
  }
}

/** What an error that a look at a copy ended with says of that copy. */
export function unknownHolding(error: unknown): Holding {
  return {
    state: "unknown",
    reason: messageOf(error),
    // The only "don't know" of a look: there is no copy, and that says nothing.
    ...(hasCode(error, "DONT_KNOW") ? { lacking: true } : {}),
    ...(error instanceof QuarantinedOnly ? { wasStored: true } : {}),
  };
}
