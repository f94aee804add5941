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
  readonly state: "stopped" | "paused" | "waiting" | "working" | "failing";
  readonly steps: number;
  readonly failures: number;
  readonly lastError: string | null;
  readonly lastStepAtMs: number | null;
}

const JITTER = 0.1;
/** How often a paused worker looks whether it still is; `resume` wakes it anyway. */
const PAUSED_MS = 60_000;

/** A background loop. It alone knows about waiting, jitter, back-off after errors, pausing and stopping. */
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
  private paused = false;
  private woken = false;
  /** Ends the wait between two steps. */
  private endWait: () => void = () => undefined;

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
    this.endWait();
    await this.loop;
    this.state = "stopped";
  }

  /** There is something to do: the next step comes at once, or after the one under way. */
  wake(): void {
    this.woken = true;
    if (!this.paused) this.endWait();
  }

  /** No step begins until `resume`; one that is under way goes on to its end. */
  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
    this.wake();
  }

  status(): WorkerStatus {
    const { name, steps, failures, lastError, lastStepAtMs } = this;
    const state = this.paused && this.state !== "working" && this.state !== "stopped" ? "paused" : this.state;
    return { name, state, steps, failures, lastError, lastStepAtMs };
  }

  private async run(): Promise<void> {
    const { signal } = this.controller;
    while (!signal.aborted) {
      this.woken = false;
      const waitMs = this.paused ? PAUSED_MS : await this.oneStep(signal);
      if (!signal.aborted && !this.woken) await this.wait(waitMs);
    }
  }

  private async wait(ms: number): Promise<void> {
    const controller = new AbortController();
    this.endWait = () => controller.abort("woken");
    await this.options.clock.sleep(ms, controller.signal).catch(() => undefined); // either way the loop looks what there is to do
    this.endWait = () => undefined;
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
