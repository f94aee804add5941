import { Cluster, type ClusterOptions } from "../../src/cluster/cluster.ts";
import type { KnownMember, MembershipChange } from "../../src/cluster/membership.ts";
import { keyOfBytes } from "../../src/core/key.ts";
import { MEMBERS_MAX_COUNT, REMEMBER_TIMEOUT_MS } from "../../src/core/limits.ts";
import { createLogger, LogRing } from "../../src/core/log.ts";
import { announcementOf } from "../support/announcements.ts";
import { FakePeer } from "../support/fake-peer.ts";
import { ManualClock, settle } from "../support/manual-clock.ts";

const INTERVAL = 1_000;
const KEY = keyOfBytes(Buffer.from("x"));
const made: Cluster[] = [];
afterEach(() => Promise.all(made.splice(0).map((cluster) => cluster.stop())));

function setUp(options: Partial<ClusterOptions> = {}) {
  const clock = new ManualClock();
  const ring = new LogRing();
  const changes: MembershipChange[] = [];
  const saved: Array<readonly KnownMember[]> = [];
  const self = { writeable: true };
  const cluster = new Cluster({
    uuid: "self",
    baseUrl: "http://self",
    store: "own-store",
    version: "0.1.0",
    startNonce: "own-nonce",
    startedMs: 5_000,
    points: 128,
    settings: { replication: undefined, maxReplication: undefined },
    hasNeighbors: false,
    conflictMs: 10 * INTERVAL,
    gossipAddress: () => "10.0.0.1:7946",
    ownPeer: new FakePeer("self"),
    isWriteable: () => self.writeable,
    isIncomplete: () => false,
    freeBytes: () => 77,
    known: [],
    save: async (known) => void saved.push(known),
    isDraining: () => false,
    repairGraceMs: 600_000,
    makePeer: ({ uuid, base_url }) => new FakePeer(uuid, base_url),
    onChange: (change) => changes.push(change),
    clock,
    log: createLogger({ level: "info", ring, output: { write: () => undefined } }),
    ...options,
  });
  made.push(cluster);
  return { cluster, clock, ring, changes, saved, self };
}

const known = (said: Partial<KnownMember> = {}): KnownMember => ({
  uuid: "b",
  baseUrl: "http://b",
  store: "s",
  points: 16,
  replication: 3,
  ...said,
});

describe("replication", () => {
  test("is 1 for a node that is alone and is to meet nobody, 3 with neighbors or once it has met a member", async () => {
    const { cluster } = setUp();
    expect([cluster.replication, cluster.maxReplication]).toEqual([1, 2]);
    expect(setUp({ hasNeighbors: true }).cluster.replication).toBe(3);
    await cluster.observed(announcementOf("b"), "alive");
    expect([cluster.replication, cluster.maxReplication]).toEqual([3, 4]);
    expect(cluster.view().replication).toBe(3);
  });

  test("of a restarted node that knows members is 3, though none was heard yet", () => {
    expect(setUp({ known: [known()] }).cluster.replication).toBe(3);
  });

  test("that is set stands", () => {
    const { cluster } = setUp({ settings: { replication: 2, maxReplication: 5 }, hasNeighbors: true });
    expect([cluster.replication, cluster.maxReplication]).toEqual([2, 5]);
    expect(cluster.announcement()).toMatchObject({ replication: 2, max_replication: 5 });
  });

  test("in use at least: the lowest of all members ever met, living or not", async () => {
    const { cluster } = setUp({ settings: { replication: 3, maxReplication: undefined } });
    expect(cluster.view().lowestReplication).toBe(3);
    await cluster.observed(announcementOf("b", { replication: 4 }), "alive");
    expect(cluster.view().lowestReplication).toBe(3);
    await cluster.observed(announcementOf("c", { replication: 2 }), "alive");
    expect(cluster.view().lowestReplication).toBe(2);
    await cluster.observed(announcementOf("c", { replication: 2 }), "dead");
    expect(cluster.view().lowestReplication).toBe(2);
    await cluster.forget("c");
    expect(cluster.view().lowestReplication).toBe(3);
  });

  test("in use at least is remembered over a restart: what a dead member acknowledged may have that few copies", () => {
    const options = { settings: { replication: 3, maxReplication: undefined }, known: [known({ replication: 1 })] };
    expect(setUp(options).cluster.view().lowestReplication).toBe(1);
  });
});

