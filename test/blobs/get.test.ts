import { randomBytes } from "node:crypto";
import { BlobCache } from "../../src/blobs/blob-cache.ts";
import { Get, type Opened } from "../../src/blobs/get.ts";
import { Strangers } from "../../src/blobs/strangers.ts";
import type { ClusterView } from "../../src/cluster/cluster-view.ts";
import { type Key, keyOfBytes } from "../../src/core/key.ts";
import { silentLogger } from "../../src/core/log.ts";
import { PiecePool, recycle } from "../../src/core/piece-pool.ts";
import { FakePeer } from "../support/fake-peer.ts";
import { ManualClock, settle } from "../support/manual-clock.ts";
import { type ViewOptions, viewOf } from "../support/views.ts";

const SMALL = Buffer.from("a small blob");
const LARGE = randomBytes(3 * 1024 * 1024 + 17);
const KEY = keyOfBytes(SMALL);
const LARGE_KEY = keyOfBytes(LARGE);

function setUp(count = 3, options: Partial<ViewOptions> = {}, mayBeHere = true) {
  const peers = Array.from({ length: count }, (_, i) => new FakePeer(`n${i}`));
  const clock = new ManualClock();
  const kept: Key[] = [];
  const fetched: Key[] = [];
  let view: ClusterView = viewOf({ peers, replication: 3, ...options });
  const met: string[] = [];
  let meeting = async (uuid: string): Promise<unknown> => met.push(uuid);
  const cache = new BlobCache(2 ** 20);
  const own = new Map<Key, Buffer>();
  const get = new Get({
    view: () => view,
    keep: {
      whole: (key) => void kept.push(key),
      stream: (key, _size, verified) => {
        kept.push(key);
        return verified as AsyncGenerator<Uint8Array>;
      },
    },
    cache,
    readOwn: async (key) => own.get(key) ?? null,
    mayBeHere: () => mayBeHere,
    strangers: new Strangers({ view: () => view, meet: (node) => meeting(node.uuid) }),
    onFetched: (key) => void fetched.push(key),
    clock,
    log: silentLogger(),
  });
  const setView = (changed: Partial<ViewOptions>) => {
    view = viewOf({ peers, replication: 3, ...options, ...changed });
  };
  const onMeet = (then: typeof meeting) => {
    meeting = then;
  };
  return {
    ...{ cache, peers: peers as [FakePeer, FakePeer, FakePeer, ...FakePeer[]], clock, get, kept, fetched, setView },
    ...{ met, onMeet, own },
  };
}

test("a node that knows of no copy of its own asks the owners first, and its disk all the same before it gives up", async () => {
  const { peers, get } = setUp(3, {}, false);
  for (const peer of peers) peer.blobs.set(KEY, SMALL);
  expect(await bytesOf(await get.open(KEY))).toEqual(SMALL);
  expect(peers.map((peer) => peer.gets)).toEqual([0, 1, 0]);
  const { peers: others, get: second } = setUp(3, {}, false);
  others[0].blobs.set(KEY, SMALL);
  expect(await bytesOf(await second.open(KEY))).toEqual(SMALL);
  expect(others.map((peer) => peer.gets)).toEqual([1, 1, 1]);
});

async function bytesOf(opened: Opened): Promise<Buffer> {
  if (opened.kind === "whole") return opened.bytes;
  const parts: Uint8Array[] = [];
  for await (const chunk of opened.chunks) parts.push(chunk);
  return Buffer.concat(parts);
}

test("serves the own copy and asks nobody else", async () => {
  const { peers, get, kept } = setUp();
  for (const peer of peers) peer.blobs.set(KEY, SMALL);
  expect(await bytesOf(await get.open(KEY))).toEqual(SMALL);
  expect(peers.map((peer) => peer.gets)).toEqual([1, 0, 0]);
  expect(kept).toEqual([]);
  expect(peers[0].hashResults).toEqual(["verified"]);
});

test("C4: a corrupt own copy is not served; another one is, and it is kept", async () => {
  const { peers, get, kept } = setUp();
  for (const peer of peers) peer.blobs.set(KEY, SMALL);
  peers[0].onGet = "corrupt";
  expect(await bytesOf(await get.open(KEY))).toEqual(SMALL);
  expect(peers[0].hashResults).toEqual(["corrupt"]);
  expect(kept).toEqual([KEY]);
});

test("C5: a peer's corrupt bytes are not served, whatever the size", async () => {
  const { peers, get } = setUp();
  peers[1].blobs.set(KEY, SMALL);
  peers[1].onGet = "corrupt";
  await expect(get.open(KEY)).rejects.toMatchObject({ code: "DONT_KNOW" });
  peers[1].blobs.set(LARGE_KEY, LARGE);
  const opened = await get.open(LARGE_KEY);
  let received = 0;
  const read = async () => {
    for await (const chunk of opened.kind === "stream" ? opened.chunks : []) received += chunk.length;
  };
  await expect(read()).rejects.toMatchObject({ code: "CORRUPT" });
  expect(received).toBeLessThan(LARGE.length); // the body was never complete
});

