import type { Key } from "../core/key.ts";
import type { Peer } from "../peer/peer.ts";
import type { Placement } from "../placement/placement.ts";

/** One node in a view. `live`: on the ring (alive or suspect); the others are known, and may hold copies. */
export interface ViewNode {
  readonly uuid: string;
  readonly baseUrl: string;
  readonly peer: Peer;
  readonly writeable: boolean;
  readonly live: boolean;
  readonly suspect: boolean;
}

export interface ClusterViewOptions {
  readonly self: string;
  readonly nodes: readonly ViewNode[];
  readonly placement: Placement;
  /** Copies that a write must make. */
  readonly replication: number;
  /** The lowest replication that a member uses: an acknowledged blob had at least that many copies. */
  readonly lowestReplication: number;
  /** False while the node has neighbors to meet and has met none. */
  readonly joined: boolean;
}

/**
 * The cluster at one moment, never changed afterwards: what the blob code sees of it.
 * A new one is made for each change; a request keeps the one that it began with.
 */
export class ClusterView {
  readonly self: string;
  readonly nodes: readonly ViewNode[];
  readonly replication: number;
  readonly lowestReplication: number;
  readonly joined: boolean;
  private readonly placement: Placement;
  private readonly byUuid: ReadonlyMap<string, ViewNode>;

  constructor(options: ClusterViewOptions) {
    this.self = options.self;
    this.nodes = options.nodes;
    this.placement = options.placement;
    this.replication = options.replication;
    this.lowestReplication = options.lowestReplication;
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

  node(uuid: string): ViewNode | undefined {
    return this.byUuid.get(uuid);
  }

  get ownNode(): ViewNode {
    return this.byUuid.get(this.self) as ViewNode;
  }
}
