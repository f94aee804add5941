import type { ClusterView, ViewNode } from "../cluster/cluster-view.ts";
import type { Clock } from "../core/clock.ts";
import { CaskError } from "../core/errors.ts";
import type { Key } from "../core/key.ts";
import { FIRST_KEY, keyAfter } from "../core/key-range.ts";
import {
  DRAIN_COMMITS_WAIT_MS,
  DRAIN_RETRY_MS,
  REPAIR_BATCH_COUNT,
  VOUCH_BYTES_MAX,
  VOUCH_LEAST_BYTES_PER_MS,
  VOUCH_TIMEOUT_MS,
} from "../core/limits.ts";
import type { Logger } from "../core/log.ts";
import type { Random } from "../core/random.ts";
import type { StepResult } from "../core/worker.ts";
import type { Inventory } from "../storage/inventory.ts";
import type { LocalStore } from "./local-store.ts";
import type { Repair } from "./repair.ts";
import { ownersOf } from "./repair-plan.ts";
import { askForVouches } from "./vouches.ts";

export interface DrainOptions {
  readonly view: () => ClusterView;
  readonly inventory: Pick<Inventory, "keysIn" | "count" | "ready">;
  readonly own: Pick<LocalStore, "has" | "commitsUnderWay">;
  readonly store: string;
  readonly repair: Pick<Repair, "repair">;
  /** Since when this node is being emptied, kept on disk; null: it is not. */
  readonly sinceMs: () => number | null;
  readonly begin: (sinceMs: number | null) => Promise<void>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
}

export interface DrainStatus {
  readonly state: "no" | "draining" | "done";
  /** ISO 8601. */
  readonly since: string | null;
  readonly keys: number;
  /** For which enough other nodes have vouched since this node began to drain. */
  readonly vouched: number;
  readonly lacking: number;
  readonly text: string;
}

/**
 * Empties a node that is to be switched off: trimming without deleting. From its start the node is read-only and vouches for nothing; it hands
 * each key to its other owners, and asks them to vouch. Done when each key has CASK_REPLICATION vouches.
 */
export class Drain {
  private readonly options: DrainOptions;
  private next: Key | undefined = FIRST_KEY;
  private vouched = 0;
  /** Of this pass. */
  private lacking = 0;
  private done = false;
  /** The ring that this pass began with. A node that vouched may be gone from another one. */
  private ring = "";

  constructor(options: DrainOptions) {
    this.options = options;
  }

  /** Rejects with BAD_REQUEST when the promise could not be kept. Resolves when the beginning is on disk. */
  async begin(): Promise<void> {
    const { view: current, sinceMs, begin, clock, log } = this.options;
    if (sinceMs() !== null) return;
    const view = current();
    const go = view.nodes.find((node) => node.live && node.peer.isGo);
    if (go) {
      const text = `this node can't be emptied while ${go.baseUrl} is in the cluster: a Go Cask node can't vouch for its copies. Replace it first`;
      throw new CaskError("BAD_REQUEST", text);
    }
    const others = view.nodes.filter((node) => node.uuid !== view.self && node.writeable && !node.draining);
    if (others.length < view.replication) {
      throw new CaskError(
        "BAD_REQUEST",
        `this node can't be emptied: ${others.length} other nodes take blobs, and ${view.replication} copies are to be kept ` +
          "(CASK_REPLICATION). Add a node first",
      );
    }
    this.startOver();
    await begin(clock.wallMs());
    log.warn({}, "an operator has this node emptied: it is read-only, and hands its blobs to the others");
  }

  /** The node stays, after all. */
  async cancel(): Promise<void> {
    await this.options.begin(null);
    this.startOver();
    this.options.log.warn({}, "this node is not being emptied any more");
  }

  status(): DrainStatus {
    const since = this.options.sinceMs();
    const keys = this.options.inventory.ready ? this.options.inventory.count : 0;
    const { vouched, lacking } = this;
    if (since === null) return { state: "no", since: null, keys, vouched: 0, lacking: 0, text: "not being emptied" };
    const text = this.done
      ? "every blob has its copies on other nodes: this node can be switched off; then forget it (POST /forget/)"
      : `${vouched} of ${keys} blobs are vouched for by ${this.options.view().replication} other nodes`;
    const state = this.done ? "done" : "draining";
    return { state, since: new Date(since).toISOString(), keys, vouched, lacking, text };
  }

