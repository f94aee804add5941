import { Drain } from "../../src/blobs/drain.ts";
import type { RepairOutcome } from "../../src/blobs/repair.ts";
import { type Key, keyOfBytes } from "../../src/core/key.ts";
import { DRAIN_RETRY_MS, REPAIR_BATCH_COUNT } from "../../src/core/limits.ts";
import { silentLogger } from "../../src/core/log.ts";
import { SeededRandom } from "../../src/core/random.ts";
import { FakePeer } from "../support/fake-peer.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { type ViewOptions, viewOf } from "../support/views.ts";

const never = new AbortController().signal;

function setUp({ keys: count = 5, ...options }: { keys?: number } & Partial<ViewOptions> = {}) {
  const peers = ["self", "b", "c", "d"].map((name) => new FakePeer(name));
  const [own] = peers as [FakePeer, ...FakePeer[]];
  const keys = Array.from({ length: count }, (_, i) => keyOfBytes(Buffer.from(`${i}`))).sort();
  for (const key of keys) own.blobs.set(key, Buffer.from("x"));
  const clock = new ManualClock();
  const commits = { commitsUnderWay: 0 };
  const disk: { sinceMs: number | null } = { sinceMs: null };
  const extra: Partial<ViewOptions> = {};
  const handedOver: Key[][] = [];
  const view = () =>
    viewOf({ peers, replication: 2, draining: disk.sinceMs === null ? [] : ["self"], ...options, ...extra });
  /** Sends each key to the next owners, as repair does. */
  const repair = async (batch: readonly Key[]): Promise<RepairOutcome[]> => {
    handedOver.push([...batch]);
    for (const key of batch) for (const peer of peers.slice(1, 3)) peer.blobs.set(key, Buffer.from("x"));
    return batch.map((key) => ({ key, result: "repaired", copies: 3, sentBytes: 1, error: null }));
  };
  const drain = () =>
    new Drain({
      view,
      inventory: {
        ready: true,
        get count() {
          return own.blobs.size;
        },
        keysIn: ({ from }, limit) =>
          ([...own.blobs.keys()] as Key[])
            .sort()
            .filter((key) => key >= from)
            .slice(0, limit),
      },
      own: Object.assign(commits, { has: (wanted: readonly Key[]) => own.has(wanted) }),
      store: own.store,
      repair: { repair },
      sinceMs: () => disk.sinceMs,
      begin: async (sinceMs) => {
        disk.sinceMs = sinceMs;
      },
      clock,
      random: new SeededRandom(1),
      log: silentLogger(),
    });
  return {
    peers: peers as [FakePeer, FakePeer, FakePeer, FakePeer],
    keys,
    clock,
    disk,
    extra,
    handedOver,
    commits,
    drain,
  };
}

/** Steps until it has nothing to do, or waits. */
async function run(drain: Drain) {
  for (let i = 0; i < 100; i++) {
    const result = await drain.step(never);
    if (result !== "busy") return result;
  }
  throw new Error("it does not end");
}

describe("is refused where the promise could not be kept", () => {
  test.each([
    ["too few others are alive", { dead: ["c", "d"] }],
    ["too few others take blobs", { readOnly: ["b", "c"] }],
    ["the others are being emptied, too", { draining: ["b", "c"] }],
    ["the others are awaited", { awaited: ["b", "d"] }],
  ] as Array<[string, Partial<ViewOptions>]>)("%s", async (_name, options) => {
    const { drain, disk } = setUp(options);
    await expect(drain().begin()).rejects.toMatchObject({ code: "BAD_REQUEST" });
    expect(disk.sinceMs).toBeNull();
  });

  test("a Go node is in the cluster: it can't vouch for the keys that it owns, so this would never end", async () => {
    const { drain, peers, disk } = setUp();
    peers[3].isGo = true;
    await expect(drain().begin()).rejects.toThrow("http://d is in the cluster: a Go Cask node");
    expect(disk.sinceMs).toBeNull();
  });
});

test("begins on disk, hands over in batches, and is done when all keys are vouched for", async () => {
  const { drain, keys, handedOver, disk, clock } = setUp({ keys: REPAIR_BATCH_COUNT + 3 });
  const made = drain();
  expect(await made.step(never)).toBe("idle");
  expect(made.status()).toMatchObject({ state: "no", since: null });
  await made.begin();
  expect(disk.sinceMs).toBe(clock.wallMs());
  expect(made.status()).toMatchObject({ state: "draining", keys: keys.length, vouched: 0 });
  expect(await run(made)).toBe("idle");
  expect(handedOver.map((batch) => batch.length)).toEqual([REPAIR_BATCH_COUNT, 3]);
  expect(made.status()).toMatchObject({ state: "done", vouched: keys.length, lacking: 0 });
  expect(made.status().text).toContain("can be switched off");
});

