import { PROFILES, type ProfileName } from "../../src/gossip/profile.ts";
import { GossipSimulator, type SimulatedNode, type SimulatorOptions } from "../support/gossip-simulator.ts";

/** Another run of the same tests: other seeds. A failure says which. */
const SEEDS = [1, 2, 3];
const BOTH: ProfileName[] = ["lan", "local"];

interface Cluster {
  readonly sim: GossipSimulator;
  readonly nodes: SimulatedNode[];
}

function cluster(count: number, options: Partial<SimulatorOptions> & { seed: number }): Cluster {
  const sim = new GossipSimulator({ profile: "lan", ...options });
  const nodes = sim.ready(count);
  sim.run(6_000);
  return { sim, nodes };
}

const count = (sim: GossipSimulator, kind: string) => sim.seen.filter(({ event }) => event.kind === kind).length;
const pick = <T>(list: readonly T[], i: number): T => list[i % list.length] as T;

describe.each(SEEDS)("seed %i", (seed) => {
  test.each([3, 10, 50])("%i nodes that join one after the other know each other within 2 s", (size) => {
    const sim = new GossipSimulator({ seed, profile: "lan" });
    const nodes = sim.addMany(size);
    for (const [i, node] of nodes.entries()) if (i > 0) sim.join(node, pick(nodes, Math.floor(i / 2)));
    // Some asked one who knew nobody yet: the exchange after the join brings the rest.
    expect(sim.runUntil(() => sim.agreeOn(nodes), 30_000)).toBeLessThan(size === 50 ? 4_000 : 2_000);
    const late = sim.add();
    sim.join(late, pick(nodes, seed));
    expect(sim.runUntil(() => sim.agreeOn([...nodes, late]), 30_000)).toBeLessThan(2_000);
  });

  test.each(BOTH)("a death is seen by all, within what the formulas say (%s)", (profile) => {
    const { sim, nodes } = cluster(10, { seed, profile });
    const [victim, ...others] = nodes as [SimulatedNode, ...SimulatedNode[]];
    sim.kill(victim);
    const { suspicionMult, suspicionMaxTimeoutMult, probeIntervalMs } = PROFILES[profile];
    const ms = sim.runUntil(() => others.every(({ swim }) => swim.member(victim.name)?.state === "dead"), 120_000);
    expect(ms).toBeGreaterThan(suspicionMult * probeIntervalMs);
    // A round until it is probed at the latest, the probe, and the time of a suspicion.
    expect(ms).toBeLessThan((nodes.length + 1 + suspicionMult * suspicionMaxTimeoutMult) * probeIntervalMs);
    expect(ms).toBeLessThan(20_000);
    expect(
      new Set(
        sim.seen
          .filter(({ event }) => event.kind === "dead")
          .map(({ event }) => "member" in event && event.member.name),
      ),
    ).toEqual(new Set([victim.name]));
  });

  test.each([0, 0.1, 0.2])("C29: nobody dies with a loss of %d", (loss) => {
    const { sim } = cluster(10, { seed, loss });
    sim.run(120_000);
    expect(count(sim, "dead")).toBe(0);
  });

  test.each(BOTH)("C29: who is paused for 3 s refutes, and accuses nobody (%s)", (profile) => {
    for (const udpBlocked of [false, true]) {
      const { sim, nodes } = cluster(5, { seed, profile, udpBlocked });
      const paused = pick(nodes, seed);
      sim.pause(paused);
      sim.run(3_000);
      sim.resume(paused);
      sim.run(15_000);
      expect(count(sim, "dead")).toBe(0);
      expect(sim.agreeOn(nodes)).toBe(true);
      const accused = sim.seen.filter(({ by, event }) => by === paused.name && event.kind === "state");
      expect(accused.map(({ atMs }) => atMs)).toEqual([]);
    }
  });

  test.each(BOTH)("TCP only: a join in 3 s, a death in 10 s, a leave in 1 s, and quiet between (%s)", (profile) => {
    const sim = new GossipSimulator({ seed, profile, udpBlocked: true });
    const nodes = sim.addMany(4);
    for (const node of nodes.slice(1)) sim.join(node, pick(nodes, 0));
    expect(sim.runUntil(() => sim.agreeOn(nodes), 30_000)).toBeLessThan(3_000);
    sim.run(10_000);
    const late = sim.add();
    sim.join(late, pick(nodes, seed));
    const all = [...nodes, late];
    expect(sim.runUntil(() => sim.agreeOn(all), 30_000)).toBeLessThan(3_000);
    sim.run(10_000);
    const before = all.reduce((sum, { streams }) => sum + streams, 0);
    sim.run(30_000);
    // A probe each second, and the regular exchanges.
    expect((all.reduce((sum, { streams }) => sum + streams, 0) - before) / (30 * all.length)).toBeLessThan(1.2);
    expect([count(sim, "dead"), count(sim, "state")]).toEqual([0, 0]);
    const [victim, leaver, ...rest] = all as [SimulatedNode, SimulatedNode, ...SimulatedNode[]];
    sim.kill(victim);
    const isDead = ({ swim }: SimulatedNode) => swim.member(victim.name)?.state === "dead";
    expect(sim.runUntil(() => [leaver, ...rest].every(isDead), 60_000)).toBeLessThan(10_000);
    sim.leave(leaver);
    expect(sim.runUntil(() => sim.agreeOn(rest), 60_000)).toBeLessThan(1_000);
  });

  test.each(BOTH)("TCP only: who dies in its first seconds is dead for all in 10 s, too (%s)", (profile) => {
    for (const afterMs of [0, 100, 300, 700, 1_500, 3_000]) {
      const sim = new GossipSimulator({ seed, profile, udpBlocked: true });
      const nodes = sim.addMany(4);
      for (const node of nodes.slice(1)) sim.join(node, pick(nodes, 0));
      sim.run(10_000);
      const late = sim.add();
      sim.join(late, pick(nodes, seed));
      const sees = (state: string) => () => nodes.every(({ swim }) => swim.member(late.name)?.state === state);
      sim.runUntil(() => nodes.some(({ swim }) => swim.member(late.name)), 5_000);
      sim.run(afterMs);
      sim.kill(late);
      expect([afterMs, sim.runUntil(sees("dead"), 60_000) < 10_000]).toEqual([afterMs, true]);
    }
  });

  test("TCP only: who dies as all start is dead in 10 s for all who met it", () => {
    for (const afterMs of [0, 300, 1_000]) {
      const sim = new GossipSimulator({ seed, profile: "lan", udpBlocked: true });
      const nodes = sim.addMany(5);
      for (const node of nodes.slice(1)) sim.join(node, pick(nodes, 0));
      const victim = pick(nodes, 1);
      sim.runUntil(() => sim.agreeOn(nodes), 5_000);
      sim.run(afterMs);
      sim.kill(victim);
      const others = nodes.filter((node) => node !== victim);
      const isDead = ({ swim }: SimulatedNode) => swim.member(victim.name)?.state === "dead";
      expect([afterMs, sim.runUntil(() => others.every(isDead), 60_000) < 10_000]).toEqual([afterMs, true]);
    }
  });

  test.each(BOTH)("a leave is known within 1 s, and is no death (%s)", (profile) => {
    const { sim, nodes } = cluster(10, { seed, profile });
    const leaver = pick(nodes, seed);
    const rest = nodes.filter((node) => node !== leaver);
    sim.leave(leaver);
    expect(sim.runUntil(() => sim.agreeOn(rest), 30_000)).toBeLessThan(1_000);
    expect(sim.runUntil(() => leaver.swim.hasLeft(), 5_000)).toBeLessThan(1_000);
    expect(count(sim, "dead")).toBe(0);
  });

  test.each([10_000, 30_000, 120_000])("C25: two against three, for %i ms, are one again within 30 s", (ms) => {
    const { sim, nodes } = cluster(5, { seed });
    for (const node of nodes) sim.keepSeeds(node, nodes.slice(0, 3));
    sim.partition(nodes.slice(0, 2), nodes.slice(2));
    sim.run(ms);
    expect(sim.agreeOn(nodes)).toBe(false);
    sim.heal();
    expect(sim.runUntil(() => sim.agreeOn(nodes), 120_000)).toBeLessThan(30_000);
    const from = sim.seen.length;
    sim.run(60_000);
    expect(sim.seen.slice(from).filter(({ event }) => event.kind !== "forgotten").length).toBeLessThanOrEqual(
      nodes.length,
    );
    expect(sim.agreeOn(nodes)).toBe(true);
  });

  test("one way between two nodes is cut: the others vouch for both", () => {
    const { sim, nodes } = cluster(5, { seed });
    sim.setCut((from, to) => from === nodes[0] && to === nodes[1]);
    sim.run(60_000);
    expect(count(sim, "dead")).toBe(0);
  });

  test("a restart under the same name and address takes part again", () => {
    const { sim, nodes } = cluster(5, { seed });
    const old = pick(nodes, seed);
    sim.kill(old);
    sim.run(seed * 4_000);
    const again = sim.add(old.name, old.endpoint);
    const rest = nodes.filter((node) => node !== old);
    sim.join(again, pick(rest, seed));
    expect(sim.runUntil(() => sim.agreeOn([...rest, again]), 60_000)).toBeLessThan(5_000);
  });
});

test("packets per node and second do not grow with the cluster", () => {
  const rate = (size: number) => {
    const { sim, nodes } = cluster(size, { seed: 5 });
    sim.run(10_000);
    const before = nodes.reduce((sum, { packets }) => sum + packets, 0);
    sim.run(20_000);
    return (nodes.reduce((sum, { packets }) => sum + packets, 0) - before) / (20 * size);
  };
  const [ten, hundred] = [rate(10), rate(100)];
  expect(ten).toBeCloseTo(2, 0);
  expect(hundred).toBeLessThan(1.2 * ten);
});

test("the same seed gives the same run", () => {
  const run = () => {
    const { sim } = cluster(6, { seed: 9, loss: 0.3 });
    sim.run(20_000);
    return sim.nodes.map(({ packets, swim }) => [packets, swim.status()]);
  };
  expect(run()).toEqual(run());
});
