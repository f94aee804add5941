import { Join } from "../../src/cluster/join.ts";
import type { Member, MemberState } from "../../src/cluster/membership.ts";
import { CaskError } from "../../src/core/errors.ts";
import { SEED_RETRY_MAX_MS, SEED_RETRY_MS } from "../../src/core/limits.ts";
import { createLogger, LogRing } from "../../src/core/log.ts";
import { readNeighbors } from "../../src/core/setting-values.ts";
import { addrOf, formatEndpoint } from "../../src/gossip/endpoint.ts";
import { type Endpoint, VSN } from "../../src/gossip/messages.ts";
import type { GossipMember } from "../../src/gossip/swim-contract.ts";
import type { Announcement } from "../../src/peer/protocol.ts";
import { announcementOf } from "../support/announcements.ts";
import { ClusterNetwork, statesSeenBy } from "../support/cluster-network.ts";
import { ManualClock } from "../support/manual-clock.ts";

const signal = new AbortController().signal;
const OWN = "10.0.0.9:7946";
const down = new CaskError("PEER_FAILED", "cannot be reached");

type Meet = (url: string) => Announcement | null | CaskError;

function memberAt(endpoint: string, state: GossipMember["state"] = "alive"): GossipMember {
  const [ip, port] = endpoint.split(":") as [string, string];
  const at: Endpoint = { addr: addrOf(ip) as Uint8Array, port: Number(port) };
  return { name: endpoint, endpoint: at, meta: VSN, vsn: VSN, incarnation: 1, state, stateSinceMs: 0 };
}

/** Seeds whose nodes answer as told, and when each of them was tried. */
function setUp(seeds: string, meet: Meet, addresses: Record<string, readonly string[]> = {}) {
  const clock = new ManualClock();
  const ring = new LogRing();
  const members: Member[] = [];
  const gossipMembers: GossipMember[] = [memberAt(OWN)];
  const tried = new Map<string, number[]>();
  const note = (what: string) => void tried.set(what, [...(tried.get(what) ?? []), clock.nowMs()]);
  const met: string[] = [];
  const join = new Join({
    seeds: readNeighbors(seeds),
    cluster: { members: () => members, noteMeeting: () => void met.push("met") },
    heartbeat: {
      meet: async (url) => {
        note(url);
        const result = meet(url);
        if (result instanceof CaskError) throw result;
        return result;
      },
    },
    gossip: {
      join: async (to) => {
        note(formatEndpoint(to));
        const result = meet(formatEndpoint(to));
        if (result instanceof CaskError) throw result;
      },
      own: () => memberAt(OWN),
      members: () => gossipMembers,
    },
    gossipMembers: { introduced: async () => undefined, announce: () => undefined },
    resolve: async (host) => (addresses[host] ?? [host]).map((ip) => addrOf(ip) as Uint8Array),
    clock,
    log: createLogger({ level: "warn", ring, output: { write: () => undefined } }),
  });
  const pass = async (ms: number) => {
    for (let at = 0; at < ms; at += SEED_RETRY_MS) {
      await join.step(signal);
      await clock.advance(SEED_RETRY_MS);
    }
  };
  const see = (uuid: string, base_url: string, state: MemberState) => {
    const announcement = announcementOf(uuid, { base_url });
    members.splice(0, members.length, { announcement, state, stateSinceMs: 0, isMet: true, knownStore: "" });
  };
  return { join, pass, see, tried: (what: string) => tried.get(what) ?? [], ring, met, gossipMembers };
}

const good = announcementOf("b", { base_url: "http://b", gossip_address: "10.0.0.2:7946" });
const gaps = (times: readonly number[]) => times.slice(1).map((time, i) => time - (times[i] as number));