describe("C21: is not done by words alone", () => {
  test("that others hold copies is not enough: each key wants vouches from so many stores", async () => {
    const { drain, peers, keys } = setUp();
    peers[2].onVouch = () => ({ vouched: false, reason: "its copy is corrupt" });
    const made = drain();
    await made.begin();
    expect(await run(made)).toEqual({ afterMs: DRAIN_RETRY_MS });
    expect(made.status()).toMatchObject({ state: "draining" });
    peers[2].onVouch = () => ({ vouched: true, store: peers[2].store });
    expect(await run(made)).toBe("idle");
    expect(made.status()).toMatchObject({ state: "done", vouched: keys.length });
  });

  test("C14: two nodes on one store are one copy, and this node's own store is none", async () => {
    const { drain, peers } = setUp();
    const made = drain();
    await made.begin();
    for (const store of [peers[2].store, peers[0].store]) {
      peers[1].onVouch = () => ({ vouched: true, store });
      expect(await run(made)).toEqual({ afterMs: DRAIN_RETRY_MS });
    }
  });

  test("vouches are asked for after the copies were made, with a nonce of their own each time", async () => {
    const { drain, peers } = setUp({ keys: REPAIR_BATCH_COUNT + 1 });
    const made = drain();
    await made.begin();
    await run(made);
    const nonces = peers[1].vouchRequests.map(({ nonce }) => nonce);
    expect(nonces).toHaveLength(2);
    expect(new Set(nonces).size).toBe(2);
    expect(peers[0].vouchRequests).toEqual([]);
  });

  test("a node that can't be asked gives none, and it is tried again", async () => {
    const { drain, peers } = setUp();
    peers[1].vouch = () => Promise.reject(new Error("down"));
    const made = drain();
    await made.begin();
    expect(await run(made)).toEqual({ afterMs: DRAIN_RETRY_MS });
    expect(made.status().state).toBe("draining");
  });
});

test("waits for what is being stored when it begins: its key might be behind the place where the pass is then", async () => {
  const { drain, keys, peers, commits } = setUp();
  commits.commitsUnderWay = 1;
  const made = drain();
  await made.begin();
  expect(await run(made)).toEqual({ afterMs: expect.any(Number) });
  expect(made.status().state).toBe("draining");
  const late = keyOfBytes(Buffer.from("came last"));
  peers[0].blobs.set(late, Buffer.from("x"));
  commits.commitsUnderWay = 0;
  expect(await run(made)).toBe("idle");
  expect(made.status()).toMatchObject({ state: "done", vouched: keys.length + 1 });
});

test("goes on after a restart from its begin: vouches for a former life don't count", async () => {
  const { drain, keys, peers } = setUp();
  const before = drain();
  await before.begin();
  await before.step(never);
  expect(before.status().vouched).toBe(keys.length);
  const after = drain();
  expect(after.status()).toMatchObject({ state: "draining", vouched: 0 });
  const asked = peers[1].vouchRequests.length;
  await run(after);
  expect(peers[1].vouchRequests.length).toBeGreaterThan(asked);
  expect(after.status().state).toBe("done");
});

test("is cancelled on disk, and begins anew afterwards", async () => {
  const { drain, disk, handedOver } = setUp();
  const made = drain();
  await made.begin();
  await run(made);
  await made.cancel();
  expect([disk.sinceMs, made.status().state, await made.step(never)]).toEqual([null, "no", "idle"]);
  const before = handedOver.length;
  await made.begin();
  await run(made);
  expect(handedOver.length).toBeGreaterThan(before);
});

test("begin is no new begin while it is under way", async () => {
  const { drain, disk, clock } = setUp();
  const made = drain();
  await made.begin();
  const { sinceMs } = disk;
  await clock.advance(5_000);
  await made.begin();
  expect(disk.sinceMs).toBe(sinceMs);
});

test("a key of which there is no copy here any more needs nobody's vouch", async () => {
  const { drain, peers, keys } = setUp();
  const made = drain();
  await made.begin();
  const gone = keys[2] as Key;
  peers[0].has = async (asked) =>
    asked.map((key) =>
      key === gone ? { state: "absent" } : { state: "present", sizeBytes: 1, verifiedAtMs: null, store: "s" },
    );
  for (const peer of peers.slice(1)) {
    peer.onVouch = (key) =>
      key === gone ? { vouched: false, reason: "has no copy" } : { vouched: true, store: peer.store };
  }
  expect(await run(made)).toBe("idle");
});

test("a copy that can't be told of is not handed over", async () => {
  const { drain, peers } = setUp();
  const made = drain();
  await made.begin();
  peers[0].onHas = "unknown";
  expect(await run(made)).toEqual({ afterMs: DRAIN_RETRY_MS });
});

describe("a node that vouched is lost", () => {
  test("after it was done: it is not done any more, until the others vouch again", async () => {
    const { drain, extra, peers, keys, handedOver } = setUp();
    const made = drain();
    await made.begin();
    await run(made);
    expect(made.status().state).toBe("done");
    const asked = peers[3].vouchRequests.length;
    Object.assign(extra, { dead: ["b"] });
    peers[2].blobs.clear(); // and what the other one said then is not believed any more
    await made.step(never);
    expect(made.status().state).toBe("draining");
    expect(handedOver.slice(1).flat()).toEqual(keys);
    for (const key of keys) for (const peer of [peers[2], peers[3]]) peer.blobs.set(key, Buffer.from("x"));
    await run(made);
    await run(made);
    expect(made.status().state).toBe("done");
    expect(peers[3].vouchRequests.length).toBeGreaterThan(asked);
  });

  test("while it is under way: all is asked for once more before it is done", async () => {
    const { drain, extra, handedOver } = setUp({ keys: 2 * REPAIR_BATCH_COUNT });
    const made = drain();
    await made.begin();
    await made.step(never);
    Object.assign(extra, { dead: ["d"] });
    await run(made);
    expect(made.status()).toMatchObject({ state: "done", vouched: 2 * REPAIR_BATCH_COUNT, lacking: 0 });
    expect(handedOver.flat()).toHaveLength(4 * REPAIR_BATCH_COUNT);
  });
});
