import type { Clock } from "./clock.ts";

/** So much may pass at once after a pause, as time at the full rate. */
const BURST_MS = 100;

/** At most so many bytes a second, shared by all who take from it, in the order in which they ask. */
export class RateLimit {
  private readonly bytesPerSecond: number;
  private readonly clock: Clock;
  /** When what was granted so far will have passed at the full rate. */
  private spentUntilMs = Number.NEGATIVE_INFINITY;

  constructor(bytesPerSecond: number, clock: Clock) {
    this.bytesPerSecond = bytesPerSecond;
    this.clock = clock;
  }

  /** Resolves when the bytes may pass. Rejects when the signal aborts. */
  async take(bytes: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    const nowMs = this.clock.nowMs();
    const fromMs = Math.max(this.spentUntilMs, nowMs - BURST_MS);
    this.spentUntilMs = fromMs + (bytes / this.bytesPerSecond) * 1_000;
    const waitMs = fromMs - nowMs;
    if (waitMs > 0) await this.clock.sleep(waitMs, signal);
  }
}