  async step(signal: AbortSignal): Promise<StepResult> {
    const { sinceMs, inventory, log } = this.options;
    if (sinceMs() === null || !inventory.ready) return "idle";
    const { ringDigest } = this.options.view();
    if (this.done && this.ring === ringDigest) return "idle";
    if (this.done) {
      log.warn(
        {},
        "the cluster has changed since this node was emptied, its blobs are looked at again: don't switch it off yet",
      );
      this.startOver();
    }
    if (this.next === FIRST_KEY) {
      // None begins any more. What those bring might be behind the place where this pass is then.
      if (this.options.own.commitsUnderWay > 0) return { afterMs: DRAIN_COMMITS_WAIT_MS };
      this.ring = ringDigest;
    }
    const keys =
      this.next === undefined ? [] : inventory.keysIn({ from: this.next, to: undefined }, REPAIR_BATCH_COUNT);
    if (keys.length > 0) {
      const outcomes = await this.options.repair.repair(keys, signal);
      const good = await this.vouchedFor(keys, this.options.view(), signal);
      this.vouched += good.size;
      this.lacking += keys.length - good.size;
      const bad = outcomes.find(({ key, error }) => !good.has(key) && error !== null);
      if (bad) log.info({ key: bad.key }, `${bad.key} can't be handed over yet: ${bad.error}`);
      this.next = keyAfter(keys.at(-1) as Key);
      return "busy";
    }
    if (this.lacking === 0 && this.ring !== ringDigest) {
      this.startOver(); // what was vouched for at its begin is asked for again
      return "busy";
    }
    if (this.lacking === 0) {
      this.done = true;
      log.warn({}, this.status().text);
      return "idle";
    }
    log.warn({}, `${this.lacking} blobs could not be handed over: trying again`);
    this.startOver();
    return { afterMs: DRAIN_RETRY_MS };
  }

  private startOver(): void {
    this.next = FIRST_KEY;
    this.vouched = 0;
    this.lacking = 0;
    this.done = false;
  }

  /** In parts that can be read within one deadline. A key that is gone here needs nobody to vouch for it. */
  private async vouchedFor(keys: readonly Key[], view: ClusterView, signal: AbortSignal): Promise<Set<Key>> {
    const holdings = await this.options.own.has(keys, signal);
    const sizes = new Map<Key, number>();
    const good = new Set<Key>();
    for (const [i, key] of keys.entries()) {
      const holding = holdings[i];
      if (holding?.state === "present") sizes.set(key, holding.sizeBytes ?? 0);
      else if (holding?.state === "absent") good.add(key);
    }
    for (const part of bySize(sizes)) for (const key of await this.ask(part, sizes, view, signal)) good.add(key);
    return good;
  }

  private async ask(
    keys: readonly Key[],
    sizes: ReadonlyMap<Key, number>,
    view: ClusterView,
    signal: AbortSignal,
  ): Promise<Key[]> {
    const { clock, random, log, store } = this.options;
    const asks = new Map<ViewNode, Key[]>();
    for (const key of keys) {
      const owners = ownersOf(view.repairOrder(key), view.replication);
      const able = owners.filter((node) => node.live && node.uuid !== view.self && !node.peer.isGo);
      for (const node of able) asks.set(node, [...(asks.get(node) ?? []), key]);
    }
    const bytes = keys.reduce((sum, key) => sum + (sizes.get(key) ?? 0), 0);
    const deadlineMs = VOUCH_TIMEOUT_MS + bytes / VOUCH_LEAST_BYTES_PER_MS;
    const vouches = await askForVouches({ asks, sizes, nonce: random.hex(16), view, deadlineMs, clock, log, signal });
    return keys.filter((key) => {
      const stores = vouches.get(key) ?? new Set<string>();
      stores.delete(store);
      return stores.size >= view.replication;
    });
  }
}

function bySize(sizes: ReadonlyMap<Key, number>): Key[][] {
  const parts: Key[][] = [];
  let bytes = VOUCH_BYTES_MAX;
  for (const [key, size] of sizes) {
    if (bytes >= VOUCH_BYTES_MAX) {
      parts.push([]);
      bytes = 0;
    }
    parts.at(-1)?.push(key);
    bytes += size;
  }
  return parts;
}
