import { partsOf, Reconcile } from "../../src/blobs/reconcile.ts";
import { RepairQueue } from "../../src/blobs/repair-queue.ts";
import type { ClusterView } from "../../src/cluster/cluster-view.ts";
import type { Key } from "../../src/core/key.ts";
import { RECONCILE_AGAIN_MS } from "../../src/core/limits.ts";
import { silentLogger } from "../../src/core/log.ts";
import { SeededRandom } from "../../src/core/random.ts";
import type { Segment } from "../../src/placement/placement.ts";
import { Ring } from "../../src/placement/ring.ts";
import { FakePeer } from "../support/fake-peer.ts";
import { numberedKey } from "../support/listed-keys.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { type ViewOptions, viewOf } from "../support/views.ts";

const never = new AbortController().signal;
const KEYS = Array.from({ length: 60 }, (_, i) => numberedKey(i));
const hex = (digit: string) => digit.padEnd(40, "0");

/** The whole ring in one part, in this order. */
const all = (...order: string[]): Segment[] => [{ from: hex("0"), to: hex("0"), order }];

/** One that counts what it is asked, and takes no bytes for a blob. */
class Peer extends FakePeer {
  digestAsks = 0;
  down = false;

  hold(keys: readonly Key[]): this {
    for (const key of keys) this.blobs.set(key, Buffer.alloc(0));
    return this;
  }

  override async digests(...asked: Parameters<FakePeer["digests"]>) {
    if (this.down) throw new Error("down");
    this.digestAsks++;
    return super.digests(...asked);
  }
}

function setUp(options: Partial<ViewOptions> & { order?: string[]; count?: number } = {}) {
  const { count = 3, order, ...rest } = options;
  const peers = ["a", "b", "c", "d", "e"].slice(0, count).map((name) => new Peer(name));
  const build = (more: Partial<ViewOptions> = {}): ClusterView =>
    viewOf({ peers, segments: all(...(order ?? peers.map(({ uuid }) => uuid))), replication: 3, ...rest, ...more });
  const state = { view: build(), ready: true, completed: 0, takesSurplus: true };
  const queue = new RepairQueue();
  const surplus: Key[] = [];
  const clock = new ManualClock();
  const reconcile = new Reconcile({
    view: () => state.view,
    own: peers[0] as Peer,
    isReady: () => state.ready,
    queue,
    onSurplus: (key) => {
      if (state.takesSurplus) surplus.push(key);
      return state.takesSurplus;
    },
    onComplete: async () => {
      state.completed++;
    },
    clock,
    random: new SeededRandom(1),
    log: silentLogger(),
  });
  const pass = async () => {
    for (let i = 0; i < 100; i++) {
      const result = await reconcile.step(never);
      if (result !== "busy") return result;
    }
    throw new Error("the pass does not end");
  };
  return { peers: peers as [Peer, Peer, Peer, ...Peer[]], state, build, queue, surplus, reconcile, pass, clock };
}