describe("the view", () => {
  test("is the same object as long as nothing changes that it shows", async () => {
    const { cluster, self } = setUp();
    await cluster.observed(announcementOf("b"), "alive");
    const view = cluster.view();
    expect(cluster.view()).toBe(view);
    await cluster.observed(announcementOf("b", { free_bytes: 3 }), "alive");
    expect(cluster.view()).toBe(view);
    self.writeable = false;
    expect(cluster.view()).not.toBe(view);
    expect(cluster.view().ownNode.writeable).toBe(false);
    self.writeable = true;
    expect(cluster.view().ownNode.writeable).toBe(true);
  });

  test("changes when a member turns read-only, is suspect, dies; the old one stays as it was", async () => {
    const { cluster } = setUp();
    await cluster.observed(announcementOf("b"), "alive");
    const before = cluster.view();
    await cluster.observed(announcementOf("b", { writeable: false }), "alive");
    expect(cluster.view().node("b")).toMatchObject({ writeable: false, live: true, suspect: false });
    await cluster.observed(announcementOf("b"), "alive");
    await cluster.observed(announcementOf("b"), "suspect");
    expect(cluster.view().node("b")).toMatchObject({ writeable: true, live: true, suspect: true });
    await cluster.observed(announcementOf("b"), "dead");
    expect(cluster.view().node("b")).toMatchObject({ writeable: false, live: false, suspect: false });
    expect(before.node("b")).toMatchObject({ writeable: true, live: true, suspect: false });
  });

  test("knows the dead and those that left, but they are in no order", async () => {
    const { cluster } = setUp({ known: [known({ uuid: "dead", baseUrl: "http://dead" })] });
    await cluster.observed(announcementOf("b"), "alive");
    await cluster.observed(announcementOf("left"), "left");
    const view = cluster.view();
    expect(view.nodes.map(({ uuid, live }) => [uuid, live])).toEqual([
      ["self", true],
      ["dead", false],
      ["b", true],
      ["left", false],
    ]);
    expect(
      view
        .order(KEY)
        .map(({ uuid }) => uuid)
        .sort(),
    ).toEqual(["b", "self"]);
    expect(view.nodes.map(({ uuid, peer }) => peer.uuid === uuid)).toEqual([true, true, true, true]);
  });

  test("speaks to a member where it is now, and keeps the connection as long as it stays there", async () => {
    const { cluster } = setUp();
    await cluster.observed(announcementOf("b"), "alive");
    const { peer } = cluster.view().node("b") as { peer: unknown };
    await cluster.observed(announcementOf("b", { writeable: false }), "alive");
    expect(cluster.view().node("b")?.peer).toBe(peer);
    await cluster.observed(announcementOf("b", { base_url: "http://moved" }), "alive");
    expect(cluster.view().node("b")?.peer).not.toBe(peer);
    expect(cluster.view().node("b")?.baseUrl).toBe("http://moved");
  });

  test("places each node with its own points", async () => {
    const { cluster } = setUp();
    await cluster.observed(announcementOf("b", { points: 1 }), "alive");
    const led = Array.from({ length: 500 }, (_, i) => cluster.view().order(keyOfBytes(Buffer.from(`${i}`)))[0]?.uuid);
    expect(led.filter((uuid) => uuid === "b").length).toBeLessThan(50);
  });
});

describe("joined", () => {
  test("is a node without neighbors from the start, one with neighbors when it was answered", async () => {
    expect(setUp().cluster.joined).toBe(true);
    const { cluster } = setUp({ hasNeighbors: true });
    expect([cluster.joined, cluster.view().joined]).toEqual([false, false]);
    await cluster.observed(announcementOf("b"), "alive");
    expect(cluster.joined).toBe(false);
    cluster.noteMeeting();
    expect([cluster.joined, cluster.view().joined, cluster.announcement().joined]).toEqual([true, true, true]);
  });
});

