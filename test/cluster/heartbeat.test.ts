import { ClusterNetwork, type NetworkNode, statesSeenBy } from "../support/cluster-network.ts";

let network: ClusterNetwork;
beforeEach(() => {
  network = new ClusterNetwork();
});
afterEach(() => network.stop());

const aliveSeenBy = (node: NetworkNode) =>
  Object.values(statesSeenBy(node)).filter((state) => state === "alive").length;

/** "a" waits for others, the others have it as their seed. */
async function clusterOf(...uuids: string[]): Promise<NetworkNode[]> {
  const nodes: NetworkNode[] = [];
  for (const uuid of uuids) nodes.push(await network.node({ uuid, seeds: uuid === "a" ? [] : ["http://a"] }));
  await network.until("all have met", 5_000, () => nodes.every((node) => aliveSeenBy(node) === nodes.length - 1));
  return nodes;
}

test("nodes that know one of them get to know all, and stay alive", async () => {
  const nodes = await clusterOf("a", "b", "c", "d");
  await network.pass(20_000);
  for (const node of nodes) {
    expect(node.cluster.joined).toBe(true);
    expect(Object.values(statesSeenBy(node))).toEqual(["alive", "alive", "alive"]);
  }
});

test("what gossip says of a node is what the blob code sees: read-only, dead, back again", async () => {
  const [a, b] = (await clusterOf("a", "b", "c")) as [NetworkNode, NetworkNode, NetworkNode];
  expect(a.cluster.view().node("b")).toMatchObject({ live: true, writeable: true });
  await network.kill(b);
  await network.until("b is suspect", 5_000, () => statesSeenBy(a)["b"] === "suspect");
  expect(a.cluster.view().node("b")).toMatchObject({ live: true, suspect: true });
  await network.until("b is dead", 20_000, () => statesSeenBy(a)["b"] === "dead");
  expect(a.cluster.view().node("b")).toMatchObject({ live: false, writeable: false });
  const again = await network.node({ uuid: "b", seeds: ["http://a"] });
  // At another gossip address, as a container that was started anew.
  await network.until("b is back", 5_000, () => statesSeenBy(a)["b"] === "alive");
  expect([again.refusals, again.cluster.joined]).toEqual([[], true]);
});

test("C39: a node that leaves on purpose is left within a second, and is not looked for any more", async () => {
  const [a, b, c] = (await clusterOf("a", "b", "c")) as [NetworkNode, NetworkNode, NetworkNode];
  void b.gossip.leave(1_500);
  await network.until("both know", 1_000, () => [a, c].every((node) => statesSeenBy(node)["b"] === "left"));
  await network.kill(b);
  network.requests.length = 0;
  await network.pass(30_000);
  expect(network.requests.filter((request) => request.endsWith("> http://b"))).toEqual([]);
  expect(statesSeenBy(a)["b"]).toBe("left");
});

test("who was met is asked before a 404, also before gossip shows it", async () => {
  const [a, b] = [await network.node({ uuid: "a" }), await network.node({ uuid: "b" })];
  await a.heartbeat.meet("http://b");
  expect(a.cluster.view().nodes.map(({ uuid }) => uuid)).toEqual(["a", "b"]);
  expect(a.saved).toMatchObject([{ uuid: "b", baseUrl: "http://b" }]);
  expect(b.cluster.members()).toHaveLength(0); // it has been asked, and has asked nobody
});

test("a node that meets itself notices", async () => {
  const a = await network.node({ uuid: "a", seeds: ["http://a"] });
  expect(await a.heartbeat.meet("http://a")).toBeNull();
  await network.pass(5_000);
  expect([a.cluster.members(), a.refusals]).toEqual([[], []]);
});

test("C40: a node with another secret gets and changes nothing", async () => {
  const [a] = (await clusterOf("a", "b")) as [NetworkNode];
  const stranger = await network.node({ uuid: "x", seeds: [a.gossipAddress], secret: "another secret" });
  await network.pass(20_000);
  expect(statesSeenBy(stranger)).toEqual({});
  expect(stranger.gossip.members()).toHaveLength(1);
  expect(statesSeenBy(a)).toEqual({ b: "alive" });
});

