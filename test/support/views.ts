import { ClusterView, type ViewNode } from "../../src/cluster/cluster-view.ts";
import type { Peer } from "../../src/peer/peer.ts";
import type { Segment } from "../../src/placement/placement.ts";

export interface ViewOptions {
  readonly peers: readonly Peer[];
  /** The first of them, if nobody is named. */
  readonly self?: string;
  readonly replication?: number;
  readonly lowestReplication?: number;
  readonly joined?: boolean;
  readonly readOnly?: readonly string[];
  readonly suspect?: readonly string[];
  readonly dead?: readonly string[];
  /** Dead, but not for long. */
  readonly awaited?: readonly string[];
  readonly draining?: readonly string[];
  /** With a replaced disk, of which they don't know. */
  readonly unaware?: readonly string[];
  /** Whose disk is remembered. */
  readonly knownStores?: Readonly<Record<string, string>>;
  readonly maxReplication?: number;
  readonly stableSinceMs?: number;
  readonly disagreements?: readonly string[];
  readonly segments?: readonly Segment[];
}

/** A view of the given peers. Every key prefers them in the order given. */
export function viewOf(options: ViewOptions): ClusterView {
  const { peers, replication = 2, joined = true, readOnly = [], suspect = [], dead = [] } = options;
  const { awaited = [], draining = [], unaware = [], knownStores = {}, segments = [] } = options;
  const nodes = peers.map((peer): ViewNode => {
    const live = !dead.includes(peer.uuid) && !awaited.includes(peer.uuid);
    return {
      uuid: peer.uuid,
      baseUrl: `http://${peer.uuid}`,
      peer,
      writeable: live && !readOnly.includes(peer.uuid) && !draining.includes(peer.uuid),
      live,
      suspect: suspect.includes(peer.uuid),
      awaited: awaited.includes(peer.uuid),
      unaware: unaware.includes(peer.uuid),
      knownStore: knownStores[peer.uuid] ?? "",
      draining: draining.includes(peer.uuid),
    };
  });
  const order = nodes.filter((node) => node.live).map((node) => node.uuid);
  const repairOrder = nodes.filter((node) => node.live || node.awaited).map((node) => node.uuid);
  return new ClusterView({
    self: options.self ?? (peers[0] as Peer).uuid,
    nodes,
    placement: { order: () => order, segments: () => [] },
    repairPlacement: { order: () => repairOrder, segments: () => segments },
    maxReplication: options.maxReplication ?? replication + 1,
    ringDigest: `ring of ${order.join(" ")}`,
    stableSinceMs: options.stableSinceMs ?? 0,
    disagreements: options.disagreements ?? [],
    replication,
    lowestReplication: options.lowestReplication ?? replication,
    joined,
  });
}
