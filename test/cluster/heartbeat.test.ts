import { Heartbeat } from "../../src/cluster/heartbeat.ts";
import { UuidConflict } from "../../src/cluster/node-client.ts";
import { CaskError } from "../../src/core/errors.ts";
import { HEARTBEATS_AT_ONCE_COUNT } from "../../src/core/limits.ts";
import { silentLogger } from "../../src/core/log.ts";
import { announcementOf } from "../support/announcements.ts";
import { HeartbeatNetwork, type NetworkNode, statesSeenBy } from "../support/heartbeat-network.ts";
import { settle } from "../support/manual-clock.ts";

let network: HeartbeatNetwork;
beforeEach(() => {
  network = new HeartbeatNetwork();
});
afterEach(() => network.stop());

/** "a" waits for others, the others have it as their seed. */
async function clusterOf(...uuids: string[]): Promise<NetworkNode[]> {
  const nodes = uuids.map((uuid) => network.node({ uuid, seeds: uuid === "a" ? [] : ["http://a"] }));
  await network.pass(3);
  return nodes;
}

test("nodes that know one of them get to know all, and stay alive", async () => {
  const nodes = await clusterOf("a", "b", "c", "d");
  await network.pass(20);
  for (const node of nodes) {
    expect(node.cluster.joined).toBe(true);
    expect(Object.values(statesSeenBy(node))).toEqual(["alive", "alive", "alive"]);
  }
});

test("C30: one lost heartbeat, or two, change nothing", async () => {
  const [a] = (await clusterOf("a", "b")) as [NetworkNode];
  network.connected = () => false;
  await network.pass(2);
  network.connected = () => true;
  expect(statesSeenBy(a)).toEqual({ b: "alive" });
  expect(a.cluster.view().node("b")).toMatchObject({ live: true, writeable: true, suspect: false });
});

test("a killed node is suspect, then dead, and is met again when it returns", async () => {
  const [a, b] = (await clusterOf("a", "b")) as [NetworkNode, NetworkNode];
  network.kill(b);
  await network.pass(4);
  expect(statesSeenBy(a)).toEqual({ b: "suspect" });
  await network.pass(3);
  expect(statesSeenBy(a)).toEqual({ b: "dead" });
  network.node({ uuid: "b" });
  await network.pass(1);
  expect(statesSeenBy(a)).toEqual({ b: "alive" });
});

test("C39: a node that leaves on purpose is left at once, and nobody calls it any more", async () => {
  const [a, b, c] = (await clusterOf("a", "b", "c")) as [NetworkNode, NetworkNode, NetworkNode];
  await b.heartbeat.sayLeaving(network.signal);
  expect([statesSeenBy(a)["b"], statesSeenBy(c)["b"]]).toEqual(["left", "left"]);
  network.kill(b);
  network.requests.length = 0;
  await network.pass(20);
  expect(network.requests.filter((request) => request.endsWith("> http://b"))).toEqual([]);
  expect(statesSeenBy(a)["b"]).toBe("left");
});

test("a node that meets itself notices", async () => {
  const a = network.node({ uuid: "a", url: "http://a", seeds: ["http://a"] });
  expect(await a.heartbeat.meet("http://a")).toBe("self");
  expect(a.cluster.members()).toEqual([]);
  expect(a.refusals).toEqual([]);
});

