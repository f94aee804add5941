import type { Meeting } from "../../src/cluster/heartbeat.ts";
import { Join } from "../../src/cluster/join.ts";
import type { Member, MemberState } from "../../src/cluster/membership.ts";
import { CaskError } from "../../src/core/errors.ts";
import { SEED_RETRY_MAX_MS, SEED_RETRY_MS } from "../../src/core/limits.ts";
import { createLogger, LogRing } from "../../src/core/log.ts";
import { announcementOf } from "../support/announcements.ts";
import { HeartbeatNetwork, statesSeenBy } from "../support/heartbeat-network.ts";
import { ManualClock } from "../support/manual-clock.ts";

const signal = new AbortController().signal;

/** Seeds whose nodes answer as told, and when each of them was tried. */
function setUp(seeds: readonly string[], meet: (url: string) => Meeting | CaskError) {
  const clock = new ManualClock();
  const ring = new LogRing();
  const members: Member[] = [];
  const tried = new Map<string, number[]>();
  const join = new Join({
    seeds,
    cluster: { members: () => members, member: (uuid) => members.find((each) => each.announcement.uuid === uuid) },
    heartbeat: {
      meet: async (url) => {
        tried.set(url, [...(tried.get(url) ?? []), clock.nowMs()]);
        const result = meet(url);
        if (result instanceof CaskError) throw result;
        return result;
      },
    },
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
    members.splice(0, members.length, { announcement, state, heardAtMs: 0, stateSinceMs: 0, knownStore: "" });
  };
  return { join, pass, see, tried: (url: string) => tried.get(url) ?? [], ring };
}

const down = new CaskError("PEER_FAILED", "cannot be reached");
const gaps = (times: readonly number[]) => times.slice(1).map((time, i) => time - (times[i] as number));

describe("C25: a seed that does not answer", () => {
  test("is tried again for ever, at once at first, then with a bounded wait", async () => {
    const { pass, tried } = setUp(["http://b"], () => down);
    const hourMs = 3_600_000;
    await pass(hourMs);
    const waits = gaps(tried("http://b"));
    expect(waits[0]).toBe(2 * SEED_RETRY_MS);
    expect(Math.max(...waits)).toBeLessThanOrEqual(SEED_RETRY_MAX_MS + SEED_RETRY_MS);
    expect(tried("http://b").length).toBeGreaterThan(hourMs / (SEED_RETRY_MAX_MS + SEED_RETRY_MS));
  });

  test("does not keep the others waiting", async () => {
    const { pass, tried } = setUp(["http://b", "http://c"], (url) => (url === "http://b" ? down : "met"));
    await pass(SEED_RETRY_MS);
    expect([tried("http://b").length, tried("http://c").length]).toEqual([1, 1]);
  });

  test("is worth one warning when it goes on, and a wrong secret one each time", async () => {
    const { pass, ring } = setUp(["http://b"], () => down);
    await pass(100_000);
    expect(ring.lines()).toHaveLength(1);
    expect(ring.lines()[0]?.message).toContain("http://b");
    const refused = setUp(["http://b"], () => new CaskError("FORBIDDEN", "wrong secret"));
    await refused.pass(3_000);
    expect(refused.ring.lines().length).toBeGreaterThan(1);
  });

  test("whose node was met and is dead now is tried again, until it is alive", async () => {
    const { pass, see, tried } = setUp(["http://b"], () => "met");
    await pass(1_000);
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

  test("and where another node answers now is tried on: its own node may be back there", async () => {
    const { pass, see, tried } = setUp(["http://b"], () => "met");
    see("b", "http://elsewhere", "alive");
    await pass(60_000);
    expect(tried("http://b").length).toBeGreaterThan(4);
  });
});

test("a seed that is this node itself is not tried again", async () => {
  const { pass, tried } = setUp(["http://a"], () => "self");
  await pass(100_000);
  expect(tried("http://a")).toHaveLength(1);
});

test("an abort while a seed is tried is no failure of the seed", async () => {
  const controller = new AbortController();
  const { join, ring } = setUp(["http://b"], () => {
    controller.abort();
    return down;
  });
  await join.step(controller.signal);
  expect(ring.lines()).toEqual([]);
});

test("C25: halves of a long partition find each other again", async () => {
  const network = new HeartbeatNetwork();
  const uuids = ["a", "b", "c", "d"];
  const nodes = uuids.map((uuid) => network.node({ uuid, seeds: uuid === "a" ? [] : ["http://a"] }));
  await network.pass(3);
  const half = (url: string) => url === "http://a" || url === "http://b";
  network.connected = (from, to) => half(from) === half(to);
  await network.pass(500);
  expect(statesSeenBy(nodes[0] as never)).toEqual({ b: "alive", c: "dead", d: "dead" });
  expect(statesSeenBy(nodes[2] as never)).toEqual({ a: "dead", b: "dead", d: "alive" });
  network.connected = () => true;
  await network.pass(12);
  for (const node of nodes) expect(Object.values(statesSeenBy(node))).toEqual(["alive", "alive", "alive"]);
  await network.stop();
});

test("C25: halves that never knew each other meet by their seeds when the network is whole", async () => {
  const network = new HeartbeatNetwork();
  network.connected = () => false;
  const a = network.node({ uuid: "a", seeds: ["http://b"] });
  const b = network.node({ uuid: "b", seeds: ["http://a"] });
  await network.pass(500);
  expect([a.cluster.joined, b.cluster.joined]).toEqual([false, false]);
  network.connected = () => true;
  await network.pass(12);
  expect([statesSeenBy(a), statesSeenBy(b)]).toEqual([{ b: "alive" }, { a: "alive" }]);
  expect([a.cluster.joined, b.cluster.joined]).toEqual([true, true]);
  await network.stop();
});

describe("C27: joining by one URL, on an operator's word", () => {
  test("meets that node, and all that it knows", async () => {
    const network = new HeartbeatNetwork();
    network.node({ uuid: "a" });
    network.node({ uuid: "b", seeds: ["http://a"] });
    const lone = network.node({ uuid: "c" });
    await network.pass(3);
    expect(lone.cluster.members()).toEqual([]);
    await lone.join.joinNow("http://a/");
    expect(statesSeenBy(lone)).toEqual({ a: "alive", b: "alive" });
    await network.stop();
  });

  test("of the node itself is BAD_REQUEST, of one that does not answer its failure", async () => {
    const { join } = setUp([], (url) => (url === "http://a" ? "self" : down));
    await expect(join.joinNow("http://a")).rejects.toMatchObject({ code: "BAD_REQUEST" });
    await expect(join.joinNow("http://b")).rejects.toBe(down);
    await expect(join.joinNow("not a url")).rejects.toMatchObject({ code: "BAD_REQUEST" });
  });
});
