import { hash } from "node:crypto";
import type { PlacedNode } from "./placement.ts";
import { Ring } from "./ring.ts";

/** The current ones, and those to which a node that comes back within CASK_REPAIR_GRACE leads back. */
const KEPT_COUNT = 4;

/** The rings of the latest lists of nodes. Most changes of a cluster (a node is suspected, full, drained) leave its ring as it was. */
export class Rings {
  private readonly kept = new Map<string, Ring>();

  /** `digest`: the same for the same nodes with the same points, in any order. */
  of(nodes: readonly PlacedNode[]): { readonly ring: Ring; readonly digest: string } {
    const digest = digestOf(nodes);
    const ring = this.kept.get(digest) ?? new Ring(nodes);
    this.kept.delete(digest); // to the end of the order
    this.kept.set(digest, ring);
    if (this.kept.size > KEPT_COUNT) this.kept.delete(this.kept.keys().next().value as string);
    return { ring, digest };
  }
}

function digestOf(nodes: readonly PlacedNode[]): string {
  const lines = nodes.map(({ uuid, points }) => `${uuid} ${points}`).sort();
  return hash("sha1", lines.join("\n"));
}
