import { hash } from "node:crypto";
import { hexOf, type Key } from "../core/key.ts";
import type { PlacedNode, Placement, Segment } from "./placement.ts";

interface Point {
  readonly hex: string;
  readonly uuid: string;
}

/**
 * Cask's ring: node points are hex(sha1(uuid + i)), a key is its own position, the first point strictly greater leads (none: the lowest),
 * then once round, each node where it is first met. Nodes decide nothing: the ring follows from their list alone.
 */
export class Ring implements Placement {
  private readonly points: readonly Point[];
  private readonly hexes: readonly string[];
  private readonly nodeCount: number;
  private readonly orders: Array<readonly string[] | undefined>;
  private cut: readonly Segment[] | undefined;

  constructor(nodes: readonly PlacedNode[]) {
    this.points = nodes.flatMap(pointsOf).sort(byPosition);
    this.hexes = this.points.map((point) => point.hex);
    this.nodeCount = new Set(nodes.map((node) => node.uuid)).size;
    this.orders = new Array(this.points.length);
  }

  order(key: Key): readonly string[] {
    if (this.points.length === 0) return [];
    return this.orderFrom(this.firstAfter(hexOf(key)));
  }

  segments(): readonly Segment[] {
    this.cut ??= this.points.flatMap((point, i) => {
      const before = this.points[(i || this.points.length) - 1] as Point;
      if (i > 0 && before.hex === point.hex) return []; // no key lies between equal points
      // A key equal to a point belongs to the next one: the segment that begins at `before` holds it.
      return [{ from: before.hex, to: point.hex, order: this.orderFrom(i) }];
    });
    return this.cut;
  }

  /** Index of the first point strictly greater than the position; 0 when there is none. */
  private firstAfter(hex: string): number {
    let low = 0;
    let high = this.hexes.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.hexes[middle] as string) > hex) high = middle;
      else low = middle + 1;
    }
    return low === this.hexes.length ? 0 : low;
  }

  /** Computed once for each segment, when it is first asked for. */
  private orderFrom(index: number): readonly string[] {
    const known = this.orders[index];
    if (known) return known;
    const order = new Set<string>();
    for (let i = 0; i < this.points.length && order.size < this.nodeCount; i++) {
      order.add((this.points[(index + i) % this.points.length] as Point).uuid);
    }
    const list = [...order];
    this.orders[index] = list;
    return list;
  }
}

function pointsOf({ uuid, points }: PlacedNode): Point[] {
  return Array.from({ length: points }, (_, i) => ({
    hex: hash("sha1", `${uuid}${i}`),
    uuid,
  }));
}

/** Equal points (a SHA-1 collision, or names like "n" + "10" and "n1" + "0") go by UUID, so that all nodes agree. */
function byPosition(a: Point, b: Point): number {
  if (a.hex !== b.hex) return a.hex < b.hex ? -1 : 1;
  if (a.uuid === b.uuid) return 0;
  return a.uuid < b.uuid ? -1 : 1;
}
