import { GossipSimulator, type SimulatedNode } from "../support/gossip-simulator.ts";

const SEEDS = [1, 2, 3];
const MINUTE_MS = 60_000;

type Nodes = [SimulatedNode, SimulatedNode, SimulatedNode, SimulatedNode, SimulatedNode];
type Cut = (from: SimulatedNode, to: SimulatedNode) => boolean;

function cluster(seed: number) {
  const sim = new GossipSimulator({ seed, profile: "lan" });
  const nodes = sim.ready(5) as Nodes;
  sim.run(6_000);
  for (const node of nodes) sim.keepSeeds(node, nodes.slice(0, 3));
  return { sim, nodes };
}

/** Changes between living and not living, as one node sees them: what moves data. Suspicions don't. */
function flaps(sim: GossipSimulator, node: SimulatedNode, sinceMs: number): number {
  return sim.seen.filter(
    ({ by, atMs, event }) =>
      by === node.name &&
      atMs >= sinceMs &&
      (event.kind === "dead" || event.kind === "joined" || event.kind === "left"),
  ).length;
}

describe.each(SEEDS)("seed %i", (seed) => {
  const oneWay: Array<[string, (nodes: Nodes) => Cut]> = [
    [
      "one node is not heard by one other",
      ([a, b]) =>
        (from, to) =>
          from === a && to === b,
    ],
    [
      "two nodes do not reach each other",
      ([a, b]) =>
        (from, to) =>
          [from, to].every((n) => n === a || n === b),
    ],
    ["a ring: each reaches all but its next", (nodes) => (from, to) => nodes[(nodes.indexOf(from) + 1) % 5] === to],
  ];
  test.each(oneWay)("partial: %s: the others vouch, nobody is lost", (_name, cutOf) => {
    const { sim, nodes } = cluster(seed);
    sim.setCut(cutOf(nodes));
    const startMs = sim.nowMs;
    sim.run(10 * MINUTE_MS);
    for (const node of nodes) expect(flaps(sim, node, startMs)).toBeLessThanOrEqual(10);
    sim.heal();
    expect(sim.runUntil(() => sim.agreeOn(nodes), 2 * MINUTE_MS)).toBeLessThan(30_000);
  });

  test("a node that hears nobody, but is heard, flaps at most once a minute, and is back when it hears", () => {
    const { sim, nodes } = cluster(seed);
    const deaf = nodes[4];
    sim.setCut((_from, to) => to === deaf);
    const startMs = sim.nowMs;
    sim.run(10 * MINUTE_MS);
    for (const node of nodes.slice(0, 4)) expect(flaps(sim, node, startMs)).toBeLessThanOrEqual(10);
    sim.heal();
    expect(sim.runUntil(() => sim.agreeOn(nodes), 2 * MINUTE_MS)).toBeLessThan(30_000);
  });

  test("a node that nobody hears is dead for the others, and is back when it is heard", () => {
    const { sim, nodes } = cluster(seed);
    const mute = nodes[4];
    sim.setCut((from) => from === mute);
    const startMs = sim.nowMs;
    sim.run(5 * MINUTE_MS);
    for (const node of nodes.slice(0, 4)) {
      expect(node.swim.member(mute.name)?.state ?? "forgotten").not.toBe("alive");
      expect(flaps(sim, node, startMs)).toBeLessThanOrEqual(5);
    }
    sim.heal();
    expect(sim.runUntil(() => sim.agreeOn(nodes), 2 * MINUTE_MS)).toBeLessThan(30_000);
  });
});