describe("partsOf", () => {
  const nodes = ["a", "b", "c", "d"].map((name) => new FakePeer(name));
  const segments = (...orders: string[]): Segment[] =>
    orders.map((order, i) => ({ from: hex(`${i * 2}`), to: hex(`${i * 2 + 2}`), order: [...order] }));

  test("neighbors with the same nodes to compare with are one part, whatever their places", () => {
    const view = viewOf({
      peers: nodes,
      replication: 2,
      maxReplication: 3,
      segments: segments("abcd", "bacd", "cdab", "abdc"),
    });
    expect(
      partsOf(view).map(({ range, isOwner, peers }) => [
        range.from.slice(5, 6),
        isOwner,
        peers
          .map((p) => p.uuid)
          .sort()
          .join(""),
      ]),
    ).toEqual([
      ["0", true, "b"],
      ["4", false, "cd"],
      ["6", true, "b"],
    ]);
  });

  test("with a real ring: they cover all keys, none twice, each with the owners of its keys", () => {
    const ring = new Ring(nodes.map(({ uuid }) => ({ uuid, points: 128 })));
    const placed = viewOf({ peers: nodes, replication: 2, maxReplication: 2, segments: ring.segments() });
    const parts = partsOf(placed);
    for (const [i, part] of parts.entries()) expect(part.range.to).toBe(parts[i + 1]?.range.from);
    expect(parts[0]?.range.from).toBe(`sha1:${hex("0")}`);
    expect(parts.length).toBeLessThan(ring.segments().length);
    for (const key of KEYS) {
      const part = parts.find(({ range }) => key >= range.from && (range.to === undefined || key < range.to));
      const owners = ring.order(key).slice(0, 2);
      expect([...(part?.owners ?? [])].map(({ uuid }) => uuid).sort()).toEqual([...owners].sort());
      expect(part?.isOwner).toBe(owners.includes("a"));
    }
  });

  test("Go nodes are not compared with: they have no digests", () => {
    const go = new FakePeer("go");
    go.isGo = true;
    const view = viewOf({
      peers: [nodes[0] as FakePeer, go, nodes[1] as FakePeer],
      replication: 3,
      segments: all("a", "go", "b"),
    });
    expect(partsOf(view).map(({ peers }) => peers.map(({ uuid }) => uuid))).toEqual([["b"]]);
  });
});

describe("a pass", () => {
  test("C35: between owners that hold the same costs one question for each peer, and the next one too", async () => {
    const { peers, pass, queue, reconcile, state } = setUp();
    for (const peer of peers) peer.hold(KEYS);
    expect(await pass()).toBe("idle");
    expect([peers[1].digestAsks, peers[2].digestAsks, queue.size]).toEqual([1, 1, 0]);
    expect(reconcile.status()).toMatchObject({ passes: 1, missingCopies: 0 });
    await pass();
    expect([peers[1].digestAsks, peers[1].asks, peers[1].puts, state.completed]).toEqual([2, 2, 0, 2]);
  });

  test("queues what owners lack, those with the fewest copies first, and looks again soon", async () => {
    const { peers, pass, queue, reconcile } = setUp();
    peers[0].hold(KEYS);
    peers[1].hold(KEYS.slice(0, 59));
    peers[2].hold(KEYS.slice(0, 58));
    expect(await pass()).toEqual({ afterMs: RECONCILE_AGAIN_MS });
    expect(queue.take(9, 0)).toEqual([KEYS[59], KEYS[58]]);
    expect(reconcile.status().missingCopies).toBe(3);
  });

  test("what this node lacks is the others' to send; it is not complete until it has it", async () => {
    const { peers, pass, queue, state } = setUp();
    peers[0].hold(KEYS.slice(1));
    for (const peer of peers.slice(1)) peer.hold(KEYS);
    await pass();
    expect([queue.size, state.completed]).toEqual([0, 0]);
    peers[0].hold(KEYS);
    await pass();
    expect(state.completed).toBe(1);
  });

  test("a read-only owner that lacks keys is no reason to queue them again and again", async () => {
    const { peers, pass, queue } = setUp({ count: 4, readOnly: ["b"] });
    for (const peer of [peers[0], peers[2], peers[3] as Peer]) peer.hold(KEYS);
    expect(await pass()).toBe("idle");
    expect(queue.size).toBe(0);
  });

  test("a read-only owner that lacks keys gets them once it takes blobs again, though nothing else has changed", async () => {
    const { peers, pass, queue, state, build } = setUp({ readOnly: ["b"] });
    peers[0].hold(KEYS);
    peers[2].hold(KEYS);
    await pass();
    expect([await pass(), queue.size]).toEqual(["idle", 0]);
    state.view = build({ readOnly: [] });
    await pass();
    expect(queue.size).toBe(KEYS.length);
  });

  test("a peer that does not answer: nothing is known to be missing there, and this node does not count as complete", async () => {
    const { peers, pass, queue, state, reconcile } = setUp();
    for (const peer of peers) peer.hold(KEYS);
    peers[1].down = true;
    await pass();
    expect([queue.size, state.completed, reconcile.status().missingCopies]).toEqual([0, 0, 0]);
  });

  test.each([
    ["a node is awaited", { awaited: ["c"] }],
    ["a node is dead: it may hold what this one lost", { dead: ["c"] }],
    ["no neighbor was met", { joined: false }],
  ] as Array<[string, Partial<ViewOptions>]>)("is not complete while %s", async (_name, more) => {
    const { peers, pass, state } = setUp(more);
    for (const peer of peers) peer.hold(KEYS);
    await pass();
    expect(state.completed).toBe(0);
  });

  test("is not complete when another member was met during the last comparison", async () => {
    const { peers, pass, state, build } = setUp();
    for (const peer of peers) peer.hold(KEYS);
    const [, b] = peers;
    const digests = b.digests.bind(b);
    b.digests = async (...asked) => {
      state.view = build({ suspect: ["c"] });
      return digests(...asked);
    };
    await pass();
    expect(state.completed).toBe(0);
    b.digests = digests;
    await pass();
    expect(state.completed).toBe(1);
  });

  test("a wiped peer is found to lack all", async () => {
    const { peers, pass, queue } = setUp();
    peers[0].hold(KEYS);
    peers[2].hold(KEYS);
    await pass();
    expect(queue.take(100, 0).sort()).toEqual([...KEYS].sort());
  });

  test("does not begin before the own keys are known, nor while much waits for repair", async () => {
    const { peers, state, reconcile } = setUp();
    state.ready = false;
    expect(await reconcile.step(never)).toEqual({ afterMs: expect.any(Number) });
    expect(peers[1].digestAsks).toBe(0);
  });

  test("a change of the cluster ends it and begins a new one", async () => {
    const { peers, pass, state, build, queue } = setUp({ count: 4, order: ["a", "b", "d", "c"] });
    peers[0].hold(KEYS);
    for (const peer of peers.slice(1)) peer.hold(KEYS);
    await pass();
    expect(queue.size).toBe(0);
    peers[2].blobs.clear();
    state.view = build({ segments: all("a", "b", "c", "d") });
    await pass();
    expect(queue.size).toBe(KEYS.length);
  });
});

