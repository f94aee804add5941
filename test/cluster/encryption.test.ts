import type { Encryption } from "../../src/gossip/wires.ts";
import { ClusterNetwork, type NetworkNode, statesSeenBy } from "../support/cluster-network.ts";

let network: ClusterNetwork;
beforeEach(() => {
  network = new ClusterNetwork();
});
afterEach(() => network.stop());

async function clusterOf(...encryptions: readonly Encryption[]): Promise<NetworkNode[]> {
  const nodes: NetworkNode[] = [];
  for (const [i, encryption] of encryptions.entries()) {
    const seeds = nodes.slice(0, 1).map(({ gossipAddress }) => gossipAddress);
    nodes.push(await network.node({ uuid: `n${i}`, seeds, encryption }));
  }
  return nodes;
}

const aliveSeenBy = (node: NetworkNode) =>
  Object.values(statesSeenBy(node)).filter((state) => state === "alive").length;

describe("CASK_GOSSIP_ENCRYPTION=accept, on the way from clear to encrypted", () => {
  const steps: Encryption[][] = [
    ["false", "accept", "false"],
    ["accept", "false", "accept"],
    ["accept", "accept", "accept"],
    ["accept", "true", "accept"],
    ["true", "accept", "true"],
  ];
  test.each(steps.map((step) => [step.join(", "), step] as const))(
    "%s: one cluster, and nobody dies",
    async (_name, step) => {
      const nodes = await clusterOf(...step);
      await network.until("all have met", 20_000, () => nodes.every((node) => aliveSeenBy(node) === 2));
      for (let second = 0; second < 60; second++) {
        await network.pass(1_000);
        for (const node of nodes) expect(aliveSeenBy(node)).toBe(2);
      }
    },
  );
});

test("C40: in clear and encrypted are two clusters: neither takes what the other says", async () => {
  const nodes = await clusterOf("true", "false");
  await network.pass(30_000);
  expect(nodes.map(aliveSeenBy)).toEqual([0, 0]);
});

test("in clear, a member without the secret is ignored, as Go nodes ignore it", async () => {
  const a = await network.node({ uuid: "a", encryption: "false" });
  const stranger = await network.node({
    uuid: "x",
    seeds: [a.gossipAddress],
    encryption: "false",
    secret: "another one",
  });
  await network.pass(10_000);
  expect([statesSeenBy(a), statesSeenBy(stranger)]).toEqual([{}, {}]);
});

describe("while the secret is changed, as the README says", () => {
  const [former, next] = ["the former secret", "the next secret"];
  const steps: Array<[string, { secret: string; oldSecret?: string }, { secret: string; oldSecret?: string }]> = [
    ["first", { secret: former }, { secret: former, oldSecret: next }],
    ["second", { secret: former, oldSecret: next }, { secret: next, oldSecret: former }],
    ["third", { secret: next, oldSecret: former }, { secret: next }],
  ];
  test.each(steps)(
    "in the %s step those before it and those after it are one cluster",
    async (_name, before, after) => {
      const a = await network.node({ uuid: "a", ...before });
      const b = await network.node({ uuid: "b", seeds: [a.gossipAddress], ...after });
      await network.until("they have met", 5_000, () => aliveSeenBy(a) === 1 && aliveSeenBy(b) === 1);
      await network.pass(30_000);
      expect([aliveSeenBy(a), aliveSeenBy(b)]).toEqual([1, 1]);
    },
  );

  test("without the first step they are two", async () => {
    const a = await network.node({ uuid: "a", secret: former });
    const b = await network.node({ uuid: "b", seeds: [a.gossipAddress], secret: next, oldSecret: former });
    await network.pass(20_000);
    expect([aliveSeenBy(a), aliveSeenBy(b)]).toEqual([0, 0]);
  });
});