test("a large blob streams whole, and an owner that lacked it keeps it", async () => {
  const { peers, get, kept } = setUp();
  peers[2].blobs.set(LARGE_KEY, LARGE);
  expect((await bytesOf(await get.open(LARGE_KEY))).equals(LARGE)).toBe(true);
  expect(kept).toEqual([LARGE_KEY]);
});

test("C32, C33: a hanging owner delays by the hedge only", async () => {
  const { peers, clock, get } = setUp();
  peers[0].onGet = "hanging";
  peers[1].onGet = "hanging";
  peers[2].blobs.set(KEY, SMALL);
  const opened = get.open(KEY);
  await clock.advance(499);
  expect(peers[2].gets).toBe(0);
  await clock.advance(1);
  expect(await bytesOf(await opened)).toEqual(SMALL);
});

test("finds a blob at a node that is no owner, even one thought dead", async () => {
  const { peers, get } = setUp(5, { dead: ["n4"] });
  (peers[4] as FakePeer).blobs.set(KEY, SMALL);
  expect(await bytesOf(await get.open(KEY))).toEqual(SMALL);
});

describe("absent or don't know", () => {
  test("404 when all members say absent, each asked once in parallel", async () => {
    const { peers, get } = setUp(5);
    await expect(get.open(KEY)).rejects.toMatchObject({ code: "NOT_FOUND" });
    expect(peers.map((peer) => peer.asks)).toEqual([1, 1, 1, 1, 1]);
  });

  test("404 with fewer silent members than the lowest replication in use, 503 with as many", async () => {
    const { peers, clock, get } = setUp(5);
    peers[1].onHas = "failing";
    peers[2].onHas = "unknown";
    await expect(get.open(KEY)).rejects.toMatchObject({ code: "NOT_FOUND" });
    (peers[3] as FakePeer).onHas = "hanging";
    const opened = get.open(KEY);
    const expectation = expect(opened).rejects.toMatchObject({ code: "DONT_KNOW" });
    await clock.advance(2_000);
    await expectation;
  });

  test("C10: an own disk that fails is no absence", async () => {
    const { peers, get } = setUp(1, { replication: 1 });
    peers[0].onGet = "failing";
    peers[0].onHas = "unknown";
    await expect(get.open(KEY)).rejects.toMatchObject({ code: "DONT_KNOW" });
  });

  test("never 404 before the neighbors were met", async () => {
    const { get } = setUp(1, { replication: 1, joined: false });
    await expect(get.open(KEY)).rejects.toMatchObject({ code: "DONT_KNOW" });
  });

  test("a member whose disk was replaced, and that does not know that yet, says nothing by what it lacks", async () => {
    const { peers, get } = setUp(3, { replication: 2, unaware: ["n2"] });
    peers[1].onHas = "failing";
    await expect(get.open(KEY)).rejects.toMatchObject({
      code: "DONT_KNOW",
      message: expect.stringContaining("its disk was replaced"),
    });
  });

  test("nor does one that answers from another disk than the one it was met with", async () => {
    const { peers, get } = setUp(3, { replication: 2, knownStores: { n1: "store n1", n2: "store n2" } });
    for (const peer of peers)
      peer.has = async (keys) => keys.map(() => ({ state: "absent", store: `store ${peer.uuid}` }));
    await expect(get.open(KEY)).rejects.toMatchObject({ code: "NOT_FOUND" });
    peers[1].onHas = "failing";
    peers[1].has = FakePeer.prototype.has;
    peers[2].has = async (keys) => keys.map(() => ({ state: "absent", store: "a new one" }));
    await expect(get.open(KEY)).rejects.toMatchObject({
      code: "DONT_KNOW",
      message: expect.stringContaining("its disk was replaced"),
    });
  });

  describe("one that was asked knows other members", () => {
    const stranger = new FakePeer("n3");
    const asking = () => {
      const parts = setUp(3, { replication: 2 });
      parts.peers[1].has = async (keys) => keys.map(() => ({ state: "absent", members: "others" }));
      return parts;
    };

    test("who is met through it has the blob", async () => {
      const { peers, get, setView, onMeet } = asking();
      stranger.blobs.set(KEY, SMALL);
      onMeet(async () => setView({ peers: [...peers, stranger] }));
      expect(await bytesOf(await get.open(KEY))).toEqual(SMALL);
    });

    test("it can't be asked whom it knows: don't know", async () => {
      const { get, onMeet } = asking();
      onMeet(async () => {
        throw new Error("down");
      });
      await expect(get.open(KEY)).rejects.toMatchObject({
        code: "DONT_KNOW",
        message: expect.stringContaining("http://n1 (knows other members)"),
      });
    });

    test("there is nobody new: 404, and it is not asked again before one of the two knows others", async () => {
      const { get, met, peers } = asking();
      for (let i = 0; i < 3; i++) await expect(get.open(KEY)).rejects.toMatchObject({ code: "NOT_FOUND" });
      expect(met).toEqual(["n1"]);
      peers[1].has = async (keys) => keys.map(() => ({ state: "absent", members: "still others" }));
      await expect(get.open(KEY)).rejects.toMatchObject({ code: "NOT_FOUND" });
      expect(met).toEqual(["n1", "n1"]);
    });
  });

  test("C10: one copy in quarantine is proof enough that the blob was stored, whoever says absent", async () => {
    const { peers, get } = setUp(5);
    peers[1].onHas = "quarantined";
    await expect(get.open(KEY)).rejects.toMatchObject({ code: "DONT_KNOW" });
  });

  test("a member with a lower replication makes it harder to be certain", async () => {
    const { peers, get } = setUp(3, { lowestReplication: 1 });
    peers[2].onHas = "failing";
    await expect(get.open(KEY)).rejects.toMatchObject({ code: "DONT_KNOW" });
  });

  test("a search ends in its time, hanging members or not: below 2 s in all", async () => {
    const { peers, clock, get } = setUp(3, { replication: 2 });
    peers[1].onGet = "hanging";
    peers[1].onHas = "hanging";
    const expectation = expect(get.open(KEY)).rejects.toMatchObject({ code: "NOT_FOUND" });
    await clock.advance(1_900);
    await expectation;
  });
});

