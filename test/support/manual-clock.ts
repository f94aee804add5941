import type { Clock } from "../../src/core/clock.ts";

interface Due {
  readonly atMs: number;
  readonly then: () => void;
}

/** A clock that stands still until a test moves it. Timers fire in order of their time. */
export class ManualClock implements Clock {
  private ms = 0;
  private readonly wallOffsetMs: number;
  private readonly due = new Set<Due>();

  constructor(wallMs = 1_700_000_000_000) {
    this.wallOffsetMs = wallMs;
  }

  wallMs(): number {
    return this.wallOffsetMs + this.ms;
  }

  nowMs(): number {
    return this.ms;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const cancel = this.timer(ms, resolve);
      signal?.addEventListener("abort", () => {
        cancel();
        reject(signal.reason);
      });
    });
  }

  timer(ms: number, then: () => void): () => void {
    const entry = { atMs: this.ms + ms, then };
    this.due.add(entry);
    return () => this.due.delete(entry);
  }

  /** Moves on, firing what falls due, and lets promises settle after each. */
  async advance(ms: number): Promise<void> {
    const until = this.ms + ms;
    await settle();
    while (true) {
      const next = [...this.due].filter((entry) => entry.atMs <= until).sort((a, b) => a.atMs - b.atMs)[0];
      if (!next) break;
      this.due.delete(next);
      this.ms = Math.max(this.ms, next.atMs);
      next.then();
      await settle();
    }
    this.ms = until;
  }

  get pendingTimers(): number {
    return this.due.size;
  }
}

/** Lets everything that can go on without time go on. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 10; i++) await new Promise((resolve) => setImmediate(resolve));
}
