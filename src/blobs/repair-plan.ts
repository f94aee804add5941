import type { ViewNode } from "../cluster/cluster-view.ts";
import type { Holding } from "../peer/peer.ts";

export interface RepairSituation {
  /** Live and awaited nodes, in the order of the key. */
  readonly order: readonly ViewNode[];
  readonly self: string;
  /** What was said, by UUID. A node that was not asked, or did not answer, is not in it. */
  readonly holdings: ReadonlyMap<string, Holding>;
  readonly replication: number;
  readonly maxReplication: number;
}

export interface RepairPlan {
  /** Writeable owners that lack a copy (this node may be one of them: it fetches). */
  readonly lacking: readonly ViewNode[];
  /** Live nodes that said that they have it, those that drain included. */
  readonly holders: readonly ViewNode[];
  /** This node's own copy is surplus. */
  readonly surplus: boolean;
  /** An owner did not answer: to be looked at again. */
  readonly unsure: boolean;
}

/**
 * Who should get a copy: walk the order; a holder counts, read-only or not; a writeable node without a copy gets one; stop at
 * `replication`. Nodes that drain are passed over. One that is awaited counts, unless copies of the key are known to be lost and one is left.
 */
export function planRepair(situation: RepairSituation): RepairPlan {
  const { order, self, maxReplication } = situation;
  const holders = order.filter((node) => holds(situation, node));
  const counting = holders.filter((node) => !node.draining);
  let walk = walkOwners(situation, true);
  if (counting.length <= 1 && walk.lacking.length > 0) walk = walkOwners(situation, false);
  const ownPlace = order.findIndex((node) => node.uuid === self);
  const before = counting.filter((node) => order.indexOf(node) < ownPlace);
  const surplus = holders.some((node) => node.uuid === self) && before.length >= maxReplication;
  return { lacking: walk.lacking, holders, surplus, unsure: walk.unsure };
}

/**
 * The nodes whose answers decide who gets a copy: up to and including the `replication`-th one that could take it. Both sides of a
 * reconciliation find the same ones.
 */
export function ownersOf(order: readonly ViewNode[], replication: number): ViewNode[] {
  const owners: ViewNode[] = [];
  let able = 0;
  for (const node of order) {
    if (able >= replication) break;
    if (node.draining) continue;
    owners.push(node);
    if (node.writeable || node.awaited) able++;
  }
  return owners;
}

function walkOwners(situation: RepairSituation, awaitedCount: boolean): { lacking: ViewNode[]; unsure: boolean } {
  const { order, replication, holdings } = situation;
  const lacking: ViewNode[] = [];
  let counted = 0;
  let unsure = false;
  for (const node of order) {
    if (counted >= replication) break;
    if (node.draining) continue;
    if (node.awaited) {
      if (awaitedCount) counted++;
      continue;
    }
    if (holds(situation, node)) counted++;
    else if (lacks(holdings.get(node.uuid))) {
      if (!node.writeable) continue;
      lacking.push(node);
      counted++;
    } else {
      unsure = true;
      // Alive, and silent for once: it is asked again before a copy more is made. One that says that it can't tell is passed over.
      if (!holdings.has(node.uuid) && node.writeable) counted++;
    }
  }
  return { lacking, unsure };
}

function holds({ holdings }: RepairSituation, node: ViewNode): boolean {
  return node.live && holdings.get(node.uuid)?.state === "present";
}

function lacks(holding: Holding | undefined): boolean {
  return holding?.state === "absent" || (holding?.state === "unknown" && holding.lacking === true);
}