describe("C24: two processes with one UUID", () => {
  test("the one that comes later is refused, the other one goes on", async () => {
    const [a, b] = (await clusterOf("a", "b")) as [NetworkNode, NetworkNode];
    const second = await network.node({ uuid: "b", url: "http://b-again", seeds: ["http://a"] });
    await network.until("it is refused", 3_000, () => second.refusals.length > 0);
    expect(second.refusals[0]).toMatchObject({ code: "UUID_IN_USE", message: expect.stringContaining("http://b") });
    expect(second.cluster.joined).toBe(false);
    expect([b.refusals, b.cluster.isWriteable]).toEqual([[], true]);
    expect(a.cluster.member("b")?.announcement.base_url).toBe("http://b");
  });

  test("also when it knows a gossip address alone", async () => {
    const [a, b] = (await clusterOf("a", "b")) as [NetworkNode, NetworkNode];
    const second = await network.node({ uuid: "b", url: "http://b-again", seeds: [a.gossipAddress] });
    await network.until("it is refused", 5_000, () => second.refusals.length > 0);
    expect([b.refusals, b.cluster.inConflict]).toEqual([[], false]);
  });

  test("of two that are both starting the later start is refused, whoever calls whom", async () => {
    for (const [caller, called] of [
      [0, 1],
      [1, 0],
    ] as const) {
      const first = await network.node({ uuid: "x", url: "http://x0", seeds: ["http://nobody"] });
      await network.clock.advance(10);
      const second = await network.node({ uuid: "x", url: "http://x1", seeds: ["http://nobody"] });
      await [first, second][caller]?.heartbeat.meet(`http://x${called}`).catch(() => undefined);
      expect(first.refusals).toEqual([]);
      expect(second.refusals).toEqual([expect.objectContaining({ code: "UUID_IN_USE" })]);
    }
  });

  test("after a partition both are read-only and say so, until one is gone", async () => {
    const a = await network.node({ uuid: "a" });
    const c = await network.node({ uuid: "c" });
    const one = await network.node({ uuid: "x", url: "http://x1", seeds: ["http://a"] });
    const two = await network.node({ uuid: "x", url: "http://x2", seeds: ["http://c"] });
    network.partition([a, one], [c, two]);
    await network.until("each has joined", 5_000, () => one.cluster.joined && two.cluster.joined);
    expect([one.cluster.isWriteable, two.cluster.isWriteable]).toEqual([true, true]);
    network.partition();
    await a.join.joinNow({ kind: "url", url: "http://c" });
    await network.until("both know", 30_000, () => one.cluster.inConflict && two.cluster.inConflict);
    for (const node of [one, two]) {
      expect(node.refusals).toEqual([]);
      expect(node.cluster.isWriteable).toBe(false);
      expect(node.cluster.view().ownNode.writeable).toBe(false);
    }
    await network.kill(two);
    await network.until("the other one goes on", 120_000, () => one.cluster.isWriteable);
    expect(one.refusals).toEqual([]);
  }, 60_000);

  test("a restart is no conflict", async () => {
    const [, b] = (await clusterOf("a", "b")) as [NetworkNode, NetworkNode];
    await network.kill(b);
    await network.clock.advance(10);
    const again = await network.node({ uuid: "b", seeds: ["http://a"] });
    await network.until("it has joined", 5_000, () => again.cluster.joined);
    expect(again.refusals).toEqual([]);
  });
});

describe("a replaced disk", () => {
  test("under a known UUID is told to the node, which counts as incomplete", async () => {
    const [a, b] = (await clusterOf("a", "b")) as [NetworkNode, NetworkNode];
    expect(b.incomplete).toBe(false);
    await network.kill(b);
    await network.clock.advance(10);
    const wiped = await network.node({ uuid: "b", store: "a-new-one", seeds: ["http://a"] });
    await network.until("it has joined", 5_000, () => wiped.cluster.joined);
    expect(wiped.incomplete).toBe(true);
    await network.until("a knows", 60_000, () => a.cluster.member("b")?.announcement.incomplete === true);
    expect(a.saved).toMatchObject([{ uuid: "b", store: "a-new-one" }]);
  });

  test("is told also to one that joined by gossip alone, before it counts as joined", async () => {
    const [a, b] = (await clusterOf("a", "b")) as [NetworkNode, NetworkNode];
    await network.kill(b);
    await network.clock.advance(10);
    const wiped = await network.node({ uuid: "b", store: "a-new-one", seeds: [a.gossipAddress] });
    await network.until("it has joined", 5_000, () => wiped.cluster.joined);
    expect(wiped.incomplete).toBe(true);
  });
});

describe("a replaced disk is told to the node all the same", () => {
  async function wipedWhileDown(seeds: (a: NetworkNode) => string[]): Promise<[NetworkNode, NetworkNode]> {
    const [a, b] = (await clusterOf("a", "b")) as [NetworkNode, NetworkNode];
    await network.kill(b);
    await network.clock.advance(10);
    network.losesAnswers = true;
    return [a, await network.node({ uuid: "b", store: "a-new-one", seeds: seeds(a) })];
  }

  test("when the first answers are lost; until then what it lacks says nothing", async () => {
    const [a, wiped] = await wipedWhileDown((node) => [node.gossipAddress]);
    const storeOf = () => a.cluster.member("b")?.announcement.store;
    await network.until("a sees it", 60_000, () => storeOf() === "a-new-one");
    await network.pass(10_000);
    expect(wiped.incomplete).toBe(false);
    expect(a.cluster.view().node("b")).toMatchObject({ live: true, unaware: true });
    network.losesAnswers = false;
    await network.until("it knows", 10_000, () => wiped.incomplete);
    await network.until("a knows that", 60_000, () => a.cluster.view().node("b")?.unaware === false);
  });

  test("when who remembers the old one is the one that asks", async () => {
    const [a, wiped] = await wipedWhileDown((node) => [node.gossipAddress]);
    expect(wiped.incomplete).toBe(false);
    network.losesAnswers = false;
    await a.heartbeat.meet("http://b");
    expect(wiped.incomplete).toBe(true);
  });
});

test("what cannot be met rejects with the reason", async () => {
  const a = await network.node({ uuid: "a" });
  await expect(a.heartbeat.meet("http://nobody")).rejects.toMatchObject({ code: "PEER_FAILED" });
});
