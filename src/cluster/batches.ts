import type { CaskError } from "../core/errors.ts";
import { BATCH_MAX_BYTES, BATCH_MAX_COUNT, BATCHES_AT_ONCE_COUNT } from "../core/limits.ts";
import { untilAborted } from "../core/until-aborted.ts";

export interface BatchesOptions<Item, Result> {
  /** Resolves with a result for each, or an error where it was refused; or rejects for all of them. */
  readonly send: (items: readonly Item[]) => Promise<ReadonlyArray<Result | CaskError>>;
  /** What an item takes in a batch. */
  readonly bytesOf: (item: Item) => number;
  /** Up to so many items don't wait for each other, but are on their way by themselves. */
  readonly fewCount: number;
}

const CROWD_KEPT = 0.75;

interface Waiting<Item, Result> {
  readonly item: Item;
  readonly resolve: (result: Result) => void;
  readonly reject: (error: unknown) => void;
  isGivenUp: boolean;
}

/**
 * What goes to one node in small parts: while some are on their way, those that come are gathered, and go together. Nobody waits for company: with few on
 * their way, one goes alone. Where there are many, each batch costs as much as several items: the next one goes when one has come back, or when it is full.
 * What waits is bounded by those who call.
 */
export class Batches<Item, Result> {
  private readonly options: BatchesOptions<Item, Result>;
  private waiting: Waiting<Item, Result>[] = [];
  private waitingBytes = 0;
  private underWay = 0;
  /** Items in one batch lately: falls slowly, for a crowd begins each round by one. */
  private crowd = 0;

  constructor(options: BatchesOptions<Item, Result>) {
    this.options = options;
  }

  /** Is something on its way, so that others may go together? */
  get isBusy(): boolean {
    return this.underWay > 0;
  }

  get waitingCount(): number {
    return this.waiting.length;
  }

  /** Rejects with what it was refused with, or with the reason of the signal. */
  add(item: Item, signal?: AbortSignal): Promise<Result> {
    const { promise, resolve, reject } = Promise.withResolvers<Result>();
    const waiting = { item, resolve, reject, isGivenUp: false };
    this.waiting.push(waiting);
    this.waitingBytes += this.options.bytesOf(item);
    this.goOn();
    if (!signal) return promise;
    return untilAborted(promise, signal).finally(() => {
      waiting.isGivenUp = true; // one that still waits is not sent any more
    });
  }

  private goOn(): void {
    while (this.mayGo()) {
      const items = this.take();
      if (items.length === 0) return;
      this.underWay++;
      this.crowd = Math.max(items.length, this.crowd * CROWD_KEPT);
      void this.carry(items);
    }
  }

  private mayGo(): boolean {
    if (this.underWay === 0) return true;
    if (this.underWay >= BATCHES_AT_ONCE_COUNT) return false;
    if (this.waiting.length >= BATCH_MAX_COUNT || this.waitingBytes >= BATCH_MAX_BYTES) return true;
    return this.underWay < this.options.fewCount && this.crowd <= this.options.fewCount;
  }

  private async carry(batch: readonly Waiting<Item, Result>[]): Promise<void> {
    const { send } = this.options;
    try {
      const results = await send(batch.map(({ item }) => item));
      for (const [i, { resolve, reject }] of batch.entries()) {
        const result = results[i] as Result | CaskError;
        if (result instanceof Error) reject(result);
        else resolve(result);
      }
    } catch (error) {
      for (const { reject } of batch) reject(error);
    } finally {
      this.underWay--;
      this.goOn();
    }
  }

  private take(): Waiting<Item, Result>[] {
    const { bytesOf } = this.options;
    if (this.waiting.some(({ isGivenUp }) => isGivenUp)) {
      this.waiting = this.waiting.filter((each) => !each.isGivenUp);
      this.waitingBytes = this.waiting.reduce((sum, { item }) => sum + bytesOf(item), 0);
    }
    let [count, bytes] = [0, 0];
    for (const { item } of this.waiting) {
      const more = bytesOf(item);
      if (count === BATCH_MAX_COUNT || (count > 0 && bytes + more > BATCH_MAX_BYTES)) break;
      bytes += more;
      count++;
    }
    this.waitingBytes -= bytes;
    return this.waiting.splice(0, count);
  }
}