describe("keys outside of what this node owns", () => {
  const foreign = { count: 4, replication: 2, maxReplication: 2, order: ["b", "c", "d", "a"] };

  test("are queued where an owner lacks them, also where it holds many others", async () => {
    const { peers, pass, queue } = setUp(foreign);
    peers[0].hold(KEYS.slice(0, 3));
    peers[1].hold(KEYS);
    peers[2].hold(KEYS.slice(1));
    await pass();
    expect(queue.take(9, 0)).toEqual([KEYS[0]]);
  });

  test("are offered as surplus once, while nothing changes; again when they were not taken", async () => {
    const { peers, pass, surplus, state } = setUp(foreign);
    peers[0].hold(KEYS.slice(0, 3));
    for (const peer of peers.slice(1, 3)) peer.hold(KEYS);
    state.takesSurplus = false;
    await pass();
    state.takesSurplus = true;
    await pass();
    await pass();
    expect(surplus.sort()).toEqual(KEYS.slice(0, 3).sort());
    peers[1].hold([numberedKey(1_000)]);
    await pass();
    expect(surplus).toHaveLength(6);
  });

  test("a node that holds none of them asks nobody", async () => {
    const { peers, pass } = setUp(foreign);
    for (const peer of peers.slice(1)) peer.hold(KEYS);
    await pass();
    expect(peers.map(({ digestAsks }) => digestAsks).slice(1)).toEqual([0, 0, 0]);
  });
});
