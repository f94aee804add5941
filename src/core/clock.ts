/**
 * Time, handed in, so that tests and the simulator can move it. The only file that may call Date.now, performance.now
 * and setTimeout.
 */
export interface Clock {
  /** Milliseconds since 1970 (wall clock): to show, to compare with file times. It may jump. */
  wallMs(): number;
  /** Milliseconds from an arbitrary start, never going back: for durations and deadlines. */
  nowMs(): number;
  /** Resolves after `ms`; rejects with the signal's reason as soon as the signal aborts. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Calls `then` once after `ms`, unless the returned function was called before. Does not keep the process alive. */
  timer(ms: number, then: () => void): () => void;
}

/** What Node's timers can hold, 24 days; a longer one would fire at once. */
const TIMER_MAX_MS = 2 ** 31 - 1;

export class SystemClock implements Clock {
  wallMs(): number {
    return Date.now();
  }

  nowMs(): number {
    return performance.now();
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const onAbort = () => {
        clearTimeout(timer);
        reject(signal?.reason);
      };
      const timer = setTimeout(
        () => {
          signal?.removeEventListener("abort", onAbort);
          resolve();
        },
        Math.min(ms, TIMER_MAX_MS),
      );
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  }

  timer(ms: number, then: () => void): () => void {
    const timer = setTimeout(then, Math.min(ms, TIMER_MAX_MS));
    timer.unref();
    return () => clearTimeout(timer);
  }
}

/**
 * A signal that aborts with `reason()` when nothing called `progress()` for `ms`, or when `parent` aborts.
 * `pause()` stops the count while the other side is not to blame; `progress()` starts it again.
 */
export class StallTimer {
  private readonly controller = new AbortController();
  private cancel: (() => void) | undefined;
  private stopped = false;
  private readonly clock: Clock;
  private readonly ms: number;
  private readonly reason: () => Error;
  private readonly detach: () => void;

  constructor(clock: Clock, ms: number, reason: () => Error, parent?: AbortSignal) {
    this.clock = clock;
    this.ms = ms;
    this.reason = reason;
    const onAbort = () => {
      this.pause();
      this.controller.abort(parent?.reason);
    };
    parent?.addEventListener("abort", onAbort, { once: true });
    this.detach = () => parent?.removeEventListener("abort", onAbort);
    if (parent?.aborted) onAbort();
    else this.progress();
  }

  get signal(): AbortSignal {
    return this.controller.signal;
  }

  /** Starts the count anew, with another allowance if one is named. */
  progress(ms: number = this.ms): void {
    this.cancel?.();
    if (this.stopped || this.controller.signal.aborted) return;
    this.cancel = this.clock.timer(ms, () => {
      this.detach();
      this.controller.abort(this.reason());
    });
  }

  pause(): void {
    this.cancel?.();
    this.cancel = undefined;
  }

  /** Ends the count for good. The signal does not abort any more. */
  stop(): void {
    this.stopped = true;
    this.pause();
    this.detach();
  }
}
