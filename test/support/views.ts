import { ClusterView, type ViewNode } from "../../src/cluster/cluster-view.ts";
import type { Peer } from "../../src/peer/peer.ts";

export interface ViewOptions {
  readonly peers: readonly Peer[];
  readonly replication?: number;
  readonly lowestReplication?: number;
  readonly joined?: boolean;
  readonly readOnly?: readonly string[];
  readonly suspect?: readonly string[];
  readonly dead?: readonly string[];
}

/** A view of the given peers, the first of which is this node. Every key prefers them in the order given. */
export function viewOf(options: ViewOptions): ClusterView {
  const { peers, replication = 2, joined = true, readOnly = [], suspect = [], dead = [] } = options;
  const nodes = peers.map((peer): ViewNode => {
    const live = !dead.includes(peer.uuid);
    return {
      uuid: peer.uuid,
      baseUrl: `http://${peer.uuid}`,
      peer,
      writeable: live && !readOnly.includes(peer.uuid),
      live,
      suspect: suspect.includes(peer.uuid),
    };
  });
  const order = nodes.filter((node) => node.live).map((node) => node.uuid);
  return new ClusterView({
    self: (peers[0] as Peer).uuid,
    nodes,
    placement: { order: () => order, segments: () => [] },
    replication,
    lowestReplication: options.lowestReplication ?? replication,
    joined,
  });
}
