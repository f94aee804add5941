import { hash } from "node:crypto";
import type { Key } from "../core/key.ts";
import type { Peer } from "../peer/peer.ts";
import type { Placement, Segment } from "../placement/placement.ts";

/**
 * One node in a view. `live`: on the ring (alive or suspect); the others are known, and may hold copies. `awaited`: gone for less than
 * CASK_REPAIR_GRACE, so that its copies are not made anew yet. `draining`: being emptied; its copies serve, but don't count. `unaware`: its disk
 * was replaced, and it does not know that yet: what it lacks says nothing.
 */
export interface ViewNode {
  readonly uuid: string;
  readonly baseUrl: string;
  readonly peer: Peer;
  readonly writeable: boolean;
  readonly live: boolean;
  readonly suspect: boolean;
  readonly awaited: boolean;
  readonly draining: boolean;
  readonly unaware: boolean;
  /** Of the disk that it had, whole, when it was met last; empty: not known. */
  readonly knownStore: string;
}

export interface ClusterViewOptions {
  readonly self: string;
  readonly nodes: readonly ViewNode[];
  readonly placement: Placement;
  /** Of the live and the awaited nodes: what repair goes by. */
  readonly repairPlacement: Placement;
  /** Copies that a write must make. */
  readonly replication: number;
  /** The lowest replication that a member uses: an acknowledged blob had at least that many copies. */
  readonly lowestReplication: number;
  /** Copies beyond these are surplus. */
  readonly maxReplication: number;
  /** The same on nodes that see the same nodes, with the same points, on the ring. */
  readonly ringDigest: string;
  /** Since when the ring and the settings of its nodes are as they are, by the monotonic clock. */
  readonly stableSinceMs: number;
  /** Settings of other nodes that do not fit to this one's, a line each: nothing is trimmed while there are any. */
  readonly disagreements: readonly string[];
  /** False while the node has neighbors to meet and has met none. */
  readonly joined: boolean;
}

const MEMBERS_DIGEST_CHARS = 16;

/**
 * The cluster at one moment, never changed afterwards: what the blob code sees of it.
 * A new one is made for each change; a request keeps the one that it began with.
 */
export class ClusterView {
  readonly self: string;
  readonly nodes: readonly ViewNode[];
  readonly replication: number;
  readonly lowestReplication: number;
  readonly maxReplication: number;
  readonly ringDigest: string;
  readonly stableSinceMs: number;
  readonly disagreements: readonly string[];
  readonly joined: boolean;
  private readonly placement: Placement;
  private readonly repairPlacement: Placement;
  private readonly byUuid: ReadonlyMap<string, ViewNode>;
  private digest: string | undefined;

  constructor(options: ClusterViewOptions) {
    this.self = options.self;
    this.nodes = options.nodes;
    this.placement = options.placement;
    this.repairPlacement = options.repairPlacement;
    this.replication = options.replication;
    this.lowestReplication = options.lowestReplication;
    this.maxReplication = options.maxReplication;
    this.ringDigest = options.ringDigest;
    this.stableSinceMs = options.stableSinceMs;
    this.disagreements = options.disagreements;
    this.joined = options.joined;
    this.byUuid = new Map(options.nodes.map((node) => [node.uuid, node]));
  }

  /** The live nodes in the order in which the key prefers them. */
  order(key: Key): ViewNode[] {
    return this.placement.order(key).map((uuid) => this.byUuid.get(uuid) as ViewNode);
  }

  /** Who takes new copies of a key: writeable nodes in order, suspects last, so that a write does not wait for them first. */
  writeOrder(key: Key): ViewNode[] {
    const writeable = this.order(key).filter((node) => node.writeable);
    return [...writeable.filter((node) => !node.suspect), ...writeable.filter((node) => node.suspect)];
  }

  /** Should this node hold the key? */
  isOwner(key: Key): boolean {
    return this.order(key)
      .filter((node) => node.writeable)
      .slice(0, this.replication)
      .some((node) => node.uuid === this.self);
  }

  /** As `order`, with those that are awaited in their old places. */
  repairOrder(key: Key): ViewNode[] {
    return this.repairPlacement.order(key).map((uuid) => this.byUuid.get(uuid) as ViewNode);
  }

  /** The parts of the ring in which all keys share one repair order. */
  repairSegments(): readonly Segment[] {
    return this.repairPlacement.segments();
  }

  node(uuid: string): ViewNode | undefined {
    return this.byUuid.get(uuid);
  }

  /** The same on nodes that know the same members, dead or alive. */
  get membersDigest(): string {
    this.digest ??= hash("sha1", [...this.byUuid.keys()].sort().join("\n")).slice(0, MEMBERS_DIGEST_CHARS);
    return this.digest;
  }

  get ownNode(): ViewNode {
    return this.byUuid.get(this.self) as ViewNode;
  }
}