describe("C25: a seed that does not answer", () => {
  test("is tried again for ever, at once at first, then with a bounded wait", async () => {
    const { pass, tried } = setUp("http://b", () => down);
    const hourMs = 3_600_000;
    await pass(hourMs);
    const waits = gaps(tried("http://b"));
    expect(waits[0]).toBe(2 * SEED_RETRY_MS);
    expect(Math.max(...waits)).toBeLessThanOrEqual(SEED_RETRY_MAX_MS + SEED_RETRY_MS);
    expect(tried("http://b").length).toBeGreaterThan(hourMs / (SEED_RETRY_MAX_MS + SEED_RETRY_MS));
  });

  test("does not keep the others waiting", async () => {
    const { pass, tried } = setUp("http://b,10.0.0.3:1", (url) => (url === "http://b" ? down : good));
    await pass(SEED_RETRY_MS);
    expect([tried("http://b").length, tried("10.0.0.3:1").length]).toEqual([1, 1]);
  });

  test("is worth one warning when it goes on, and a wrong secret one each time", async () => {
    const { pass, ring } = setUp("http://b", () => down);
    await pass(100_000);
    expect(ring.lines()).toHaveLength(1);
    expect(ring.lines()[0]?.message).toContain("http://b");
    const refused = setUp("http://b", () => new CaskError("FORBIDDEN", "wrong secret"));
    await refused.pass(3_000);
    expect(refused.ring.lines().length).toBeGreaterThan(1);
  });

  test("whose node was met and is dead now is tried again, until it is alive", async () => {
    const { pass, see, tried } = setUp("http://b", () => good);
    see("b", "http://b", "alive");
    await pass(100_000);
    expect(tried("http://b")).toHaveLength(1);
    see("b", "http://b", "dead");
    await pass(60_000);
    expect(tried("http://b").length).toBeGreaterThan(4);
    see("b", "http://b", "alive");
    const before = tried("http://b").length;
    await pass(60_000);
    expect(tried("http://b")).toHaveLength(before);
  });
});

describe("a gossip address as a seed", () => {
  test("is resolved anew each time, and all its addresses are tried", async () => {
    const addresses = { "b.example": ["10.0.0.1", "10.0.0.2"] };
    const { pass, tried, met, gossipMembers } = setUp(
      "b.example:7946",
      (at) => (at === "10.0.0.2:7946" ? good : down),
      addresses,
    );
    await pass(SEED_RETRY_MS);
    expect([tried("10.0.0.1:7946").length, tried("10.0.0.2:7946").length, met.length]).toEqual([1, 1, 1]);
    gossipMembers.push(memberAt("10.0.0.2:7946"));
    await pass(60_000);
    expect(tried("10.0.0.2:7946")).toHaveLength(1);
    gossipMembers.pop();
    addresses["b.example"] = ["10.0.0.2"];
    await pass(2_000);
    expect(tried("10.0.0.2:7946").length).toBeGreaterThan(1);
  });

  test("that is the own one is not tried again", async () => {
    const { pass, tried, met } = setUp(OWN, () => good);
    await pass(100_000);
    expect([tried(OWN), met]).toEqual([[], []]);
  });
});

describe("a name that stands for all nodes, as that of a headless service does", () => {
  const own = "10.0.0.9";

  test("is met at all addresses but the own one, which comes first", async () => {
    const addresses = { "nodes.example": [own, "10.0.0.1", "10.0.0.2", "10.0.0.3"] };
    const { pass, tried, met } = setUp("nodes.example:7946", (at) => (at === "10.0.0.2:7946" ? down : good), addresses);
    await pass(SEED_RETRY_MS);
    const times = ["10.0.0.1", "10.0.0.2", "10.0.0.3", own].map((ip) => tried(`${ip}:7946`).length);
    expect([times, met.length]).toEqual([[1, 1, 1, 0], 1]);
  });

  test("and for this one alone at first: it is looked up again", async () => {
    const addresses = { "nodes.example": [own] };
    const { pass, tried } = setUp("nodes.example:7946", () => good, addresses);
    await pass(60_000);
    addresses["nodes.example"] = [own, "10.0.0.1"];
    await pass(SEED_RETRY_MAX_MS + SEED_RETRY_MS);
    expect(tried("10.0.0.1:7946").length).toBeGreaterThan(0);
    expect(tried(OWN)).toEqual([]);
  });
});

