import { CaskError } from "./errors.ts";

/** At most `maxRunning` at a time; at most `maxWaiting` wait for their turn, the next one is refused with OVERLOADED. */
export class Gate {
  private running = 0;
  private readonly waiting: Array<() => void> = [];
  private readonly name: string;
  private readonly maxRunning: number;
  private readonly maxWaiting: number;

  constructor(name: string, maxRunning: number, maxWaiting: number) {
    this.name = name;
    this.maxRunning = maxRunning;
    this.maxWaiting = maxWaiting;
  }

  async run<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    await this.enter(signal);
    try {
      return await work();
    } finally {
      this.leave();
    }
  }

  /** Takes a place; whoever got one must `leave()`. */
  async enter(signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    if (this.running < this.maxRunning) {
      this.running++;
      return;
    }
    if (this.waiting.length >= this.maxWaiting) {
      throw new CaskError("OVERLOADED", `${this.name}: ${this.maxRunning} running and ${this.maxWaiting} waiting`);
    }
    await this.turn(signal);
  }

  leave(): void {
    const next = this.waiting.shift();
    if (next) next();
    else this.running--;
  }

  private turn(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const onTurn = () => {
        signal?.removeEventListener("abort", onAbort);
        resolve();
      };
      const onAbort = () => {
        this.waiting.splice(this.waiting.indexOf(onTurn), 1);
        reject(signal?.reason);
      };
      this.waiting.push(onTurn);
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  }
}
