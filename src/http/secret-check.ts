import { createHash, timingSafeEqual } from "node:crypto";
import { deriveNodeSecret } from "../peer/protocol.ts";

/** Compares what a caller presents with the cluster's secrets, in constant time. */
export class SecretCheck {
  private readonly accepted: readonly Buffer[];

  /** `secrets`: the current one and, while it is rotated, the old one. Without any, nothing is accepted. */
  constructor(secrets: readonly string[]) {
    this.accepted = secrets.flatMap((secret) => [digest(secret), digest(deriveNodeSecret(secret))]);
  }

  accepts(given: unknown): boolean {
    const presented = digest(typeof given === "string" ? given : "");
    // All are compared, so that the time says nothing about which one was close.
    return this.accepted.map((accepted) => timingSafeEqual(accepted, presented)).includes(true);
  }
}

/** Equal lengths for timingSafeEqual, whatever was presented. */
function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
