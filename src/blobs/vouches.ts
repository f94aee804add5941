import type { ClusterView, ViewNode } from "../cluster/cluster-view.ts";
import type { Clock } from "../core/clock.ts";
import type { Key } from "../core/key.ts";
import { linkedTo } from "../core/linked-signal.ts";
import type { Logger } from "../core/log.ts";
import { untilAborted } from "../core/until-aborted.ts";

export interface VouchesWanted {
  /** Whom to ask about which keys, at most VOUCH_KEYS_MAX_COUNT each. */
  readonly asks: ReadonlyMap<ViewNode, readonly Key[]>;
  readonly sizes: ReadonlyMap<Key, number>;
  /** Of this marking. */
  readonly nonce: string;
  readonly view: ClusterView;
  /** When the asking ends, whoever has answered. */
  readonly deadlineMs: number;
  readonly clock: Clock;
  readonly log: Logger;
  readonly signal: AbortSignal;
}

/** The stores that vouch for each key. Who refuses, fails or is late is not among them. Rejects by the signal only. */
export async function askForVouches(wanted: VouchesWanted): Promise<Map<Key, Set<string>>> {
  const { asks, sizes, nonce, view, clock, log, signal } = wanted;
  const stores = new Map<Key, Set<string>>();
  const { controller, unlink } = linkedTo(signal);
  const cancel = clock.timer(wanted.deadlineMs, () => controller.abort(new Error("no vouch in time")));
  const both = controller.signal;
  const ask = async (node: ViewNode, keys: readonly Key[]) => {
    const { replication, maxReplication, ringDigest: ring } = view;
    const bytes = keys.reduce((sum, key) => sum + (sizes.get(key) ?? 0), 0);
    const request = { nonce, replication, maxReplication, ring, keys };
    const vouches = await untilAborted(node.peer.vouch(request, bytes, both), both);
    for (const [i, key] of keys.entries()) {
      const vouch = vouches[i];
      if (vouch?.vouched) stores.set(key, (stores.get(key) ?? new Set()).add(vouch.store));
      else log.debug({ key, node: node.uuid }, `no vouch: ${vouch?.reason ?? "no answer"}`);
    }
  };
  try {
    await Promise.all(
      [...asks].map(([node, keys]) =>
        ask(node, keys).catch((error: unknown) => log.debug({ node: node.uuid, err: error }, "no vouches")),
      ),
    );
  } finally {
    cancel();
    unlink();
  }
  signal.throwIfAborted();
  return stores;
}
