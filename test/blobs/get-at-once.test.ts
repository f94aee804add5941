import { BlobCache } from "../../src/blobs/blob-cache.ts";
import { Get } from "../../src/blobs/get.ts";
import { Strangers } from "../../src/blobs/strangers.ts";
import { type Key, keyOfBytes } from "../../src/core/key.ts";
import { GET_HEDGE_MS } from "../../src/core/limits.ts";
import { silentLogger } from "../../src/core/log.ts";
import { FakePeer } from "../support/fake-peer.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { type ViewOptions, viewOf } from "../support/views.ts";

const SMALL = Buffer.from("a small blob");
const KEY = keyOfBytes(SMALL);

/** The node in question is n0; the copies are on n1 and n2, which own the key. */
function setUp({ order = ["n1", "n2", "n0"], ...options }: Partial<ViewOptions> & { order?: string[] } = {}) {
  const peers = Array.from({ length: 3 }, (_, i) => new FakePeer(`n${i}`)) as [FakePeer, FakePeer, FakePeer];
  for (const peer of peers.slice(1)) peer.blobs.set(KEY, SMALL);
  const clock = new ManualClock();
  const inOrder = order.map((uuid) => peers.find((peer) => peer.uuid === uuid) as FakePeer);
  const view = viewOf({ peers: inOrder, self: "n0", replication: 2, ...options });
  const cache = new BlobCache(2 ** 20);
  const fetched: Key[] = [];
  const own = { bytes: null as Buffer | null, reads: 0, known: false };
  const get = new Get({
    view: () => view,
    keep: { whole: () => undefined, stream: (_key, _size, verified) => verified as AsyncGenerator<Uint8Array> },
    cache,
    readOwn: async () => {
      own.reads++;
      return own.bytes;
    },
    mayBeHere: () => own.known,
    strangers: new Strangers({ view: () => view, meet: async () => undefined }),
    onFetched: (key) => void fetched.push(key),
    clock,
    log: silentLogger(),
  });
  return { peers, clock, cache, fetched, own, get };
}

test("the own copy, where it takes one read: it is kept in memory, and looked at by read-repair", async () => {
  const { own, get, cache, fetched, peers } = setUp();
  Object.assign(own, { known: true, bytes: SMALL });
  expect(await get.openAtOnce(KEY)).toEqual({ kind: "whole", sizeBytes: SMALL.length, bytes: SMALL });
  expect(cache.get(KEY)).toEqual(SMALL);
  expect(fetched).toEqual([KEY]);
  expect(peers.map(({ gotTogether, gets }) => gotTogether + gets)).toEqual([0, 0, 0]);
});

test("that of the first owner, when it is asked together with others; then its disk is not looked at", async () => {
  const { own, get, cache, fetched, peers } = setUp();
  peers[1].onGetTogether = "good";
  expect(await get.openAtOnce(KEY)).toMatchObject({ kind: "whole", bytes: SMALL });
  expect(cache.get(KEY)).toEqual(SMALL);
  expect(fetched).toEqual([KEY]);
  expect(own.reads).toBe(0);
  expect(peers.map(({ gets }) => gets)).toEqual([0, 0, 0]);
});

test.each(["alone", "absent", "corrupt"] as const)(
  "nothing is said when it is %s there, nothing is kept, and `open` asks for it alone without looking here first again",
  async (behaviour) => {
    const { own, get, cache, fetched, peers } = setUp();
    peers[1].onGetTogether = behaviour;
    expect(await get.openAtOnce(KEY)).toBeNull();
    expect([cache.get(KEY), fetched]).toEqual([undefined, []]);
    expect(await get.open(KEY)).toMatchObject({ kind: "whole", bytes: SMALL });
    expect(own.reads).toBe(0);
    expect(peers.map(({ gets }) => gets)).toEqual([0, 1, 0]);
    expect(peers[1].gotTogether).toBe(behaviour === "alone" ? 0 : 1);
  },
);

test("C32: an owner that does not answer is waited for once: `open` asks the others first", async () => {
  const { get, clock, peers } = setUp();
  peers[1].onGetTogether = "hanging";
  peers[1].onGet = "hanging";
  const atOnce = get.openAtOnce(KEY);
  await clock.advance(GET_HEDGE_MS);
  expect(await atOnce).toBeNull();
  expect(await get.open(KEY)).toMatchObject({ kind: "whole", bytes: SMALL });
  expect(peers.map(({ gets }) => gets)).toEqual([0, 0, 1]);
});

test("`open` begins with this step itself, and is delayed by it by the hedge only", async () => {
  const { get, clock, peers } = setUp();
  peers[1].onGetTogether = "hanging";
  peers[1].onGet = "hanging";
  const opened = get.open(KEY);
  await clock.advance(GET_HEDGE_MS);
  expect(await opened).toMatchObject({ kind: "whole", bytes: SMALL });
});

test("an owner that lacks the blob, and whoever would ask a suspect, goes the ordinary way, which keeps a copy", async () => {
  for (const options of [{ order: ["n1", "n0", "n2"] }, { suspect: ["n1"] }]) {
    const { get, peers } = setUp(options);
    peers[1].onGetTogether = "good";
    expect(await get.openAtOnce(KEY)).toBeNull();
    expect(peers[1].gotTogether).toBe(0);
  }
});

test("what was looked for in vain is forgotten when nobody comes back for it, so that it does not pile up", async () => {
  const { get, own } = setUp();
  own.known = true;
  await get.openAtOnce(KEY);
  for (let i = 0; i < 1_000; i++) await get.openAtOnce(keyOfBytes(Buffer.from(`absent ${i}`)));
  expect(own.reads).toBe(1_001);
  await get.open(KEY);
  expect(own.reads).toBe(1_002); // not known any more
  await get.openAtOnce(KEY);
  await get.open(KEY);
  expect(own.reads).toBe(1_003);
});
