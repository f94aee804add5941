import type { ClusterView, ViewNode } from "../cluster/cluster-view.ts";
import type { Clock } from "../core/clock.ts";
import { messageOf } from "../core/errors.ts";
import { Gate } from "../core/gate.ts";
import type { Key } from "../core/key.ts";
import { MEMBERS_MAX_COUNT, SEARCH_AT_ONCE_COUNT, SEARCH_TIMEOUT_MS } from "../core/limits.ts";
import { linkedTo } from "../core/linked-signal.ts";
import { untilAborted } from "../core/until-aborted.ts";
import type { Holding } from "../peer/peer.ts";

/** What one member said about one key. */
export interface Finding {
  readonly node: ViewNode;
  readonly holding: Holding;
}

export type SearchResult =
  | { readonly found: true; readonly holders: readonly Finding[] }
  /** `certain`: so many members answered "absent", and none that it was stored, that an acknowledged blob would have shown up. */
  | { readonly found: false; readonly certain: boolean; readonly unsure: readonly string[] };

/** Asks every member ever met about a key, all at once, each within SEARCH_TIMEOUT_MS. Never rejects but by `signal`. */
export async function askEverybody(
  key: Key,
  view: ClusterView,
  clock: Clock,
  signal?: AbortSignal,
): Promise<Finding[]> {
  const gate = new Gate("search", SEARCH_AT_ONCE_COUNT, MEMBERS_MAX_COUNT + 1);
  const { controller, unlink } = linkedTo(signal);
  const cancel = clock.timer(SEARCH_TIMEOUT_MS, () => controller.abort(new Error("no answer in time")));
  const both = controller.signal;
  try {
    const ask = (node: ViewNode) =>
      gate.run(() => askOne(key, node, both), both).catch((error) => unknown(node, error));
    const findings = await Promise.all(view.nodes.map(ask));
    signal?.throwIfAborted();
    return findings;
  } finally {
    cancel();
    unlink();
  }
}

/** Turns the answers into one of present, absent, don't know. `unmet`: nodes that may know members which were not asked. */
export function judge(findings: readonly Finding[], view: ClusterView, unmet: readonly string[] = []): SearchResult {
  const holders = findings.filter(({ holding }) => holding.state === "present");
  if (holders.length > 0) return { found: true, holders: inOrder(holders, view) };
  const unsure = findings.flatMap(({ node, holding }) =>
    holding.state === "unknown" ? [`${node.baseUrl} (${holding.reason})`] : [],
  );
  // An acknowledged blob has at least that many copies: with fewer silent members one of the others would have it. Not when a copy is known to have
  // rotted or vanished: faults took one, and may have taken others unseen.
  const wasStored = findings.some(({ holding }) => holding.state === "unknown" && holding.wasStored);
  const certain = view.joined && !wasStored && unmet.length === 0 && unsure.length < view.lowestReplication;
  return { found: false, certain, unsure: [...unsure, ...unmet.map((url) => `${url} (knows other members)`)] };
}

async function askOne(key: Key, node: ViewNode, signal: AbortSignal): Promise<Finding> {
  const [holding] = await untilAborted(node.peer.has([key], signal), signal);
  if (holding?.state === "absent" && (node.unaware || isOfAnotherDisk(node, holding.store))) {
    return {
      node,
      holding: { state: "unknown", reason: "its disk was replaced, and it does not know that yet" },
    };
  }
  return { node, holding: holding ?? { state: "unknown", reason: "no answer" } };
}

/** It came back on another disk, and answers before the two have met again. */
function isOfAnotherDisk({ knownStore }: ViewNode, store: string | undefined): boolean {
  return knownStore !== "" && store !== undefined && store !== knownStore;
}

function unknown(node: ViewNode, error: unknown): Finding {
  const reason = messageOf(error);
  return { node, holding: { state: "unknown", reason } };
}

/** Own copy first, then alive nodes, then the others. */
function inOrder(holders: Finding[], view: ClusterView): Finding[] {
  const rank = ({ node }: Finding) => {
    if (node.uuid === view.self) return 0;
    if (node.live && !node.suspect) return 1;
    return node.live ? 2 : 3;
  };
  return [...holders].sort((a, b) => rank(a) - rank(b));
}
