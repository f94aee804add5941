import type { Clock } from "./clock.ts";
import { messageOf } from "./errors.ts";
import { WORKER_BACKOFF_MAX_MS, WORKER_BACKOFF_MIN_MS } from "./limits.ts";
import type { Logger } from "./log.ts";
import type { Random } from "./random.ts";

/** What a step says of the next one: at once, after the worker's own interval, or after `afterMs`. */
export type StepResult = "busy" | "idle" | { readonly afterMs: number };

export interface WorkerOptions {
  readonly name: string;
  /** Time between two steps when idle. */
  readonly intervalMs: number;
  /** One unit of work. Must end soon after the signal aborts. */
  readonly step: (signal: AbortSignal) => Promise<StepResult>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
}

export interface WorkerStatus {
  readonly name: string;
  readonly state: "stopped" | "waiting" | "working" | "failing";
  readonly steps: number;
  readonly failures: number;
  readonly lastError: string | null;
  readonly lastStepAtMs: number | null;
}

const JITTER = 0.1;

/** A background loop. It alone knows about waiting, jitter, back-off after errors, and stopping. */
export class Worker {
  readonly name: string;
  private readonly options: WorkerOptions;
  private readonly controller = new AbortController();
  private loop: Promise<void> | undefined;
  private state: WorkerStatus["state"] = "stopped";
  private steps = 0;
  private failures = 0;
  private failuresInARow = 0;
  private lastError: string | null = null;
  private lastStepAtMs: number | null = null;

  constructor(options: WorkerOptions) {
    this.options = options;
    this.name = options.name;
  }

  start(): void {
    this.loop ??= this.run();
  }

  /** Resolves when the step under way has ended. */
  async stop(): Promise<void> {
    this.controller.abort(new Error("stopped"));
    await this.loop;
    this.state = "stopped";
  }

  status(): WorkerStatus {
    const { name, state, steps, failures, lastError, lastStepAtMs } = this;
    return { name, state, steps, failures, lastError, lastStepAtMs };
  }

  private async run(): Promise<void> {
    const { signal } = this.controller;
    while (!signal.aborted) {
      const waitMs = await this.oneStep(signal);
      if (signal.aborted) return;
      await this.options.clock.sleep(waitMs, signal).catch(() => undefined); // aborted: the loop's condition ends it
    }
  }

  private async oneStep(signal: AbortSignal): Promise<number> {
    this.state = "working";
    try {
      const result = await this.options.step(signal);
      this.failuresInARow = 0;
      this.state = "waiting";
      if (result === "busy") return 0;
      return this.jittered(result === "idle" ? this.options.intervalMs : result.afterMs);
    } catch (error) {
      return this.failed(error, signal);
    } finally {
      this.steps++;
      this.lastStepAtMs = this.options.clock.wallMs();
    }
  }

  private failed(error: unknown, signal: AbortSignal): number {
    if (signal.aborted) return 0;
    this.state = "failing";
    this.failures++;
    this.failuresInARow++;
    this.lastError = messageOf(error);
    this.options.log.warn({ worker: this.name, err: error }, `worker ${this.name} failed, will go on`);
    const firstMs = Math.max(WORKER_BACKOFF_MIN_MS, this.options.intervalMs);
    return this.jittered(Math.min(WORKER_BACKOFF_MAX_MS, firstMs * 2 ** Math.min(this.failuresInARow, 16)));
  }

  private jittered(ms: number): number {
    return ms * (1 + JITTER * (2 * this.options.random.next() - 1));
  }
}
