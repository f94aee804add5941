import type { Clock } from "./clock.ts";

export interface HedgeOptions<C, R> {
  readonly candidates: readonly C[];
  /** Answers, or null for "this one has nothing", or rejects. Its signal aborts when it is not needed any more. */
  readonly attempt: (candidate: C, signal: AbortSignal) => Promise<R | null>;
  /** The next candidate is asked when those before it have not answered for so long. */
  readonly delayMs: number;
  /** All attempts are given up after this. */
  readonly timeoutMs?: number;
  /** What came too late, to be closed. */
  readonly discard: (result: R) => void;
  readonly clock: Clock;
  readonly signal?: AbortSignal | undefined;
}

export interface HedgeOutcome<C, R> {
  readonly winner: { readonly candidate: C; readonly result: R } | null;
  readonly absent: readonly C[];
  readonly failed: ReadonlyArray<{ readonly candidate: C; readonly error: unknown }>;
}

/**
 * Asks candidates in order, the next one as soon as one failed, had nothing, or is slow. The first result wins; the others are
 * aborted. Candidates without an answer at the end are in neither list of the outcome.
 * Rejects only with the reason of `signal`.
 */
export function hedge<C, R>(options: HedgeOptions<C, R>): Promise<HedgeOutcome<C, R>> {
  return new Hedge(options).run();
}

class Hedge<C, R> {
  private readonly options: HedgeOptions<C, R>;
  private readonly running = new Map<C, AbortController>();
  private readonly absent: C[] = [];
  private readonly failed: Array<{ candidate: C; error: unknown }> = [];
  private next = 0;
  private done = false;
  private cancelDelay: () => void = () => undefined;
  private cancelTimeout: () => void = () => undefined;
  private settle!: (outcome: HedgeOutcome<C, R>) => void;
  private fail!: (reason: unknown) => void;

  constructor(options: HedgeOptions<C, R>) {
    this.options = options;
  }

  run(): Promise<HedgeOutcome<C, R>> {
    const { signal, clock, timeoutMs } = this.options;
    return new Promise((resolve, reject) => {
      this.settle = resolve;
      this.fail = reject;
      if (signal?.aborted) return reject(signal.reason);
      signal?.addEventListener("abort", this.onAbort, { once: true });
      if (timeoutMs !== undefined) this.cancelTimeout = clock.timer(timeoutMs, () => this.end(null));
      this.startNext();
    });
  }

  private readonly onAbort = () => {
    this.finish();
    this.fail(this.options.signal?.reason);
  };

  private startNext(): void {
    this.cancelDelay();
    const { candidates, clock, delayMs } = this.options;
    if (this.next < candidates.length) {
      const candidate = candidates[this.next++] as C;
      this.start(candidate);
      this.cancelDelay = clock.timer(delayMs, () => this.startNext());
    } else if (this.running.size === 0) {
      this.end(null);
    }
  }

  private start(candidate: C): void {
    const controller = new AbortController();
    this.running.set(candidate, controller);
    this.options.attempt(candidate, controller.signal).then(
      (result) => this.answered(candidate, result),
      (error: unknown) => {
        if (this.done) return;
        this.failed.push({ candidate, error });
        this.goOn(candidate);
      },
    );
  }

  private answered(candidate: C, result: R | null): void {
    if (this.done) {
      if (result !== null) this.options.discard(result);
      return;
    }
    if (result === null) {
      this.absent.push(candidate);
      this.goOn(candidate);
      return;
    }
    this.running.delete(candidate);
    this.end({ candidate, result });
  }

  private goOn(candidate: C): void {
    this.running.delete(candidate);
    this.startNext();
  }

  private end(winner: { candidate: C; result: R } | null): void {
    this.finish();
    this.settle({ winner, absent: this.absent, failed: this.failed });
  }

  private finish(): void {
    this.done = true;
    this.cancelDelay();
    this.cancelTimeout();
    this.options.signal?.removeEventListener("abort", this.onAbort);
    for (const controller of this.running.values()) controller.abort();
    this.running.clear();
  }
}