test("a seed that is this node itself is not tried again", async () => {
  const { pass, tried } = setUp("http://a", () => null);
  await pass(100_000);
  expect(tried("http://a")).toHaveLength(1);
});

test("one that does not say where its gossip port is: the reason, and what to name instead", async () => {
  const { join } = setUp("", () => announcementOf("go", { base_url: "http://go" }));
  await expect(join.joinNow({ kind: "url", url: "http://go" })).rejects.toMatchObject({
    code: "PEER_FAILED",
    message: expect.stringContaining("host:port"),
  });
});

test("an abort while a seed is tried is no failure of the seed", async () => {
  const controller = new AbortController();
  const { join, ring } = setUp("http://b", () => {
    controller.abort();
    return down;
  });
  await join.step(controller.signal);
  expect(ring.lines()).toEqual([]);
});

describe("C27: joining by one address, on an operator's word", () => {
  test.each(["url", "gossip"])("meets that node, and all that it knows, by its %s address", async (kind) => {
    const network = new ClusterNetwork();
    const a = await network.node({ uuid: "a" });
    await network.node({ uuid: "b", seeds: ["http://a"] });
    const lone = await network.node({ uuid: "c" });
    await network.pass(3_000);
    expect(lone.cluster.members()).toEqual([]);
    const [host, port] = a.gossipAddress.split(":") as [string, string];
    await lone.join.joinNow(kind === "url" ? { kind, url: "http://a" } : { kind: "gossip", host, port: Number(port) });
    await network.pass(100);
    expect(statesSeenBy(lone)).toEqual({ a: "alive", b: "alive" });
    await network.stop();
  });

  test("of the node itself is BAD_REQUEST, of one that does not answer its failure", async () => {
    const { join } = setUp("", (url) => (url === "http://a" ? null : down));
    await expect(join.joinNow({ kind: "url", url: "http://a" })).rejects.toMatchObject({ code: "BAD_REQUEST" });
    await expect(join.joinNow({ kind: "url", url: "http://b" })).rejects.toBe(down);
  });
});

describe("C25: partitions", () => {
  test("halves of a long one find each other again within 30 s, whatever their seeds are", async () => {
    const network = new ClusterNetwork();
    const a = await network.node({ uuid: "a" });
    const nodes = [a];
    for (const uuid of ["b", "c", "d", "e"]) nodes.push(await network.node({ uuid, seeds: ["http://a"] }));
    const allAlive = (count: number) => () =>
      nodes.every((node) => Object.values(statesSeenBy(node)).filter((state) => state === "alive").length === count);
    await network.until("all have met", 5_000, allAlive(4));
    network.partition(nodes.slice(0, 2), nodes.slice(2));
    await network.pass(120_000);
    expect(statesSeenBy(a)).toEqual({ b: "alive", c: "dead", d: "dead", e: "dead" });
    network.partition();
    await network.until("all are alive again", 30_000, allAlive(4));
    await network.stop();
  }, 60_000);

  test("halves that never knew each other meet by their seeds when the network is whole", async () => {
    const network = new ClusterNetwork();
    const a = await network.node({ uuid: "a", seeds: ["http://b"] });
    const b = await network.node({ uuid: "b", seeds: ["http://a"] });
    network.partition([a], [b]);
    await network.pass(60_000);
    expect([a.cluster.joined, b.cluster.joined]).toEqual([false, false]);
    network.partition();
    await network.until("they have met", 15_000, () => a.cluster.joined && b.cluster.joined);
    expect([statesSeenBy(a), statesSeenBy(b)]).toEqual([{ b: "alive" }, { a: "alive" }]);
    await network.stop();
  }, 60_000);
});