describe("a conflict about the UUID", () => {
  test("makes the node read-only for a time from the last sign of it", async () => {
    const { cluster, clock } = setUp();
    cluster.noteConflict();
    expect([cluster.inConflict, cluster.isWriteable, cluster.announcement().writeable]).toEqual([true, false, false]);
    await clock.advance(9 * INTERVAL);
    cluster.noteConflict();
    await clock.advance(9 * INTERVAL);
    expect(cluster.isWriteable).toBe(false);
    await clock.advance(INTERVAL);
    expect([cluster.inConflict, cluster.isWriteable]).toEqual([false, true]);
  });

  test("does not make a read-only node writeable when it ends", async () => {
    const { cluster, clock, self } = setUp();
    self.writeable = false;
    cluster.noteConflict();
    await clock.advance(20 * INTERVAL);
    expect(cluster.isWriteable).toBe(false);
  });
});

describe("the announcement", () => {
  test("says what the node is", () => {
    const { cluster } = setUp();
    expect(cluster.announcement()).toEqual({
      uuid: "self",
      base_url: "http://self",
      writeable: true,
      version: "0.1.0",
      store: "own-store",
      start_nonce: "own-nonce",
      started_ms: 5_000,
      joined: true,
      incomplete: false,
      draining: false,
      replication: 1,
      max_replication: 2,
      points: 128,
      free_bytes: 77,
      neighbors: [],
      gossip_address: "10.0.0.1:7946",
    });
  });

  test("names all that may hold blobs, those that left too", async () => {
    const { cluster } = setUp({ known: [known()] });
    await cluster.observed(announcementOf("c"), "alive");
    await cluster.observed(announcementOf("left"), "left");
    expect(cluster.announcement().neighbors).toEqual([
      { uuid: "b", base_url: "http://b", replication: 3 },
      { uuid: "c", base_url: "http://c:8080", replication: 3 },
      { uuid: "left", base_url: "http://left:8080", replication: 3 },
    ]);
  });
});

test("C23: nodes that keep other numbers of copies are named, in the log once each time that they appear", async () => {
  const { cluster, ring } = setUp({ settings: { replication: 3, maxReplication: 4 } });
  const lines = () => ring.lines().filter(({ message }) => message.includes("keeps 2 to 4 copies, this node 3 to 4"));
  await cluster.observed(announcementOf("b", { replication: 2 }), "alive");
  await cluster.observed(announcementOf("c"), "alive");
  expect(cluster.view().disagreements).toHaveLength(1);
  expect(lines()).toHaveLength(1);
  await cluster.observed(announcementOf("b"), "alive");
  expect(cluster.view().disagreements).toEqual([]);
  await cluster.observed(announcementOf("b", { replication: 2 }), "alive");
  expect(lines()).toHaveLength(2);
});

describe("members that others know", () => {
  test("are learned, kept on disk, and count as dead until gossip says otherwise", async () => {
    const { cluster, saved } = setUp();
    await cluster.learn([
      { uuid: "down", base_url: "http://down", replication: 2 },
      { uuid: "self", base_url: "http://self", replication: 1 },
    ]);
    expect(cluster.members().map(({ announcement, state }) => [announcement.uuid, state])).toEqual([["down", "dead"]]);
    expect(saved.at(-1)?.map(({ uuid }) => uuid)).toEqual(["down"]);
    // What it promised counts before it was ever met, no more and no less: one such member, lost for good, makes no 404 uncertain.
    expect(cluster.view().lowestReplication).toBe(2);
    await cluster.observed(announcementOf("down"), "alive");
    await cluster.learn([{ uuid: "down", base_url: "http://elsewhere", replication: 1 }]);
    expect(cluster.member("down")).toMatchObject({ state: "alive", announcement: { base_url: "http://down:8080" } });
  });

  test("a root that remembers this node as a member of another one does not make it a member of its own cluster", () => {
    const { cluster } = setUp({ known: [known({ uuid: "self" }), known()] });
    expect(cluster.members().map(({ announcement }) => announcement.uuid)).toEqual(["b"]);
  });
});

