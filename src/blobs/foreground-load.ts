import type { Clock } from "../core/clock.ts";
import { FOREGROUND_YIELD_MS } from "../core/limits.ts";

/** Requests of clients that are under way: background work goes after them, but never waits for ever. */
export class ForegroundLoad {
  private readonly clock: Clock;
  private underWay = 0;
  /** Requests of clients that other threads have under way. */
  elsewhere: () => number = () => 0;

  constructor(clock: Clock) {
    this.clock = clock;
  }

  get active(): number {
    return this.underWay + this.elsewhere();
  }

  /** Counts a request until the returned function is called. */
  begin(): () => void {
    this.underWay++;
    let ended = false;
    return () => {
      if (ended) return;
      ended = true;
      this.underWay--;
    };
  }

  /** One wait before each unit of background work while clients are being served. */
  async yieldTo(signal: AbortSignal): Promise<void> {
    if (this.active > 0) await this.clock.sleep(FOREGROUND_YIELD_MS, signal);
  }
}
