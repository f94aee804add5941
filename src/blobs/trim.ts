import type { ClusterView, ViewNode } from "../cluster/cluster-view.ts";
import type { Clock } from "../core/clock.ts";
import { messageOf } from "../core/errors.ts";
import type { Key } from "../core/key.ts";
import {
  TRIM_IDLE_MS,
  TRIM_QUEUE_MAX_COUNT,
  TRIM_RETRY_MS,
  VOUCH_BYTES_MAX,
  VOUCH_KEYS_MAX_COUNT,
  VOUCH_LEAST_BYTES_PER_MS,
  VOUCH_TIMEOUT_MS,
} from "../core/limits.ts";
import type { Logger } from "../core/log.ts";
import type { Random } from "../core/random.ts";
import type { StepResult } from "../core/worker.ts";
import type { Stat } from "../storage/backend.ts";
import type { LocalStore } from "./local-store.ts";
import { askForVouches } from "./vouches.ts";

export interface TrimOptions {
  readonly view: () => ClusterView;
  readonly localStore: Pick<LocalStore, "beginTrim" | "cancelTrim" | "finishTrim" | "resolveTrims" | "has" | "store">;
  readonly graceMs: number;
  /** Say what would be deleted, and delete nothing. */
  readonly dryRun: boolean;
  readonly onDeleted: (key: Key) => void;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
}

export interface TrimStatus {
  readonly waiting: number;
  readonly deleted: number;
  readonly refused: number;
  /** Why nothing is trimmed at present; null when it is. */
  readonly blockedBecause: string | null;
  readonly dryRun: boolean;
}

/** A key whose own copy is surplus, and the nodes before this one that say that they hold it, CASK_MAX_REPLICATION of them. */
interface Surplus {
  readonly key: Key;
  readonly holders: readonly ViewNode[];
}

interface Marked extends Surplus {
  readonly stat: Stat;
}

/** Deletes surplus copies, each only after enough other nodes have vouched for theirs: design.md, "Trim". */
export class Trim {
  private readonly options: TrimOptions;
  private readonly startedMs: number;
  /** When each candidate may be tried. */
  private readonly waiting = new Map<Key, number>();
  private deleted = 0;
  private refused = 0;

  constructor(options: TrimOptions) {
    this.options = options;
    this.startedMs = options.clock.nowMs();
  }

  /** A key of which this node may hold a surplus copy. Answers false when there are too many. */
  add(key: Key): boolean {
    if (this.waiting.has(key)) return true;
    if (this.waiting.size >= TRIM_QUEUE_MAX_COUNT) return false;
    this.waiting.set(key, 0);
    return true;
  }

  status(): TrimStatus {
    const { deleted, refused } = this;
    return {
      waiting: this.waiting.size,
      deleted,
      refused,
      blockedBecause: this.blocked(this.options.view()),
      dryRun: this.options.dryRun,
    };
  }

  async step(signal: AbortSignal): Promise<StepResult> {
    const { view: current, localStore, clock } = this.options;
    await localStore.resolveTrims();
    const view = current();
    if (this.waiting.size === 0 || this.blocked(view) !== null) return "idle";
    const due = [...this.waiting].filter(([, atMs]) => atMs <= clock.nowMs()).slice(0, VOUCH_KEYS_MAX_COUNT);
    if (due.length === 0) return "idle";
    const surplus = await this.surplusOf(
      due.map(([key]) => key),
      view,
      signal,
    );
    if (surplus.length > 0) await this.trim(surplus, view, signal);
    return "busy";
  }

  /** Why nothing may be trimmed. */
  private blocked({ stableSinceMs, disagreements, joined }: ClusterView): string | null {
    const { clock, graceMs } = this.options;
    const nowMs = clock.nowMs();
    if (!joined) return "this node has not met its neighbors yet";
    if (disagreements.length > 0) return disagreements.join("; ");
    if (nowMs - this.startedMs < graceMs) return "this node has started less than CASK_TRIM_GRACE ago";
    return nowMs - stableSinceMs < graceMs ? "the cluster has changed less than CASK_TRIM_GRACE ago" : null;
  }

  /** Live nodes that stand before this one in the order of the key, those that drain not among them. */
  private before(key: Key, view: ClusterView): ViewNode[] {
    const order = view.order(key);
    const place = order.findIndex((node) => node.uuid === view.self);
    const before = order.slice(0, Math.max(0, place)).filter((node) => !node.draining && !node.peer.isGo);
    return before.slice(0, 2 * view.maxReplication + 2);
  }

