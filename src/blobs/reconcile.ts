import type { ClusterView, ViewNode } from "../cluster/cluster-view.ts";
import type { Clock } from "../core/clock.ts";
import { messageOf } from "../core/errors.ts";
import type { Key } from "../core/key.ts";
import { type KeyDigest, type KeyRange, rangesOf, sameDigest } from "../core/key-range.ts";
import { DIGEST_RANGES_MAX_COUNT, RECONCILE_AGAIN_MS } from "../core/limits.ts";
import type { Logger } from "../core/log.ts";
import type { Random } from "../core/random.ts";
import type { StepResult } from "../core/worker.ts";
import type { Peer } from "../peer/peer.ts";
import type { Segment } from "../placement/placement.ts";
import { compareKeys, type Difference, eachPage, lackingOf } from "./key-comparison.ts";
import { ownersOf } from "./repair-plan.ts";
import type { RepairQueue } from "./repair-queue.ts";

export interface ReconcileOptions {
  readonly view: () => ClusterView;
  readonly own: Pick<Peer, "digests" | "keysIn">;
  readonly isReady: () => boolean;
  readonly queue: Pick<RepairQueue, "add" | "isFull" | "isBusy">;
  /** A key that this node may hold as surplus. Answers whether it was taken. */
  readonly onSurplus: (key: Key) => boolean;
  /** A pass found that this node holds all that its peers hold of what it should have. */
  readonly onComplete: () => Promise<void>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
}

const SURPLUS_AGAIN_PASSES = 32;

/** Neighbouring parts of the ring with the same nodes in the same places. */
interface Part {
  readonly range: KeyRange;
  /** Nodes to compare with: the other owners; those before this node too where it is no owner. Never Go nodes. */
  readonly peers: readonly ViewNode[];
  /** Those of them that should hold what is in the range. */
  readonly owners: ReadonlySet<ViewNode>;
  readonly isOwner: boolean;
  /** So many nodes that count stand before this one: enough of them to make its copies surplus. */
  readonly maybeSurplus: boolean;
}

/** A range in which all keys share one order. */
interface OrderedRange {
  readonly range: KeyRange;
  readonly order: readonly string[];
}

const rangesOfRings = new WeakMap<readonly Segment[], readonly OrderedRange[]>();

interface Pass {
  readonly view: ClusterView;
  readonly parts: readonly Part[];
  next: number;
  readonly begunMs: number;
  /** Every member lives and answered, and none of them holds a key that this node should hold and lacks. Who is dead may hold what this node lost. */
  complete: boolean;
  /** A live peer could not be compared with. */
  unanswered: boolean;
  missing: number;
}

export interface ReconcileStatus {
  readonly passes: number;
  readonly parts: number;
  readonly partsDone: number;
  /** Copies that the last complete pass found missing at owners. */
  readonly missingCopies: number | null;
  readonly lastPassSeconds: number | null;
}

/**
 * Compares with the other owners what each of them holds, by digests of key ranges, and queues what is missing somewhere for repair. One step
 * compares as many parts of the ring as fit into one question for each peer.
 */
export class Reconcile {
  private readonly options: ReconcileOptions;
  private pass: Pass | null = null;
  private divided: Pick<Pass, "view" | "parts"> | null = null;
  private passes = 0;
  private lastMissing: number | null = null;
  private lastPassSeconds: number | null = null;
  /** Digests of all nodes of a part when it was found in order, and who takes blobs: as long as they are the same it still is. */
  private settled = new Map<Key, string>();
  private settledRing = "";

  constructor(options: ReconcileOptions) {
    this.options = options;
  }

  status(): ReconcileStatus {
    const { passes, pass, lastMissing, lastPassSeconds } = this;
    return {
      passes,
      parts: pass?.parts.length ?? 0,
      partsDone: pass?.next ?? 0,
      missingCopies: lastMissing,
      lastPassSeconds,
    };
  }

  async step(signal: AbortSignal): Promise<StepResult> {
    if (!this.options.isReady()) return { afterMs: 500 };
    if (this.options.queue.isFull || (!this.pass && this.options.queue.isBusy)) return { afterMs: 500 };
    const pass = this.passOf(this.options.view());
    const parts = pass.parts.slice(pass.next, pass.next + DIGEST_RANGES_MAX_COUNT);
    await this.compareAll(pass, parts, signal);
    pass.next += parts.length;
    if (pass.next < pass.parts.length) return "busy";
    await this.end(pass);
    // What was missing is on its way, or a peer has just started: soon there is something to look at again.
    return pass.missing > 0 || pass.unanswered ? { afterMs: RECONCILE_AGAIN_MS } : "idle";
  }