describe("members", () => {
  test("are kept on disk with each word, and told of when they change", async () => {
    const { cluster, changes, saved, ring } = setUp();
    await cluster.observed(announcementOf("b", { replication: 2 }), "alive");
    await cluster.observed(announcementOf("b", { replication: 2 }), "left");
    expect(changes.map(({ from, to }) => `${from} > ${to}`)).toEqual(["unknown > alive", "alive > left"]);
    expect(saved.at(-1)).toEqual([
      { uuid: "b", baseUrl: "http://b:8080", store: "store-of-b", points: 16, replication: 2 },
    ]);
    expect(ring.lines().map(({ message }) => message)).toEqual([
      "node b at http://b:8080 is alive (was unknown)",
      expect.stringContaining("http://b:8080 keeps 2 to 4 copies"),
      "node b at http://b:8080 is left (was alive)",
    ]);
  });

  test("that were only heard of, or read from disk, are not called dead in the log when they are met", async () => {
    const { cluster, changes } = setUp({ known: [known()] });
    await cluster.learn([{ uuid: "c", base_url: "http://c:8080", replication: 2 }]);
    for (const uuid of ["b", "c"]) await cluster.observed(announcementOf(uuid), "alive");
    await cluster.observed(announcementOf("b"), "dead");
    await cluster.observed(announcementOf("b"), "alive");
    expect(changes.map(({ uuid, from, to }) => `${uuid}: ${from} > ${to}`)).toEqual([
      "b: unknown > alive",
      "c: unknown > alive",
      "b: alive > dead",
      "b: dead > alive",
    ]);
  });

  test("are on disk before the blob code sees them: who gets copies is known after a crash", async () => {
    const written: Array<{ known: readonly KnownMember[]; done: () => void }> = [];
    const save = (known: readonly KnownMember[]) =>
      new Promise<void>((done) => {
        written.push({ known, done });
      });
    const { cluster } = setUp({ save });
    const heard = [cluster.observed(announcementOf("b"), "alive"), cluster.observed(announcementOf("c"), "alive")];
    await settle();
    expect([cluster.members(), cluster.view().nodes.length]).toEqual([[], 1]);
    expect(written.map(({ known }) => known.map(({ uuid }) => uuid))).toEqual([["b"], ["b", "c"]]);
    for (const { done } of written) done();
    await Promise.all(heard);
    expect(cluster.view().nodes.map(({ uuid }) => uuid)).toEqual(["self", "b", "c"]);
  });

  test("C9: are heard, a little later, also when that disk hangs", async () => {
    const { cluster, clock, ring } = setUp({ save: () => new Promise(() => undefined) });
    const heard = cluster.observed(announcementOf("b"), "alive");
    await clock.advance(REMEMBER_TIMEOUT_MS);
    await heard;
    expect(cluster.view().node("b")?.live).toBe(true);
    expect(ring.lines()[0]).toMatchObject({ level: "error", message: expect.stringContaining("not written within") });
    expect(clock.pendingTimers).toBe(0);
  });

  test("are heard also when the disk that remembers them is broken: that is an error in the log", async () => {
    const save = () => Promise.reject(new Error("no space left"));
    const { cluster, ring } = setUp({ save });
    await cluster.observed(announcementOf("b"), "alive");
    expect(cluster.view().node("b")?.live).toBe(true);
    expect(ring.lines().some(({ level, message }) => level === "error" && message.includes("no space left"))).toBe(
      true,
    );
  });

  test("an operator is told when a member can't be forgotten for good", async () => {
    const save = () => Promise.reject(new Error("no space left"));
    await expect(setUp({ known: [known()], save }).cluster.forget("b")).rejects.toThrow("no space left");
    const { cluster, saved } = setUp({ known: [known()] });
    expect([await cluster.forget("b"), await cluster.forget("b")]).toEqual([true, false]);
    expect([saved.at(-1), cluster.member("b")]).toEqual([[], undefined]);
  });
});

