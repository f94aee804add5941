import type { ClusterView, ViewNode } from "../cluster/cluster-view.ts";
import type { Clock } from "../core/clock.ts";
import { hasCode, messageOf } from "../core/errors.ts";
import type { Key } from "../core/key.ts";
import { HAS_KEYS_MAX_COUNT, REPAIR_AT_ONCE_COUNT } from "../core/limits.ts";
import type { Logger } from "../core/log.ts";
import type { RateLimit } from "../core/rate-limit.ts";
import { untilAborted } from "../core/until-aborted.ts";
import type { BlobBody, BlobSource, Holding, Peer } from "../peer/peer.ts";
import type { ForegroundLoad } from "./foreground-load.ts";
import { ownersOf, planRepair, type RepairPlan } from "./repair-plan.ts";
import { isSmall, readVerified, verifiedChunks } from "./verified.ts";

export interface RepairOptions {
  readonly view: () => ClusterView;
  readonly rate: Pick<RateLimit, "take">;
  readonly foreground: Pick<ForegroundLoad, "yieldTo">;
  readonly onSurplus: (key: Key) => void;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface RepairOutcome {
  readonly key: Key;
  /**
   * - `whole`: every owner has a copy, there was nothing to do.
   * - `repaired`: copies were made, now every owner has one.
   * - `failed`: not all that should have one, or not everybody could be asked.
   * - `gone`: nobody has it.
   */
  readonly result: "whole" | "repaired" | "failed" | "gone";
  /** Copies that are there now, as far as is known. */
  readonly copies: number;
  readonly sentBytes: number;
  readonly error: string | null;
}

type Holdings = ReadonlyMap<string, Holding>;

/** Repair of keys: read-repair, scrub, reconcile and drain all end here. What it sends or keeps was hashed on the way. */
export class Repair {
  private readonly options: RepairOptions;

  constructor(options: RepairOptions) {
    this.options = options;
  }

  /** Each node is asked once about all of the keys (at most HAS_KEYS_MAX_COUNT). Never rejects but by the signal. */
  async repair(keys: readonly Key[], signal: AbortSignal): Promise<RepairOutcome[]> {
    const view = this.options.view();
    const holdings = await this.ask(keys, (key) => this.askedFor(key, view), signal);
    const waiting = [...keys.entries()];
    const outcomes: RepairOutcome[] = [];
    const work = async () => {
      for (let next = waiting.shift(); next; next = waiting.shift()) {
        const [i, key] = next;
        await this.options.foreground.yieldTo(signal);
        outcomes[i] = await this.one(key, view, holdings.get(key) as Holdings, signal);
      }
    };
    await Promise.all(Array.from({ length: REPAIR_AT_ONCE_COUNT }, work));
    signal.throwIfAborted();
    return outcomes;
  }

  /** Owners, and those before this node in the order: their copies make its own surplus. */
  private askedFor(key: Key, view: ClusterView): ViewNode[] {
    const order = view.repairOrder(key);
    const ownPlace = order.findIndex((node) => node.uuid === view.self);
    const before = order.slice(0, Math.max(0, ownPlace)).slice(0, 2 * view.maxReplication);
    const asked = new Set([...ownersOf(order, view.replication), ...before, view.ownNode]);
    return [...asked].filter((node) => node.live);
  }

  /** Owners that answered that they can't tell are passed over: then those behind them are asked, too. */
  private async askSpare(key: Key, view: ClusterView, known: Holdings, signal: AbortSignal): Promise<Holdings> {
    const passedOver = [...known.values()].filter((holding) => holding.state === "unknown" && !holding.lacking).length;
    if (passedOver === 0) return known;
    const spare = ownersOf(view.repairOrder(key), view.replication + passedOver);
    const nodes = spare.filter((node) => node.live && !known.has(node.uuid));
    const answers = await this.ask([key], () => nodes, signal);
    return new Map([...known, ...(answers.get(key) ?? [])]);
  }

  private async ask(
    keys: readonly Key[],
    nodesFor: (key: Key) => readonly ViewNode[],
    signal: AbortSignal,
  ): Promise<Map<Key, Holdings>> {
    const byKey = new Map<Key, Map<string, Holding>>(keys.map((key) => [key, new Map()]));
    const byNode = new Map<ViewNode, Key[]>();
    for (const key of keys) {
      for (const node of nodesFor(key)) byNode.set(node, [...(byNode.get(node) ?? []), key]);
    }
    const asks = [...byNode].map(async ([node, wanted]) => {
      const asked = wanted.slice(0, HAS_KEYS_MAX_COUNT);
      try {
        const answers = await untilAborted(node.peer.has(asked, signal), signal);
        for (const [i, key] of asked.entries()) {
          const answer = answers[i];
          if (answer) byKey.get(key)?.set(node.uuid, answer);
        }
      } catch (error) {
        this.options.log.debug({ node: node.uuid, err: error }, "a node could not be asked what it holds");
      }
    });
    await Promise.all(asks);
    signal.throwIfAborted();
    return byKey;
  }