  /** A new pass, also where the cluster has changed during the last one. */
  private passOf(view: ClusterView): Pass {
    if (this.pass?.view === view) return this.pass;
    const ring = `${view.ringDigest} ${view.replication} ${view.maxReplication}`;
    if (ring !== this.settledRing) this.settled.clear();
    this.settledRing = ring;
    if (this.divided?.view !== view) this.divided = { view, parts: partsOf(view) };
    const { parts } = this.divided;
    // Nodes that begin in different places seldom send the same key at the same time.
    const turn = Math.floor(this.options.random.next() * parts.length);
    const turned = [...parts.slice(turn), ...parts.slice(0, turn)];
    this.pass = {
      view,
      parts: turned,
      next: 0,
      begunMs: this.options.clock.nowMs(),
      complete: view.joined && view.nodes.every((node) => node.live),
      unanswered: false,
      missing: 0,
    };
    return this.pass;
  }

  private async end(pass: Pass): Promise<void> {
    this.passes++;
    this.pass = null;
    this.lastMissing = pass.missing;
    this.lastPassSeconds = (this.options.clock.nowMs() - pass.begunMs) / 1_000;
    // With whom it was compared is not all there is when others were met meanwhile.
    if (pass.complete && pass.view === this.options.view()) await this.options.onComplete();
  }

  private async compareAll(pass: Pass, parts: readonly Part[], signal: AbortSignal): Promise<void> {
    const own = await this.options.own.digests(
      parts.map(({ range }) => range),
      signal,
    );
    const worth = parts.map((part, i) => part.isOwner || (own[i] as KeyDigest).count > 0);
    const digests = await this.askPeers(
      pass,
      parts.filter((_, i) => worth[i]),
      signal,
    );
    for (const [i, part] of parts.entries()) {
      if (!worth[i]) continue;
      if (this.options.queue.isFull) pass.complete = false;
      else await this.comparePart(pass, { part, own: own[i] as KeyDigest, digests }, signal);
    }
  }

  /** One question for each peer about all parts that it shares with this node. */
  private async askPeers(
    pass: Pass,
    parts: readonly Part[],
    signal: AbortSignal,
  ): Promise<Map<ViewNode, Map<Part, KeyDigest>>> {
    const shared = new Map<ViewNode, Part[]>();
    for (const part of parts) for (const peer of part.peers) shared.set(peer, [...(shared.get(peer) ?? []), part]);
    const answers = new Map<ViewNode, Map<Part, KeyDigest>>();
    const asks = [...shared].map(async ([node, asked]) => {
      try {
        const digests = await node.peer.digests(
          asked.map(({ range }) => range),
          signal,
        );
        answers.set(node, new Map(asked.map((part, i) => [part, digests[i] as KeyDigest])));
      } catch (error) {
        if (signal.aborted) throw error;
        pass.complete = false;
        pass.unanswered = true;
        this.options.log.debug(
          { node: node.uuid, err: error },
          `${node.baseUrl} can't be compared with: ${messageOf(error)}`,
        );
      }
    });
    await Promise.all(asks);
    return answers;
  }

  private async comparePart(
    pass: Pass,
    { part, own, digests }: { part: Part; own: KeyDigest; digests: Map<ViewNode, Map<Part, KeyDigest>> },
    signal: AbortSignal,
  ): Promise<void> {
    const answered = part.peers.flatMap((node) => {
      const digest = digests.get(node)?.get(part);
      return digest ? [{ node, digest }] : [];
    });
    const state = [nameOf(own), ...answered.map(({ node, digest }) => `${nameOf(digest)} ${node.writeable}`)].join(" ");
    const all = answered.length === part.peers.length;
    // Trim may have dropped a key while a holder's file was missing unseen: now and then surplus is offered again, whatever the digests say.
    const again = part.maybeSurplus && own.count > 0 && this.passes % SURPLUS_AGAIN_PASSES === SURPLUS_AGAIN_PASSES - 1;
    if (all && !again && this.settled.get(part.range.from) === state) return;
    const lacking = new Map<Key, { nodes: number; writeable: boolean }>();
    let inOrder = all;
    for (const { node, digest } of answered) {
      if (sameDigest(own, digest)) continue;
      const difference = await this.differenceWith(node, part, { own, peer: digest }, signal);
      if (!difference) {
        pass.complete = false;
        inOrder = false;
        continue;
      }
      if (part.isOwner && difference.missingHere > 0) pass.complete = false;
      if (difference.truncated) inOrder = false;
      if (!part.owners.has(node)) continue;
      for (const key of difference.missingThere) {
        const before = lacking.get(key);
        lacking.set(key, { nodes: (before?.nodes ?? 0) + 1, writeable: node.writeable || before?.writeable === true });
      }
    }
    const wanted = this.queueAll(pass, lacking, 1 + answered.length);
    if (inOrder && !wanted && (!part.maybeSurplus || (await this.offerSurplus(part, signal)))) {
      this.settled.set(part.range.from, state);
    } else this.settled.delete(part.range.from);
  }