describe("C24: two processes with one UUID", () => {
  test("the one that comes later is refused, the other one goes on", async () => {
    const [a, b] = (await clusterOf("a", "b")) as [NetworkNode, NetworkNode];
    const second = network.node({ uuid: "b", url: "http://b-again", seeds: ["http://a"] });
    await network.pass(1);
    expect(second.refusals).toEqual([expect.objectContaining({ code: "UUID_IN_USE" })]);
    expect(second.refusals[0]?.message).toContain("http://b");
    expect(second.cluster.joined).toBe(false);
    expect(b.refusals).toEqual([]);
    expect(b.cluster.isWriteable).toBe(true);
    expect(a.cluster.member("b")?.announcement.base_url).toBe("http://b");
  });

  test("also when it meets the other one itself", async () => {
    const [, b] = (await clusterOf("a", "b")) as [NetworkNode, NetworkNode];
    const second = network.node({ uuid: "b", url: "http://b-again", seeds: ["http://b"] });
    await network.pass(1);
    expect(second.refusals).toEqual([expect.objectContaining({ code: "UUID_IN_USE" })]);
    expect([b.refusals, b.cluster.inConflict]).toEqual([[], false]);
  });

  test("of two that are both starting the later start is refused, whoever calls whom", async () => {
    for (const [caller, called] of [
      [0, 1],
      [1, 0],
    ] as const) {
      const first = network.node({ uuid: "x", url: "http://x0", seeds: ["http://nobody"] });
      await network.clock.advance(10);
      const second = network.node({ uuid: "x", url: "http://x1", seeds: ["http://nobody"] });
      const pair = [first, second];
      await pair[caller]?.heartbeat.meet(`http://x${called}`).catch(() => undefined);
      expect(first.refusals).toEqual([]);
      expect(second.refusals).toEqual([expect.objectContaining({ code: "UUID_IN_USE" })]);
    }
  });

  test("that say so at the same time: one of them is taken in, the other refused", async () => {
    const a = network.node({ uuid: "a" });
    const pair = ["http://x1", "http://x2"].map((url) => network.node({ uuid: "x", url, seeds: ["http://a"] }));
    await Promise.allSettled(pair.map((node) => node.heartbeat.meet("http://a")));
    expect(pair.map(({ refusals }) => refusals.length).sort()).toEqual([0, 1]);
    const taken = pair.find(({ refusals }) => refusals.length === 0);
    expect(a.cluster.member("x")?.announcement.base_url).toBe(taken?.url);
  });

  test("one that is only met now does not take the place of the one that is a member", async () => {
    const [a, b] = (await clusterOf("a", "b")) as [NetworkNode, NetworkNode];
    await network.clock.advance(10);
    network.node({ uuid: "b", url: "http://b-again" });
    await expect(a.heartbeat.meet("http://b-again")).rejects.toMatchObject({ code: "UUID_IN_USE" });
    expect(a.cluster.member("b")?.announcement.base_url).toBe("http://b");
    expect(b.cluster.isWriteable).toBe(true);
  });

  test("after a partition both are read-only and say so, until one is gone", async () => {
    const half = (url: string) => (url === "http://a" || url === "http://x1" ? 1 : 2);
    network.connected = (from, to) => half(from) === half(to);
    network.node({ uuid: "a", seeds: ["http://c"] });
    network.node({ uuid: "c", seeds: ["http://a"] });
    const one = network.node({ uuid: "x", url: "http://x1", seeds: ["http://a"] });
    const two = network.node({ uuid: "x", url: "http://x2", seeds: ["http://c"] });
    await network.pass(5);
    expect([one.cluster.isWriteable, two.cluster.isWriteable]).toEqual([true, true]);
    network.connected = () => true;
    await network.pass(5);
    for (const node of [one, two]) {
      expect(node.refusals).toEqual([]);
      expect(node.cluster.inConflict).toBe(true);
      expect(node.cluster.isWriteable).toBe(false);
      expect(node.cluster.announcement().writeable).toBe(false);
      expect(node.cluster.view().ownNode.writeable).toBe(false);
    }
    network.kill(two);
    await network.pass(20);
    expect(one.cluster.isWriteable).toBe(true);
    expect(one.refusals).toEqual([]);
  });

  test("a restart at the same address is no conflict", async () => {
    const [a, b] = (await clusterOf("a", "b")) as [NetworkNode, NetworkNode];
    network.kill(b);
    await network.clock.advance(10);
    const again = network.node({ uuid: "b", seeds: ["http://a"] });
    await network.pass(1);
    expect(again.refusals).toEqual([]);
    expect(again.cluster.joined).toBe(true);
    expect(statesSeenBy(a)).toEqual({ b: "alive" });
  });

  test("nor is one at another address, when the old one does not answer any more", async () => {
    const [a, b] = (await clusterOf("a", "b")) as [NetworkNode, NetworkNode];
    network.kill(b);
    await network.clock.advance(10);
    const moved = network.node({ uuid: "b", url: "http://b-moved", seeds: ["http://a"] });
    await network.pass(1);
    expect(moved.refusals).toEqual([]);
    expect(a.cluster.member("b")).toMatchObject({ state: "alive", announcement: { base_url: "http://b-moved" } });
    expect(a.cluster.view().node("b")?.baseUrl).toBe("http://b-moved");
  });

  test("nor when another node answers at the old address", async () => {
    const [a, b] = (await clusterOf("a", "b")) as [NetworkNode, NetworkNode];
    network.kill(b);
    await network.clock.advance(10);
    network.node({ uuid: "c", url: "http://b", seeds: ["http://a"] });
    const moved = network.node({ uuid: "b", url: "http://b-moved", seeds: ["http://a"] });
    await network.pass(2);
    expect(moved.refusals).toEqual([]);
    expect(statesSeenBy(a)).toEqual({ b: "alive", c: "alive" });
  });
});