describe("C23: settings that do not fit are named, and change the view", () => {
  const goNode = announcementOf("go", { version: "unknown", start_nonce: "", replication: 1, store: "" });
  const told = (cluster: Cluster) => cluster.view().disagreements;

  test("C36: a Go member, where nodes have other numbers of points than it reckons with", async () => {
    const { cluster } = setUp({ points: 128 });
    await cluster.observed(goNode, "alive");
    expect(told(cluster)).toEqual([expect.stringMatching(/^http:\/\/go:8080 is a Go node.*CASK_VNODES=16/)]);
    await cluster.observed(goNode, "dead");
    expect(told(cluster)).toEqual([]);
    const fitting = setUp({ points: 16 }).cluster;
    await fitting.observed(goNode, "alive");
    expect(told(fitting)).toEqual([]);
  });

  test("another number of copies, as long as that member lives", async () => {
    const { cluster, clock } = setUp({ settings: { replication: 3, maxReplication: 4 } });
    await cluster.observed(announcementOf("b"), "alive");
    expect(told(cluster)).toEqual([]);
    const before = cluster.view().stableSinceMs;
    await clock.advance(1_000);
    await cluster.observed(announcementOf("b", { max_replication: 3 }), "alive");
    expect(told(cluster)).toEqual([expect.stringContaining("http://b:8080 keeps 3 to 3 copies, this node 3 to 4")]);
    expect(cluster.view().stableSinceMs).toBe(before + 1_000);
    await cluster.observed(announcementOf("b", { max_replication: 3 }), "dead");
    expect(told(cluster)).toEqual([]);
  });
});

test("C23: a member that is away and promised more copies than this node keeps is named until it is forgotten", async () => {
  const { cluster } = setUp({ settings: { replication: 1, maxReplication: 2 } });
  const told = () => cluster.view().disagreements;
  await cluster.observed(announcementOf("b", { replication: 2, max_replication: 4 }), "dead");
  expect(told()).toEqual([]); // two copies are kept here, too
  await cluster.observed(announcementOf("c"), "left");
  expect(told()).toEqual([
    expect.stringMatching(/^http:\/\/c:8080, which is away, promised 3 copies, this node keeps 2:/),
  ]);
  await cluster.forget("c");
  expect(told()).toEqual([]);
});

describe("a member that an operator had forgotten", () => {
  const neighbor = { uuid: "b", base_url: "http://b", replication: 3 };

  test("is not brought back by nodes that were not told, nor by late news of its end; on disk, too", async () => {
    let disk: readonly string[] = [];
    const save = async (_known: readonly KnownMember[], forgotten: readonly string[]) => {
      disk = forgotten;
    };
    const { cluster } = setUp({ known: [known()], save });
    await cluster.forget("b");
    const restarted = setUp({ known: [], forgotten: disk }).cluster;
    for (const each of [cluster, restarted]) {
      await each.learn([neighbor]);
      for (const state of ["suspect", "dead", "left"] as const) await each.observed(announcementOf("b"), state);
      expect([each.member("b"), each.hasForgotten("b")]).toEqual([undefined, true]);
    }
  });

  test("is one again once it lives, and stays one over a restart", async () => {
    let disk: { members: readonly KnownMember[]; forgotten: readonly string[] } = { members: [], forgotten: [] };
    const save = async (members: readonly KnownMember[], forgotten: readonly string[]) => {
      disk = { members, forgotten };
    };
    const { cluster } = setUp({ known: [known()], save });
    await cluster.forget("b");
    await cluster.observed(announcementOf("b"), "alive");
    expect([cluster.member("b")?.state, cluster.hasForgotten("b")]).toEqual(["alive", false]);
    const restarted = setUp({ known: disk.members, forgotten: disk.forgotten }).cluster;
    expect([restarted.member("b")?.state, restarted.hasForgotten("b")]).toEqual(["dead", false]);
  });

  test("is remembered as such among so many at most: the oldest are dropped", async () => {
    const { cluster } = setUp();
    for (let i = 0; i <= MEMBERS_MAX_COUNT; i++) await cluster.forget(`n${i}`);
    expect([cluster.hasForgotten("n0"), cluster.hasForgotten("n1")]).toEqual([false, true]);
  });
});