  /** Null when the peer failed meanwhile. */
  private async differenceWith(
    node: ViewNode,
    part: Part,
    digests: { own: KeyDigest; peer: KeyDigest },
    signal: AbortSignal,
  ): Promise<Difference | null> {
    try {
      // A node that is no owner, and holds a few of the many keys there, differs everywhere: its own keys are asked for.
      if (!part.isOwner && digests.peer.count > 0)
        return await lackingOf(part.range, this.options.own, node.peer, signal);
      return await compareKeys(part.range, digests, { own: this.options.own, peer: node.peer }, signal);
    } catch (error) {
      if (signal.aborted) throw error;
      this.options.log.debug({ node: node.uuid, err: error }, "a comparison ended early");
      return null;
    }
  }

  /** Answers whether there was anything for repair to do. Read-only nodes that lack a key are none of it. */
  private queueAll(
    pass: Pass,
    lacking: ReadonlyMap<Key, { readonly nodes: number; readonly writeable: boolean }>,
    nodes: number,
  ): boolean {
    let wanted = false;
    for (const [key, by] of lacking) {
      if (!by.writeable) continue;
      wanted = true;
      pass.missing += by.nodes;
      this.options.queue.add(key, nodes - by.nodes);
    }
    return wanted;
  }

  /** Answers whether all of them were taken: they are this node's to trim now, and need not be offered again. */
  private async offerSurplus(part: Part, signal: AbortSignal): Promise<boolean> {
    let all = true;
    await eachPage(this.options.own, part.range, signal, (keys) => {
      for (const key of keys) all = this.options.onSurplus(key) && all;
      return all;
    });
    return all;
  }
}

/** Exported for its test: neighbouring segments with the same nodes to compare with are one part. */
export function partsOf(view: ClusterView): Part[] {
  const parts: Part[] = [];
  let last = "";
  for (const { range, order } of orderedRanges(view.repairSegments())) {
    const nodes = order.flatMap((uuid) => view.node(uuid) ?? []);
    const part = partOf(range, nodes, view);
    const named = part.peers.map((node) => `${node.uuid}${part.owners.has(node) ? "+" : ""}`).sort();
    const shape = [part.isOwner, part.maybeSurplus, ...named].join(" ");
    const before = parts.at(-1);
    if (before && shape === last && before.range.to === range.from) {
      parts[parts.length - 1] = { ...before, range: { from: before.range.from, to: range.to } };
    } else parts.push(part);
    last = shape;
  }
  return parts;
}

/** Segments as ranges that don't wrap, in order. Views come and go; most of them have the same ring. */
function orderedRanges(segments: readonly Segment[]): readonly OrderedRange[] {
  const known = rangesOfRings.get(segments);
  if (known) return known;
  const ranges = segments
    .flatMap(({ from, to, order }) => rangesOf(from, to).map((range) => ({ range, order })))
    .sort((a, b) => (a.range.from < b.range.from ? -1 : 1));
  rangesOfRings.set(segments, ranges);
  return ranges;
}

function partOf(range: KeyRange, order: readonly ViewNode[], view: ClusterView): Part {
  const owners = ownersOf(order, view.replication);
  const isOwner = owners.some((node) => node.uuid === view.self);
  const place = order.findIndex((node) => node.uuid === view.self);
  const before = order.slice(0, Math.max(0, place)).filter((node) => node.live && !node.draining);
  const maybeSurplus = before.length >= view.maxReplication;
  const compared = isOwner ? owners : [...new Set([...owners, ...before.slice(0, view.maxReplication + 2)])];
  const peers = compared.filter((node) => node.uuid !== view.self && node.live && !node.peer.isGo);
  return { range, peers, owners: new Set(owners), isOwner, maybeSurplus };
}

function nameOf({ count, sum }: KeyDigest): string {
  return `${count} ${sum}`;
}