describe("C34: readers of one key", () => {
  test("share one fetch of a small blob", async () => {
    const { peers, get } = setUp();
    peers[1].blobs.set(KEY, SMALL);
    const all = await Promise.all(Array.from({ length: 50 }, () => get.open(KEY).then(bytesOf)));
    expect(all.every((bytes) => bytes.equals(SMALL))).toBe(true);
    expect(peers[1].gets).toBe(1);
  });

  test("one that goes away does not end it for the others", async () => {
    const { peers, clock, get } = setUp();
    peers[0].onGet = "hanging";
    peers[1].blobs.set(KEY, SMALL);
    const controller = new AbortController();
    const first = get.open(KEY, controller.signal);
    const second = get.open(KEY);
    await settle();
    controller.abort(new Error("gone"));
    await expect(first).rejects.toThrow("gone");
    await clock.advance(300);
    expect(await bytesOf(await second)).toEqual(SMALL);
  });

  test("a new reader after all others went away begins anew", async () => {
    const { peers, clock, get } = setUp();
    peers[0].onGet = "hanging";
    peers[1].blobs.set(KEY, SMALL);
    const controller = new AbortController();
    const first = get.open(KEY, controller.signal);
    controller.abort(new Error("gone"));
    await expect(first).rejects.toThrow("gone");
    const second = get.open(KEY);
    await clock.advance(300);
    expect(await bytesOf(await second)).toEqual(SMALL);
  });

  test("share nothing of a large one", async () => {
    const { peers, get } = setUp();
    peers[0].blobs.set(LARGE_KEY, LARGE);
    const [a, b] = await Promise.all([get.open(LARGE_KEY), get.open(LARGE_KEY)]);
    if (a.kind === "stream") a.close();
    expect((await bytesOf(b)).equals(LARGE)).toBe(true);
  });
});

test("ranges: of a small blob from its verified bytes, of a large one from a peer", async () => {
  const { peers, get } = setUp();
  peers[0].blobs.set(KEY, SMALL);
  peers[1].blobs.set(LARGE_KEY, LARGE);
  expect((await bytesOf(await get.openRange(KEY, SMALL.length, { start: 2, end: 6 }))).toString()).toBe("small");
  const part = await get.openRange(LARGE_KEY, LARGE.length, { start: 2_000_000, end: 2_000_099 });
  expect((await bytesOf(part)).equals(LARGE.subarray(2_000_000, 2_000_100))).toBe(true);
});

test("the size of a blob without reading it", async () => {
  const { peers, get } = setUp();
  peers[2].blobs.set(LARGE_KEY, LARGE);
  expect(await get.size(LARGE_KEY)).toBe(LARGE.length);
  await expect(get.size(KEY)).rejects.toMatchObject({ code: "NOT_FOUND" });
  expect(peers.map((peer) => peer.gets)).toEqual([0, 0, 0]);
});

