import type { Key } from "../core/key.ts";
import { type KeyDigest, type KeyRange, keyAfter, sameDigest, splitRange } from "../core/key-range.ts";
import {
  HAS_KEYS_MAX_COUNT,
  RECONCILE_FINDINGS_MAX_COUNT,
  RECONCILE_LEAF_KEYS_COUNT,
  RECONCILE_PARTS_COUNT,
} from "../core/limits.ts";
import type { Peer } from "../peer/peer.ts";

type Listed = Pick<Peer, "digests" | "keysIn">;

export interface Difference {
  /** Keys that this node holds and the peer does not, as their lists say. */
  readonly missingThere: Key[];
  /** Keys that the peer holds and this node does not. */
  missingHere: number;
  /** There is more: the bound was reached. */
  truncated: boolean;
}

/**
 * Finds the keys of a range that two nodes do not both hold: digests that differ are cut into parts and compared again, down to lists.
 * `ownDigest` and `peerDigest` are those of the range. Costs a few hundred bytes for each key that differs, whatever the number of keys.
 */
export async function compareKeys(
  range: KeyRange,
  digests: { readonly own: KeyDigest; readonly peer: KeyDigest },
  nodes: { readonly own: Listed; readonly peer: Listed },
  signal: AbortSignal,
): Promise<Difference> {
  const difference: Difference = { missingThere: [], missingHere: 0, truncated: false };
  await compare({ range, ...digests }, nodes, difference, signal);
  return difference;
}

interface Compared {
  readonly range: KeyRange;
  readonly own: KeyDigest;
  readonly peer: KeyDigest;
}

type Nodes = { readonly own: Listed; readonly peer: Listed };

async function compare(at: Compared, nodes: Nodes, found: Difference, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  if (sameDigest(at.own, at.peer) || found.truncated) return;
  if (at.own.count === 0) {
    found.missingHere += at.peer.count;
  } else if (at.peer.count === 0) {
    await eachPage(nodes.own, at.range, signal, (keys) => note(keys, found));
  } else if (Math.max(at.own.count, at.peer.count) <= RECONCILE_LEAF_KEYS_COUNT) {
    await compareLists(at.range, nodes, found, signal);
  } else {
    const ranges = splitRange(at.range, RECONCILE_PARTS_COUNT);
    const [own, peer] = await Promise.all([nodes.own.digests(ranges, signal), nodes.peer.digests(ranges, signal)]);
    for (const [i, range] of ranges.entries()) {
      await compare({ range, own: own[i] as KeyDigest, peer: peer[i] as KeyDigest }, nodes, found, signal);
    }
  }
}

async function compareLists(range: KeyRange, nodes: Nodes, found: Difference, signal: AbortSignal): Promise<void> {
  const [own, theirs] = [new Set<Key>(), new Set<Key>()];
  const into = (set: Set<Key>) => (keys: readonly Key[]) => {
    for (const key of keys) set.add(key);
    return true;
  };
  await Promise.all([eachPage(nodes.own, range, signal, into(own)), eachPage(nodes.peer, range, signal, into(theirs))]);
  note(
    [...own].filter((key) => !theirs.has(key)),
    found,
  );
  for (const key of theirs) if (!own.has(key)) found.missingHere++;
}

/** Answers whether there is room for more. */
function note(keys: readonly Key[], found: Difference): boolean {
  for (const key of keys) {
    if (found.missingThere.length >= RECONCILE_FINDINGS_MAX_COUNT) {
      found.truncated = true;
      return false;
    }
    found.missingThere.push(key);
  }
  return true;
}

/** Keys of a range, page by page, until `take` answers that it wants no more. */
export async function eachPage(
  node: Pick<Peer, "keysIn">,
  range: KeyRange,
  signal: AbortSignal,
  take: (keys: readonly Key[]) => boolean,
): Promise<void> {
  let from: Key | undefined = range.from;
  while (from !== undefined) {
    const { keys, more } = await node.keysIn({ from, to: range.to }, signal);
    const last = keys.at(-1);
    if (!take(keys) || !more || last === undefined) return;
    from = keyAfter(last);
  }
}

/**
 * Which of this node's keys in a range (the first so many of them) a peer lacks, by asking for each of them: where the peer holds many others, so that digests would
 * differ everywhere.
 */
export async function lackingOf(
  range: KeyRange,
  own: Listed,
  peer: Pick<Peer, "has">,
  signal: AbortSignal,
): Promise<Difference> {
  const found: Difference = { missingThere: [], missingHere: 0, truncated: false };
  const all: Key[] = [];
  await eachPage(own, range, signal, (keys) => {
    all.push(...keys);
    return all.length < RECONCILE_FINDINGS_MAX_COUNT;
  });
  found.truncated = all.length >= RECONCILE_FINDINGS_MAX_COUNT;
  for (const keys of inParts(all, HAS_KEYS_MAX_COUNT)) {
    const holdings = await peer.has(keys, signal);
    const missing = keys.filter((_, i) => holdings[i]?.state !== "present");
    if (!note(missing, found)) break;
  }
  return found;
}

function inParts<T>(list: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(list.length / size) }, (_, i) => list.slice(i * size, (i + 1) * size));
}
