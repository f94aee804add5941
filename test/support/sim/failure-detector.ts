import { INTRODUCTION_RETRY_MS } from "../../../src/core/limits.ts";
import type { Random } from "../../../src/core/random.ts";
import type { Announcement } from "../../../src/peer/protocol.ts";
import type { NodeRun } from "./node-run.ts";
import type { SimCluster } from "./sim-cluster.ts";

export interface Detector {
  /** To be called twice a second. */
  tick(): void;
}

interface Seen {
  heardMs: number;
  state: "alive" | "suspect" | "dead";
  told: string;
  /** It has been asked over HTTP what it knows of this node; when it last was, if it did not answer. */
  introduced: boolean;
  askedMs: number;
  announcement: Announcement;
}

/** What a node says of itself; `told`: what of it is news when it is another. */
interface Told {
  readonly announcement: Announcement;
  readonly told: string;
}

/**
 * Stands in for gossip, and is worse: each node makes up its own mind about each other one, at its own time, from whether messages pass between
 * them, and nobody tells anybody. So views differ longer than gossip would let them. (Gossip has a simulator of its own.)
 */
export function watchEachOther(cluster: SimCluster, random: Random): Detector {
  const views = new WeakMap<NodeRun, Map<string, Seen>>();
  const seenBy = (run: NodeRun) => {
    const known = views.get(run) ?? new Map<string, Seen>();
    views.set(run, known);
    return known;
  };
  const observe = (run: NodeRun, announcement: Announcement, state: Seen["state"]) => {
    cluster.say(`${run.uuid} sees ${announcement.uuid} ${state}`);
    run.cluster.observed(announcement, state).catch(() => undefined);
  };

  function hear(run: NodeRun, other: NodeRun, { announcement, told }: Told): void {
    const seen = seenBy(run);
    const before = seen.get(other.url);
    if (before && before.state === "alive" && before.told === told) {
      before.heardMs = cluster.time.nowMs;
      introduce(run, other, before);
      return;
    }
    const isSame = before?.announcement.start_nonce === announcement.start_nonce;
    const known = isSame ? before : { introduced: false, askedMs: Number.NEGATIVE_INFINITY };
    const { introduced, askedMs } = known;
    const now: Seen = { heardMs: cluster.time.nowMs, state: "alive", told, announcement, introduced, askedMs };
    seen.set(other.url, now);
    observe(run, announcement, "alive");
    introduce(run, other, now);
  }

  /** As production does when gossip shows a new member, until it answers. */
  function introduce(run: NodeRun, other: NodeRun, seen: Seen): void {
    if (seen.introduced || cluster.time.nowMs - seen.askedMs < INTRODUCTION_RETRY_MS) return;
    seen.askedMs = cluster.time.nowMs;
    void run.meet(other.url).then((answered) => {
      seen.introduced ||= answered;
    });
  }

  function miss(run: NodeRun, url: string): void {
    const seen = seenBy(run).get(url);
    if (!seen || seen.state === "dead") return;
    const silentMs = cluster.time.nowMs - seen.heardMs;
    const state = silentMs > 5_000 && random.next() < 0.2 ? "dead" : silentMs > 2_000 ? "suspect" : seen.state;
    if (state === seen.state) return;
    seen.state = state;
    cluster.count(`seen ${state}`);
    observe(run, seen.announcement, state);
  }

  /** Gossip tells a node that somebody else has its name, as long as it goes on: the two settle it between them (gossip-members.ts, `twice`). */
  function hearOfTwins(): void {
    for (const twin of cluster.livingTwins()) {
      const other = cluster.hosts.find(({ uuid }) => uuid === twin.uuid)?.run;
      if (!other?.ready || other.clock.isFrozen || random.next() > 0.2) continue;
      other.heartbeat.meet(twin.url).catch(() => undefined); // what it throws is the conflict that it found
    }
  }

  return {
    tick() {
      const { network } = cluster;
      hearOfTwins();
      const telling = new Map<NodeRun, Told>();
      for (const { run } of cluster.hosts) {
        if (!run?.ready || run.clock.isFrozen) continue;
        for (const other of cluster.hosts) {
          if (other.run === run) continue;
          const target = other.run;
          const passes = network.isOpen(run.url, other.url) && network.isOpen(other.url, run.url);
          const answers = target?.ready && !target.clock.isFrozen && random.next() >= network.faults.loss;
          if (passes && answers) {
            if (random.next() >= 0.8) continue;
            const told = telling.get(target) ?? toldBy(target);
            telling.set(target, told);
            hear(run, target, told);
          } else miss(run, other.url);
        }
      }
    },
  };
}

function toldBy(run: NodeRun): Told {
  const announcement = run.cluster.announcement();
  return { announcement, told: JSON.stringify({ ...announcement, neighbors: [], free_bytes: null }) };
}