describe("C31: only a node itself is believed about itself", () => {
  test("what others say of it overwrites nothing", async () => {
    const [a, b] = (await clusterOf("a", "b")) as [NetworkNode, NetworkNode];
    network.kill(b);
    await network.clock.advance(10);
    network.node({ uuid: "b", url: "http://b-moved", seeds: ["http://a"] });
    // c knows where b was long ago, and cannot reach it.
    const old = { uuid: "b", baseUrl: "http://b-long-ago", store: "s", points: 1, replication: 1 };
    network.connected = (from, to) =>
      !`${from} ${to}`.includes("http://b-moved") || `${from} ${to}`.includes("http://a");
    const c = network.node({ uuid: "c", seeds: ["http://a"], known: [old] });
    await network.pass(10);
    expect(c.cluster.announcement().neighbors).toContainEqual({ uuid: "b", base_url: "http://b-long-ago" });
    expect(a.cluster.member("b")).toMatchObject({ state: "alive", announcement: { base_url: "http://b-moved" } });
  });

  test("who is only talked about is no member before it has answered", async () => {
    const gone = { uuid: "gone", baseUrl: "http://gone", store: "s", points: 16, replication: 3 };
    network.node({ uuid: "a", known: [gone] });
    const b = network.node({ uuid: "b", seeds: ["http://a"] });
    await network.pass(3);
    expect(statesSeenBy(b)).toEqual({ a: "alive" });
    network.node({ uuid: "gone" });
    await network.pass(2);
    expect(statesSeenBy(b)).toEqual({ a: "alive", gone: "alive" });
  });

  test("a heartbeat that was overtaken by a newer one changes nothing, and is answered all the same", async () => {
    const a = network.node({ uuid: "a" });
    await a.heartbeat.receive(announcementOf("b", { sequence: 5, writeable: false }));
    const late = announcementOf("b", { sequence: 4, writeable: true, base_url: "http://b-before" });
    expect((await a.heartbeat.receive(late)).uuid).toBe("a");
    expect(a.cluster.member("b")?.announcement.writeable).toBe(false);
    expect(a.saved).toMatchObject([{ uuid: "b", baseUrl: "http://b:8080" }]);
  });
});

describe("a replaced disk", () => {
  test("under a known UUID is told to the node, which counts as incomplete", async () => {
    const [a, b] = (await clusterOf("a", "b")) as [NetworkNode, NetworkNode];
    expect(b.incomplete).toBe(false);
    network.kill(b);
    await network.clock.advance(10);
    const wiped = network.node({ uuid: "b", store: "a-new-one", seeds: ["http://a"] });
    await network.pass(1);
    expect(wiped.incomplete).toBe(true);
    await network.pass(1);
    expect(a.cluster.member("b")?.announcement.incomplete).toBe(true);
    expect(a.saved).toMatchObject([{ uuid: "b", store: "a-new-one" }]);
  });

  test("is told again when the answer was lost", async () => {
    const [, b] = (await clusterOf("a", "b")) as [NetworkNode, NetworkNode];
    network.kill(b);
    await network.clock.advance(10);
    const wiped = network.node({ uuid: "b", store: "a-new-one", seeds: ["http://a"] });
    network.connected = (from) => from !== "http://a"; // b is heard, the answers do not come back
    await network.pass(2);
    expect([wiped.incomplete, wiped.cluster.joined]).toEqual([false, false]);
    network.connected = () => true;
    await network.pass(2);
    expect([wiped.incomplete, wiped.cluster.joined]).toEqual([true, true]);
  });

  test("a node has not joined before it was answered: being called does not tell it that it was wiped", async () => {
    const [a, b] = (await clusterOf("a", "b")) as [NetworkNode, NetworkNode];
    network.kill(b);
    const wiped = network.node({ uuid: "b", store: "a-new-one", seeds: ["http://a"] });
    network.connected = (from) => from === "http://a"; // a's requests arrive, b's do not
    await a.heartbeat.step(network.signal);
    await settle();
    expect(statesSeenBy(wiped)).toEqual({ a: "alive" });
    expect(wiped.cluster.joined).toBe(false);
    network.connected = () => true;
    await a.heartbeat.step(network.signal);
    await settle();
    expect([wiped.incomplete, wiped.cluster.joined]).toEqual([true, true]); // it asked back, without a step of its own
    network.requests.length = 0;
    await a.heartbeat.step(network.signal);
    expect(network.requests).toEqual(["http://a > http://b"]);
  });
});

