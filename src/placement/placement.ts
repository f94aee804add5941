import type { Key } from "../core/key.ts";

/** What placement must know of a node. `points`: how many points it has on the ring (its weight). */
export interface PlacedNode {
  readonly uuid: string;
  readonly points: number;
}

/**
 * The keys from `from` (included) to `to` (excluded), in hexadecimal, which share one order. `from` >= `to`: it wraps round the ring.
 * (A key equal to a point belongs to the next one, so a point is the begin of a segment, not its end.)
 */
export interface Segment {
  readonly from: string;
  readonly to: string;
  readonly order: readonly string[];
}

/** Who should hold a key, as a pure function of the key and the list of nodes. */
export interface Placement {
  /** The UUIDs of all nodes, in the order in which this key prefers them. */
  order(key: Key): readonly string[];
  segments(): readonly Segment[];
}
