import { readFileSync } from "node:fs";
import { Awareness } from "../../src/gossip/awareness.ts";
import { BroadcastQueue } from "../../src/gossip/broadcast-queue.ts";
import {
  confirmationsWanted,
  pushPullScaleMs,
  retransmitLimit,
  suspicionMs,
  suspicionTimeoutMs,
} from "../../src/gossip/formulas.ts";
import { PROFILES } from "../../src/gossip/profile.ts";

const { functions } = JSON.parse(readFileSync(new URL("../fixtures/memberlist.json", import.meta.url), "utf8"));

describe("as Go's own functions compute", () => {
  test("the least time of a suspicion", () => {
    const all = functions.suspicionTimeout as { mult: number; n: number; intervalMs: number; timeoutMs: number }[];
    expect(all.map(({ mult, n, intervalMs }) => suspicionTimeoutMs(mult, n, intervalMs))).toEqual(
      all.map(({ timeoutMs }) => timeoutMs),
    );
    expect(all.length).toBeGreaterThan(40);
  });

  test("the time left of a suspicion", () => {
    interface Case {
      n: number;
      k: number;
      elapsedMs: number;
      minMs: number;
      maxMs: number;
      remainingMs: number;
    }
    const all = functions.remainingSuspicionTime as Case[];
    const left = ({ n, k, elapsedMs, minMs, maxMs }: Case) =>
      suspicionMs({ confirmations: n, wanted: k, minMs, maxMs }) - elapsedMs;
    expect(all.map(left)).toEqual(all.map(({ remainingMs }) => remainingMs));
    expect(all.length).toBeGreaterThan(10);
  });

  test("how often a broadcast is sent", () => {
    const all = functions.retransmitLimit as { mult: number; n: number; limit: number }[];
    expect(all.map(({ mult, n }) => retransmitLimit(mult, n))).toEqual(all.map(({ limit }) => limit));
    expect(all.length).toBeGreaterThan(30);
  });

  test("how rare push/pulls get", () => {
    const all = functions.pushPullScale as { intervalMs: number; n: number; scaledMs: number }[];
    expect(all.map(({ intervalMs, n }) => pushPullScaleMs(intervalMs, n))).toEqual(all.map(({ scaledMs }) => scaledMs));
    expect(all.length).toBeGreaterThan(10);
  });

  test("awareness", () => {
    const { max, steps } = functions.awareness as {
      max: number;
      steps: { delta: number; score: number; scaled1000Ms: number }[];
    };
    const awareness = new Awareness(max);
    for (const { delta, score, scaled1000Ms } of steps) {
      awareness.apply(delta);
      expect({ score: awareness.score, scaled1000Ms: awareness.scale(1_000) }).toEqual({ score, scaled1000Ms });
    }
  });

  test("the broadcast queue", () => {
    interface Step {
      do: "queue" | "get";
      node: string;
      marked?: string;
      bytes: number;
      limit: number;
      overhead: number;
      got: string[] | null;
      queuedAfter: number;
    }
    const { retransmitMult, numNodes, retransmitLimit: sendsMax, steps } = functions.broadcastQueue;
    expect(retransmitLimit(retransmitMult, numNodes)).toBe(sendsMax);
    const queue = new BroadcastQueue(100);
    for (const step of steps as Step[]) {
      if (step.do === "queue") {
        queue.add(step.node, Buffer.alloc(step.bytes, step.marked ?? step.node));
        continue;
      }
      const taken = queue.take({ bytes: step.limit, overheadBytes: step.overhead, maxCount: 255, sendsMax });
      expect(taken.map((bytes) => String.fromCharCode(bytes[0] as number))).toEqual(step.got ?? []);
      expect(queue.size).toBe(step.queuedAfter);
    }
  });

  test("the three profiles", () => {
    for (const [name, profile] of Object.entries(PROFILES)) {
      const go = functions.defaults[name];
      expect(profile).toEqual({
        probeIntervalMs: go.ProbeIntervalMs,
        probeTimeoutMs: go.ProbeTimeoutMs,
        gossipIntervalMs: go.GossipIntervalMs,
        gossipNodesCount: go.GossipNodes,
        gossipToTheDeadMs: go.GossipToTheDeadTimeMs,
        pushPullIntervalMs: go.PushPullIntervalMs,
        tcpTimeoutMs: go.TCPTimeoutMs,
        indirectChecksCount: go.IndirectChecks,
        retransmitMult: go.RetransmitMult,
        suspicionMult: go.SuspicionMult,
        suspicionMaxTimeoutMult: go.SuspicionMaxTimeoutMult,
        awarenessMaxMultiplier: go.AwarenessMaxMultiplier,
      });
    }
  });
});

test.each([
  [4, 5, 2],
  [4, 4, 2],
  [4, 3, 0],
  [3, 3, 1],
  [3, 2, 0],
  [6, 6, 4],
  [6, 5, 0],
  [2, 10, 0],
])("with a multiplier of %i and %i members %i confirmations are wanted", (mult, n, wanted) => {
  expect(confirmationsWanted(mult, n)).toBe(wanted);
});
