import type { CaskError } from "../core/errors.ts";
import { BATCH_MAX_BYTES, BATCH_MAX_COUNT, BATCHES_AT_ONCE_COUNT } from "../core/limits.ts";
import { untilAborted } from "../core/until-aborted.ts";
import type { BatchItem } from "../peer/batch-protocol.ts";
import type { PutReceipt } from "../peer/peer.ts";

/** What became of an item; an error where it was refused. */
export type Receipt = PutReceipt | CaskError;

interface Waiting extends BatchItem {
  readonly resolve: (receipt: PutReceipt) => void;
  readonly reject: (error: unknown) => void;
  isGivenUp: boolean;
}

/**
 * Small blobs for one node: while some are on their way, those that come are gathered, and go together. Nobody waits for company: with nothing on its
 * way, one goes alone. What waits is bounded by those who call.
 */
export class PutBatches {
  private readonly send: (items: readonly BatchItem[]) => Promise<readonly Receipt[]>;
  private waiting: Waiting[] = [];
  private underWay = 0;

  /** `send`: resolves with a receipt for each, or rejects for all of them. */
  constructor(send: (items: readonly BatchItem[]) => Promise<readonly Receipt[]>) {
    this.send = send;
  }

  put(key: BatchItem["key"], bytes: Uint8Array, signal?: AbortSignal): Promise<PutReceipt> {
    const { promise, resolve, reject } = Promise.withResolvers<PutReceipt>();
    const item: Waiting = { key, bytes, resolve, reject, isGivenUp: false };
    this.waiting.push(item);
    this.goOn();
    if (!signal) return promise;
    return untilAborted(promise, signal).finally(() => {
      item.isGivenUp = true; // one that still waits is not sent any more
    });
  }

  private goOn(): void {
    while (this.underWay < BATCHES_AT_ONCE_COUNT) {
      const items = this.take();
      if (items.length === 0) return;
      this.underWay++;
      void this.carry(items);
    }
  }

  private async carry(items: readonly Waiting[]): Promise<void> {
    try {
      const receipts = await this.send(items);
      for (const [i, { resolve, reject }] of items.entries()) {
        const receipt = receipts[i] as Receipt;
        if (receipt instanceof Error) reject(receipt);
        else resolve(receipt);
      }
    } catch (error) {
      for (const { reject } of items) reject(error);
    } finally {
      this.underWay--;
      this.goOn();
    }
  }

  private take(): Waiting[] {
    this.waiting = this.waiting.filter(({ isGivenUp }) => !isGivenUp);
    let [count, bytes] = [0, 0];
    for (const item of this.waiting) {
      if (count === BATCH_MAX_COUNT || (count > 0 && bytes + item.bytes.length > BATCH_MAX_BYTES)) break;
      bytes += item.bytes.length;
      count++;
    }
    return this.waiting.splice(0, count);
  }
}
