import type { ClusterView, ViewNode } from "../cluster/cluster-view.ts";
import type { Clock } from "../core/clock.ts";
import { type CaskError, hasCode, messageOf } from "../core/errors.ts";
import { PUT_HEDGE_MS } from "../core/limits.ts";
import type { PutReceipt } from "../peer/peer.ts";
import type { StagedUpload } from "./staged-upload.ts";

export interface Copy {
  readonly node: string;
  readonly store: string;
  readonly outcome: PutReceipt["outcome"];
}

export interface Replicated {
  readonly copies: readonly Copy[];
  readonly wanted: number;
  readonly success: boolean;
  /** Was the blob new to every node that took it? */
  readonly isNew: boolean;
  /** Why there are not more copies: one line a node. */
  readonly failures: readonly string[];
  /** Every node that was tried lacks the space. */
  readonly noSpace: boolean;
}

export interface ReplicateOptions {
  readonly upload: StagedUpload;
  readonly view: ClusterView;
  readonly clock: Clock;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Sends an upload to the first CASK_REPLICATION writeable nodes of its key at once. One that fails is replaced by the next; one that
 * is slow gets the next beside it. Copies are counted by store: two nodes on one disk are one copy.
 * Rejects with KEY_COLLISION when a node holds other bytes under the key. Other failures are in the result.
 */
export function replicate(options: ReplicateOptions): Promise<Replicated> {
  return new Replication(options).run();
}

class Replication {
  private readonly options: ReplicateOptions;
  private readonly queue: ViewNode[];
  private readonly wanted: number;
  private readonly copies = new Map<string, Copy>();
  private readonly failures: Array<{ node: ViewNode; error: unknown }> = [];
  private readonly controller = new AbortController();
  private readonly running = new Set<Promise<void>>();
  private collision: CaskError | undefined;
  private cancelHedge: () => void = () => undefined;
  private wake: () => void = () => undefined;

  constructor(options: ReplicateOptions) {
    this.options = options;
    this.queue = options.view.writeOrder(options.upload.key);
    this.wanted = options.view.replication;
  }

  async run(): Promise<Replicated> {
    const { signal } = this.options;
    const onAbort = () => this.controller.abort(signal?.reason);
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      this.startMissing();
      this.watchForSlow();
      while (!this.isSettled()) {
        await new Promise<void>((resolve) => {
          this.wake = resolve;
        });
      }
    } finally {
      this.cancelHedge();
      signal?.removeEventListener("abort", onAbort);
      if (this.running.size > 0) this.controller.abort(new Error("enough copies were made")); // an error is dear to make
      // The stage is released after this: nobody may read from it any more.
      await Promise.all(this.running);
    }
    signal?.throwIfAborted();
    if (this.collision) throw this.collision;
    return this.result();
  }

  private isSettled(): boolean {
    return (
      this.copies.size >= this.wanted ||
      this.running.size === 0 ||
      this.collision !== undefined ||
      this.controller.signal.aborted
    );
  }

  private startMissing(): void {
    while (this.copies.size + this.running.size < this.wanted && this.queue.length > 0) this.startNext();
  }

  private startNext(): void {
    const node = this.queue.shift();
    if (!node) return;
    const work = this.send(node).finally(() => {
      this.running.delete(work);
      if (!this.controller.signal.aborted) this.startMissing();
      this.wake();
    });
    this.running.add(work);
  }

  private async send(node: ViewNode): Promise<void> {
    const { upload } = this.options;
    try {
      const { store, outcome } = await node.peer.put(upload.key, upload, this.controller.signal);
      this.copies.set(store, { node: node.uuid, store, outcome });
    } catch (error) {
      if (hasCode(error, "KEY_COLLISION")) this.collision = error;
      this.failures.push({ node, error });
    }
  }

  private watchForSlow(): void {
    this.cancelHedge = this.options.clock.timer(PUT_HEDGE_MS, () => {
      if (this.isSettled()) return;
      const slow = this.wanted - this.copies.size;
      for (let i = 0; i < slow; i++) this.startNext();
      this.watchForSlow();
    });
  }

  private result(): Replicated {
    const copies = [...this.copies.values()];
    return {
      copies,
      wanted: this.wanted,
      success: copies.length >= this.wanted,
      isNew: copies.every((copy) => copy.outcome === "stored"),
      failures: this.failures.map(({ node, error }) => `${node.baseUrl}: ${messageOf(error)}`),
      noSpace: this.failures.length > 0 && this.failures.every(({ error }) => hasCode(error, "NO_SPACE")),
    };
  }
}