test("C32: the dead are asked in turns, so that they do not keep the living waiting", async () => {
  const known = Array.from({ length: 100 }, (_, i) => ({
    uuid: `dead${i}`,
    baseUrl: `http://dead${i}`,
    store: "",
    points: 16,
    replication: 3,
  }));
  const a = network.node({ uuid: "a", known });
  network.node({ uuid: "b", seeds: ["http://a"] });
  await network.pass(1);
  const asked = new Set<string>();
  for (let round = 0; round < 4; round++) {
    network.requests.length = 0;
    await a.heartbeat.step(network.signal);
    const byA = network.requests.filter((request) => request.startsWith("http://a > "));
    expect(byA[0]).toBe("http://a > http://b");
    expect(byA.length).toBeLessThanOrEqual(HEARTBEATS_AT_ONCE_COUNT + 1);
    for (const request of byA) asked.add(request);
  }
  expect(asked.size).toBe(101);
});

describe("strangers that a node is told of", () => {
  const strangers = Array.from({ length: 5 }, (_, i) => ({ uuid: `s${i}`, base_url: `http://s${i}` }));

  function withClient(exchange: (url: string) => Promise<ReturnType<typeof announcementOf>>) {
    const { cluster } = network.node({ uuid: "a" });
    const refusals: CaskError[] = [];
    const asked: string[] = [];
    const heartbeat = new Heartbeat({
      cluster,
      client: {
        exchange: (url) => {
          asked.push(url);
          return exchange(url);
        },
      },
      identity: { markIncomplete: async () => undefined },
      onRefused: (error) => refusals.push(error),
      log: silentLogger(),
    });
    return { cluster, heartbeat, refusals, asked };
  }

  test("C32: are asked all at once, each once at a time", async () => {
    const releases: Array<() => void> = [];
    const hanging = () =>
      new Promise<never>((_, reject) => releases.push(() => reject(new CaskError("PEER_FAILED", "gone"))));
    const { heartbeat, asked } = withClient((url) =>
      url.startsWith("http://s") ? hanging() : Promise.resolve(announcementOf(url.slice(7), { neighbors: strangers })),
    );
    const meetings = [heartbeat.meet("http://b"), heartbeat.meet("http://c")];
    await settle();
    expect(asked.sort()).toEqual(["http://b", "http://c", ...strangers.map(({ base_url }) => base_url)]);
    for (const release of releases) release();
    expect(await Promise.all(meetings)).toEqual(["met", "met"]);
  });

  test("C24: may know that the own UUID is in use", async () => {
    const { cluster, heartbeat, refusals } = withClient((url) =>
      url.startsWith("http://s")
        ? Promise.reject(new UuidConflict("the UUID a belongs to another node", null))
        : Promise.resolve(announcementOf("b", { neighbors: strangers })),
    );
    await expect(heartbeat.meet("http://b")).rejects.toMatchObject({ code: "UUID_IN_USE" });
    expect(refusals).toEqual([]); // it had no neighbors to meet: it was there, as the other one was
    expect(cluster.inConflict).toBe(true);
  });
});

test("what cannot be met rejects with the reason", async () => {
  const a = network.node({ uuid: "a" });
  await expect(a.heartbeat.meet("http://nobody")).rejects.toMatchObject({ code: "PEER_FAILED" });
});