  /** Those of which, as the others say, enough hold a copy. The others leave the queue: reconcile finds them when that changes. */
  private async surplusOf(keys: readonly Key[], view: ClusterView, signal: AbortSignal): Promise<Surplus[]> {
    const holders = new Map<Key, ViewNode[]>();
    const unsure = new Set<Key>();
    const byNode = groupByNode(keys, (key) => this.before(key, view));
    const asks = [...byNode].map(async ([node, asked]) => {
      try {
        const holdings = await node.peer.has(asked, signal);
        for (const [i, key] of asked.entries()) {
          if (holdings[i]?.state === "present") holders.set(key, [...(holders.get(key) ?? []), node]);
          else if (holdings[i]?.state === "unknown") unsure.add(key);
        }
      } catch (error) {
        this.options.log.debug({ node: node.uuid, err: error }, "a node could not be asked what it holds");
        for (const key of asked) unsure.add(key);
      }
    });
    await Promise.all(asks);
    signal.throwIfAborted();
    return keys.flatMap((key) => {
      const found = holders.get(key) ?? [];
      if (found.length >= view.maxReplication) return [{ key, holders: found.slice(0, view.maxReplication) }];
      if (unsure.has(key)) this.later(key);
      else this.waiting.delete(key);
      return [];
    });
  }

  /** All keys are marked before anybody is asked. */
  private async trim(surplus: readonly Surplus[], view: ClusterView, signal: AbortSignal): Promise<void> {
    const { random, localStore, log } = this.options;
    const nonce = random.hex(16);
    const marked: Marked[] = [];
    try {
      await this.mark(surplus, nonce, marked);
      const vouched = await this.vouchedFor(marked, nonce, view, signal);
      for (const { key, stat } of marked) {
        if (!vouched.has(key)) continue;
        await this.delete(key, nonce, stat);
      }
    } catch (error) {
      if (signal.aborted) throw error;
      log.warn({ err: error }, `trimming failed, will try again: ${messageOf(error)}`);
    } finally {
      for (const { key } of marked) await localStore.cancelTrim(key, nonce);
      for (const { key } of marked) if (this.waiting.has(key)) this.later(key);
    }
  }

  /** As many as can be read within one deadline; one larger than that goes alone. */
  private async mark(surplus: readonly Surplus[], nonce: string, marked: Marked[]): Promise<void> {
    let bytes = 0;
    for (const { key, holders } of surplus) {
      if (bytes >= VOUCH_BYTES_MAX) return;
      const stat = await this.options.localStore.beginTrim(key, nonce);
      if (!stat) {
        this.waiting.delete(key);
        continue;
      }
      bytes += stat.sizeBytes;
      marked.push({ key, holders, stat });
    }
  }

  /** Keys for which CASK_MAX_REPLICATION other stores vouch. */
  private async vouchedFor(
    marked: readonly Marked[],
    nonce: string,
    view: ClusterView,
    signal: AbortSignal,
  ): Promise<Set<Key>> {
    const { clock, log, localStore } = this.options;
    const holders = new Map(marked.map((each) => [each.key, each.holders]));
    const sizes = new Map(marked.map(({ key, stat }) => [key, stat.sizeBytes]));
    const total = marked.reduce((sum, { stat }) => sum + stat.sizeBytes, 0);
    const vouches = await askForVouches({
      asks: groupByNode(
        marked.map(({ key }) => key),
        (key) => holders.get(key) ?? [],
      ),
      sizes,
      nonce,
      view,
      deadlineMs: VOUCH_TIMEOUT_MS + total / VOUCH_LEAST_BYTES_PER_MS,
      clock,
      log,
      signal,
    });
    const enough = new Set<Key>();
    for (const { key } of marked) {
      const stores = vouches.get(key) ?? new Set<string>();
      stores.delete(localStore.store); // two nodes on one folder are one copy
      if (stores.size >= view.maxReplication) enough.add(key);
      else this.refused++;
    }
    return enough;
  }

  private async delete(key: Key, nonce: string, { seen }: Stat): Promise<void> {
    const { localStore, log, dryRun, onDeleted } = this.options;
    if (dryRun) {
      log.info({ key }, `dry run: would delete the surplus copy of ${key}`);
      this.waiting.delete(key);
      return;
    }
    const gone = await localStore.finishTrim(key, nonce, seen);
    this.waiting.delete(key);
    if (!gone) return;
    this.deleted++;
    onDeleted(key);
    log.debug({ key }, "deleted a surplus copy");
  }

  private later(key: Key): void {
    const { clock, random, graceMs } = this.options;
    // Others refuse in their own grace; with a short one they need not be waited for so long.
    const leastMs = Math.min(TRIM_RETRY_MS, Math.max(TRIM_IDLE_MS, graceMs));
    this.waiting.set(key, clock.nowMs() + leastMs * (1 + random.next()));
  }
}

function groupByNode(keys: readonly Key[], nodesOf: (key: Key) => readonly ViewNode[]): Map<ViewNode, Key[]> {
  const byNode = new Map<ViewNode, Key[]>();
  for (const key of keys) {
    for (const node of nodesOf(key)) {
      const asked = byNode.get(node);
      if (asked) asked.push(key);
      else byNode.set(node, [key]);
    }
  }
  return byNode;
}