test("the size of a blob that only a Go node holds, which does not say, is learned by opening it", async () => {
  const { peers, get } = setUp();
  peers[1].blobs.set(LARGE_KEY, LARGE);
  peers[1].has = async () => [{ state: "present", sizeBytes: null, verifiedAtMs: null, store: "go:n1" }];
  expect([await get.size(LARGE_KEY), peers[1].gets]).toEqual([LARGE.length, 1]);
  peers[2].blobs.set(LARGE_KEY, LARGE);
  expect([await get.size(LARGE_KEY), peers[1].gets]).toEqual([LARGE.length, 1]);
});

describe("the cache", () => {
  test("has what was read and hashed; nobody is asked for it then, and it counts as fetched", async () => {
    const { peers, get, fetched } = setUp();
    peers[0].blobs.set(KEY, SMALL);
    expect(get.atHand(KEY)).toBeNull();
    await get.open(KEY);
    expect(get.atHand(KEY)).toEqual({ kind: "whole", sizeBytes: SMALL.length, bytes: SMALL });
    expect(await bytesOf(await get.openRange(KEY, SMALL.length, { start: 2, end: 6 }))).toEqual(SMALL.subarray(2, 7));
    expect(peers.map((peer) => peer.gets)).toEqual([1, 0, 0]);
    expect(fetched).toEqual([KEY, KEY, KEY]);
  });

  test("never has bytes that do not match their key, nor large blobs", async () => {
    const { peers, get } = setUp(1);
    peers[0].blobs.set(KEY, SMALL).set(LARGE_KEY, LARGE);
    peers[0].onGet = "corrupt";
    await expect(get.open(KEY)).rejects.toMatchObject({ code: "DONT_KNOW" });
    expect(get.atHand(KEY)).toBeNull();
  });

  test("says nothing of whether a blob is stored: its size is asked of those who should know", async () => {
    const { peers, get } = setUp();
    peers[0].blobs.set(KEY, SMALL);
    await get.open(KEY);
    peers[0].blobs.delete(KEY);
    await expect(get.size(KEY)).rejects.toMatchObject({ code: "NOT_FOUND" });
  });
});

describe("a small blob in a piece of a pool: the piece is free once, when nobody looks at it any more", () => {
  function withPool() {
    const context = setUp();
    const pool = new PiecePool(1_000, 1);
    context.peers[0].pool = pool;
    context.peers[0].blobs.set(KEY, SMALL);
    const expectFreeOnce = async () => {
      await settle();
      expect(pool.take()).not.toBeNull();
      await settle();
      expect(pool.take()).toBeNull();
    };
    return { ...context, pool, expectFreeOnce };
  }

  const done = (opened: Opened) => recycle(opened.kind === "whole" ? opened.bytes : Buffer.alloc(0));

  test("by one reader", async () => {
    const { get, pool, expectFreeOnce } = withPool();
    const opened = await get.open(KEY);
    await settle();
    expect(pool.take()).toBeNull();
    expect(await bytesOf(opened)).toEqual(SMALL);
    done(opened);
    await expectFreeOnce();
  });

  test("by readers who share a fetch, the last of them, when one went away before", async () => {
    const { get, pool, expectFreeOnce } = withPool();
    const leaving = new AbortController();
    const opening = [get.open(KEY), get.open(KEY, leaving.signal), get.open(KEY)] as const;
    const left = expect(opening[1]).rejects.toThrow("left");
    leaving.abort(new Error("left"));
    await left;
    const [one, two] = await Promise.all([opening[0], opening[2]]);
    done(one);
    await settle();
    expect(pool.take()).toBeNull();
    expect(await bytesOf(two)).toEqual(SMALL);
    done(two);
    await expectFreeOnce();
  });

  test("when all readers went away", async () => {
    const { get, expectFreeOnce } = withPool();
    const leaving = new AbortController();
    const opening = expect(get.open(KEY, leaving.signal)).rejects.toThrow("left");
    leaving.abort(new Error("left"));
    await opening;
    await expectFreeOnce();
  });

  test("when it is corrupt, and when another copy was faster", async () => {
    const { get, peers, expectFreeOnce } = withPool();
    peers[0].onGet = "corrupt";
    peers[1].blobs.set(KEY, SMALL);
    expect(await bytesOf(await get.open(KEY))).toEqual(SMALL);
    await expectFreeOnce();
  });

  test("when a reader wanted a part of it", async () => {
    const { get, expectFreeOnce } = withPool();
    const opened = await get.openRange(KEY, SMALL.length, { start: 2, end: 6 });
    expect(await bytesOf(opened)).toEqual(SMALL.subarray(2, 7));
    done(opened);
    await expectFreeOnce();
  });

  test("the cache has a copy of it, from the second time on", async () => {
    const { get, cache, expectFreeOnce } = withPool();
    for (const isThere of [false, true]) {
      done(await get.open(KEY));
      await settle();
      expect(cache.get(KEY) !== undefined).toBe(isThere);
    }
    await expectFreeOnce();
    expect(cache.get(KEY)).toEqual(SMALL);
  });
});