  private async one(key: Key, view: ClusterView, known: Holdings, signal: AbortSignal): Promise<RepairOutcome> {
    const holdings = await this.askSpare(key, view, known, signal);
    const { replication, maxReplication, self } = view;
    const plan = planRepair({ order: view.repairOrder(key), self, holdings, replication, maxReplication });
    if (plan.holders.length === 0) {
      return { key, result: plan.unsure ? "failed" : "gone", copies: 0, sentBytes: 0, error: "no node has it" };
    }
    if (plan.surplus) this.options.onSurplus(key);
    try {
      return await this.carryOut(key, view, plan, signal);
    } catch (error) {
      if (signal.aborted) throw error;
      return { key, result: "failed", copies: plan.holders.length, sentBytes: 0, error: messageOf(error) };
    }
  }

  private async carryOut(key: Key, view: ClusterView, plan: RepairPlan, signal: AbortSignal): Promise<RepairOutcome> {
    const copies = plan.holders.length;
    const unsure = plan.unsure ? "not every owner answered" : null;
    if (plan.lacking.length === 0) {
      return { key, result: unsure ? "failed" : "whole", copies, sentBytes: 0, error: unsure };
    }
    const own = plan.holders.some((node) => node.uuid === view.self);
    const missesOwn = plan.lacking.some((node) => node.uuid === view.self);
    if (!own && !missesOwn) {
      // Not for this node to do: it has nothing to send. The holders find it when they reconcile.
      return {
        key,
        result: "failed",
        copies,
        sentBytes: 0,
        error: "copies are missing, and this node has none to send",
      };
    }
    if (!own) await this.fetch(key, view, plan.holders, signal);
    const targets = plan.lacking.filter((node) => node.uuid !== view.self);
    const { made, sentBytes, errors } = await this.send(key, view.ownNode.peer, targets, signal);
    const failed = errors.length > 0 || unsure !== null;
    return {
      key,
      result: failed ? "failed" : "repaired",
      copies: copies + made + (own ? 0 : 1),
      sentBytes,
      error: errors[0] ?? unsure,
    };
  }

  /** Small: read and hashed once for all targets. Large: each target gets its own stream, hashed as it passes. */
  private async send(key: Key, own: Peer, targets: readonly ViewNode[], signal: AbortSignal) {
    const sent = { made: 0, sentBytes: 0, errors: [] as string[] };
    if (targets.length === 0) return sent;
    const body = await own.get(key, undefined, signal);
    if (!body) return { ...sent, errors: ["the own copy is gone"] };
    const source = await this.sourceOf(key, body, own, signal);
    const work = targets.map(async (node) => {
      try {
        await this.options.rate.take(source.sizeBytes, signal);
        const { outcome } = await node.peer.put(key, source, signal);
        sent.made++;
        sent.sentBytes += source.sizeBytes;
        this.options.log.debug({ key, node: node.uuid, outcome }, "sent a copy");
      } catch (error) {
        if (hasCode(error, "KEY_COLLISION"))
          this.options.log.error({ key, err: error }, `two blobs have the key ${key}`);
        sent.errors.push(`${node.baseUrl}: ${messageOf(error)}`);
      }
    });
    await Promise.all(work);
    return sent;
  }

  private async sourceOf(key: Key, body: BlobBody, own: Peer, signal: AbortSignal): Promise<BlobSource> {
    if (isSmall(body.sizeBytes)) {
      const bytes = await readVerified(body, key);
      return { sizeBytes: bytes.length, read: () => onePiece(bytes) };
    }
    body.close();
    return { sizeBytes: body.sizeBytes, read: () => streamed(key, own, signal) };
  }

  private async fetch(key: Key, view: ClusterView, holders: readonly ViewNode[], signal: AbortSignal): Promise<void> {
    const errors: unknown[] = [];
    for (const node of holders) {
      try {
        const body = await node.peer.get(key, undefined, signal);
        if (!body) continue;
        try {
          await this.options.rate.take(body.sizeBytes, signal);
          await view.ownNode.peer.put(key, sourceFrom(body, key), signal);
        } finally {
          body.close(); // it was perhaps not begun: it holds one of the connections to that node
        }
        this.options.log.info({ key, from: node.uuid }, `fetched a copy of ${key}, which this node should have`);
        return;
      } catch (error) {
        if (signal.aborted) throw error;
        errors.push(error);
      }
    }
    throw errors[0] ?? new Error("no holder has it any more");
  }
}

function sourceFrom(body: BlobBody, key: Key): BlobSource {
  return { sizeBytes: body.sizeBytes, read: () => verifiedChunks(body, key) };
}

async function* onePiece(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  if (bytes.length > 0) yield bytes;
}

async function* streamed(key: Key, own: Peer, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const body = await own.get(key, undefined, signal);
  if (!body) throw new Error("the own copy is gone");
  yield* verifiedChunks(body, key);
}
