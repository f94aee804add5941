import { CaskError, hasCode, messageOf } from "../core/errors.ts";
import type { Key } from "../core/key.ts";
import type { Holding } from "../peer/peer.ts";

/** A copy was stored, and rotted or vanished: "don't know", and a proof that the blob exists or existed (decision 021). */
export class LostCopy extends CaskError {
  constructor(uuid: string, key: Key, how: "in quarantine only" | "vanished from the disk") {
    super(
      "DONT_KNOW",
      how === "in quarantine only" ? `node ${uuid} has ${key} ${how}` : `${key} has ${how} of node ${uuid}`,
    );
  }
}

/** What an error that a look at a copy ended with says of that copy. `wasHere`: as the inventory knows it. */
export function unknownHolding(error: unknown, wasHere: boolean): Holding {
  return {
    state: "unknown",
    reason: messageOf(error),
    // The only "don't know" of a look: there is no copy, and that says nothing.
    ...(hasCode(error, "DONT_KNOW") ? { lacking: true } : {}),
    ...(wasHere || error instanceof LostCopy ? { wasStored: true } : {}),
  };
}
