import type { CaskError } from "../core/errors.ts";
import { BATCH_MAX_BYTES, BATCH_MAX_COUNT } from "../core/limits.ts";
import { untilAborted } from "../core/until-aborted.ts";

export interface BatchesOptions<Item, Result> {
  /** Resolves with a result for each, or an error where it was refused; or rejects for all of them. */
  readonly send: (items: readonly Item[]) => Promise<ReadonlyArray<Result | CaskError>>;
  /** What an item takes in a batch. */
  readonly bytesOf: (item: Item) => number;
  /** Batches on their way at the same time, at most. */
  readonly atOnce: number;
}

interface Waiting<Item, Result> {
  readonly item: Item;
  readonly resolve: (result: Result) => void;
  readonly reject: (error: unknown) => void;
  isGivenUp: boolean;
}

/**
 * What goes to one node in small parts: while some are on their way, those that come are gathered, and go together. Nobody waits for company: with nothing on
 * its way, one goes alone. What waits is bounded by those who call.
 */
export class Batches<Item, Result> {
  private readonly options: BatchesOptions<Item, Result>;
  private waiting: Waiting<Item, Result>[] = [];
  private underWay = 0;

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
    this.goOn();
    if (!signal) return promise;
    return untilAborted(promise, signal).finally(() => {
      waiting.isGivenUp = true; // one that still waits is not sent any more
    });
  }

  private goOn(): void {
    while (this.underWay < this.options.atOnce) {
      const items = this.take();
      if (items.length === 0) return;
      this.underWay++;
      void this.carry(items);
    }
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
    if (this.waiting.some(({ isGivenUp }) => isGivenUp)) this.waiting = this.waiting.filter((each) => !each.isGivenUp);
    let [count, bytes] = [0, 0];
    for (const { item } of this.waiting) {
      const more = this.options.bytesOf(item);
      if (count === BATCH_MAX_COUNT || (count > 0 && bytes + more > BATCH_MAX_BYTES)) break;
      bytes += more;
      count++;
    }
    return this.waiting.splice(0, count);
  }
}
