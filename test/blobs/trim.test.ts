import { Trim, type TrimOptions } from "../../src/blobs/trim.ts";
import { type Key, keyOfBytes } from "../../src/core/key.ts";
import {
  TRIM_QUEUE_MAX_COUNT,
  TRIM_RETRY_MS,
  VOUCH_BYTES_MAX,
  VOUCH_KEYS_MAX_COUNT,
  VOUCH_TIMEOUT_MS,
} from "../../src/core/limits.ts";
import { createLogger, LogRing } from "../../src/core/log.ts";
import { SeededRandom } from "../../src/core/random.ts";
import type { Seen } from "../../src/storage/backend.ts";
import { FakePeer } from "../support/fake-peer.ts";
import { ManualClock, settle } from "../support/manual-clock.ts";
import { type ViewOptions, viewOf } from "../support/views.ts";

const never = new AbortController().signal;
const GRACE_MS = 10_000;
const keyOf = (name: string | number) => keyOfBytes(Buffer.from(String(name)));
const KEY = keyOf("surplus");
const SEEN = "as it was seen" as Seen;

/** This node stands last in the order of each key, behind b, c and d. Two copies are wanted, and two are the maximum. */
async function setUp(
  options: Partial<TrimOptions> & { seen?: Partial<ViewOptions>; started?: boolean; sizeBytes?: number } = {},
) {
  const own = new FakePeer("self");
  const others = ["b", "c", "d"].map((name) => new FakePeer(name)) as [FakePeer, FakePeer, FakePeer];
  const clock = new ManualClock();
  const ring = new LogRing();
  const state: { view: Partial<ViewOptions> } = { view: options.seen ?? {} };
  const events: string[] = [];
  const marks = new Map<Key, string>();
  const localStore = {
    store: own.store,
    has: own.has.bind(own),
    beginTrim: async (key: Key, nonce: string) => {
      if (!own.blobs.has(key) || marks.has(key)) return null;
      marks.set(key, nonce);
      events.push(`mark ${key}`);
      return { sizeBytes: options.sizeBytes ?? 1, seen: SEEN };
    },
    cancelTrim: async (key: Key, nonce: string) => {
      if (marks.get(key) === nonce) marks.delete(key);
    },
    finishTrim: async (key: Key, nonce: string, seen: Seen) => {
      events.push(`delete ${key}`);
      return marks.get(key) === nonce && seen === SEEN && own.blobs.delete(key);
    },
    resolveTrims: async () => undefined,
  };
  for (const peer of others) {
    const vouch = peer.vouch.bind(peer);
    peer.vouch = async (request) => {
      events.push(`ask ${peer.uuid} for ${request.keys.length}`);
      for (const key of request.keys) if (marks.get(key) !== request.nonce) events.push("NOT MARKED");
      return vouch(request);
    };
  }
  const deleted: Key[] = [];
  const view = () => {
    // The first one given is this node: it goes to the end of the order.
    const made = viewOf({ peers: [own, ...others], replication: 2, maxReplication: 2, ...state.view });
    const live = made.order(KEY);
    jest.spyOn(made, "order").mockReturnValue([...live.slice(1), ...live.slice(0, 1)]);
    return made;
  };
  const trim = new Trim({
    view,
    localStore,
    graceMs: GRACE_MS,
    dryRun: false,
    onDeleted: (key) => void deleted.push(key),
    clock,
    random: new SeededRandom(1),
    log: createLogger({ level: "info", ring, output: { write: () => undefined } }),
    ...options,
  } as TrimOptions);
  const hold = (...keys: Key[]) => {
    for (const key of keys) for (const peer of [own, ...others]) peer.blobs.set(key, Buffer.from("x"));
  };
  hold(KEY);
  if (options.started !== false) await clock.advance(GRACE_MS);
  return { own, others, clock, ring, state, events, marks, deleted, trim, hold };
}

test("C22: marks, then asks, then deletes, with vouches of CASK_MAX_REPLICATION other stores", async () => {
  const { trim, own, events, deleted, marks } = await setUp();
  expect(trim.add(KEY)).toBe(true);
  expect(await trim.step(never)).toBe("busy");
  expect(events).toEqual([`mark ${KEY}`, "ask b for 1", "ask c for 1", `delete ${KEY}`]);
  expect([own.blobs.size, deleted, marks.size, trim.status().waiting]).toEqual([0, [KEY], 0, 0]);
  expect(await trim.step(never)).toBe("idle");
});

test("in bulk, all are marked before anybody is asked, and each node is asked once", async () => {
  const { trim, events, hold, deleted } = await setUp();
  const keys = Array.from({ length: 20 }, (_, i) => keyOf(i));
  hold(...keys);
  for (const key of keys) trim.add(key);
  await trim.step(never);
  expect(events.slice(0, 20).every((event) => event.startsWith("mark"))).toBe(true);
  expect(events.slice(20, 22)).toEqual(["ask b for 20", "ask c for 20"]);
  expect(deleted).toHaveLength(20);
});

describe("C22: is not deleted, and the mark is taken back,", () => {
  type Bed = Awaited<ReturnType<typeof setUp>>;
  const cases: Array<[string, (bed: Bed) => void]> = [
    [
      "when one refuses",
      ({ others }) => (others[1].onVouch = () => ({ vouched: false, reason: "is trimming it itself" })),
    ],
    ["when one does not answer", ({ others }) => (others[1].vouch = () => Promise.reject(new Error("down")))],
    [
      "C14: when two vouch for one store",
      ({ others }) => (others[1].onVouch = () => ({ vouched: true, store: others[0].store })),
    ],
    [
      "C14: when one vouches for this node's own store",
      ({ own, others }) => (others[1].onVouch = () => ({ vouched: true, store: own.store })),
    ],
    ["when one answers for fewer keys", ({ others }) => (others[1].vouch = async () => [])],
  ];
  test.each(cases)("%s", async (_name, arrange) => {
    const bed = await setUp();
    arrange(bed);
    bed.trim.add(KEY);
    await bed.trim.step(never);
    expect([bed.own.blobs.size, bed.deleted, bed.marks.size]).toEqual([1, [], 0]);
    expect(bed.trim.status()).toMatchObject({ waiting: 1, refused: 1 });
    // Tried again, at a random time.
    expect(await bed.trim.step(never)).toBe("idle");
    await bed.clock.advance(2 * TRIM_RETRY_MS);
    bed.events.length = 0;
    await bed.trim.step(never);
    expect(bed.events[0]).toBe(`mark ${KEY}`);
  });

  test("when one answers too late", async () => {
    const { trim, others, own, marks, clock } = await setUp();
    let answer: () => void = () => undefined;
    others[1].vouch = (request) =>
      new Promise((resolve) => {
        answer = () => resolve(request.keys.map(() => ({ vouched: true, store: others[1].store })));
      });
    trim.add(KEY);
    const step = trim.step(never);
    await settle();
    expect(marks.size).toBe(1);
    await clock.advance(VOUCH_TIMEOUT_MS + 1);
    await step;
    answer();
    await settle();
    expect([own.blobs.size, marks.size]).toEqual([1, 0]);
  });

  test("when this node is stopped while it asks", async () => {
    const { trim, others, own, marks } = await setUp();
    others[1].vouch = () => new Promise(() => undefined);
    const controller = new AbortController();
    trim.add(KEY);
    const step = expect(trim.step(controller.signal)).rejects.toThrow("stopped");
    await settle();
    controller.abort(new Error("stopped"));
    await step;
    expect([own.blobs.size, marks.size]).toEqual([1, 0]);
  });
});

describe("a candidate that is none", () => {
  test("leaves the queue when too few before it hold a copy: reconcile finds it again", async () => {
    const { trim, others, events } = await setUp();
    for (const peer of others.slice(1)) peer.blobs.clear();
    trim.add(KEY);
    await trim.step(never);
    expect([events, trim.status().waiting]).toEqual([[], 0]);
  });

  test("stays when one of them can't tell", async () => {
    const { trim, others, events } = await setUp();
    for (const peer of others.slice(1)) peer.onHas = "failing";
    trim.add(KEY);
    await trim.step(never);
    expect([events, trim.status().waiting]).toEqual([[], 1]);
  });

  test("those that are being emptied are neither asked nor counted", async () => {
    const { trim, events } = await setUp({ seen: { draining: ["b", "c"] } });
    trim.add(KEY);
    await trim.step(never);
    expect(events).toEqual([]);
  });

  test("that is gone here leaves the queue", async () => {
    const { trim, own, events } = await setUp();
    own.blobs.clear();
    trim.add(KEY);
    await trim.step(never);
    expect([events, trim.status().waiting]).toEqual([[], 0]);
  });
});

describe("nothing is trimmed, and it is said why,", () => {
  test.each([
    ["while the cluster has not been stable for CASK_TRIM_GRACE", { stableSinceMs: 1 }, /changed less than/],
    [
      "C23: while nodes have settings that differ",
      { disagreements: ["http://b keeps 1 to 4 copies"] },
      /http:\/\/b keeps/,
    ],
    ["while no neighbor was met", { joined: false }, /not met its neighbors/],
  ] as Array<[string, Partial<ViewOptions>, RegExp]>)("%s", async (_name, seen, reason) => {
    const { trim, events, state } = await setUp({ seen });
    trim.add(KEY);
    expect(await trim.step(never)).toBe("idle");
    expect([events, trim.status().blockedBecause]).toEqual([[], expect.stringMatching(reason)]);
    state.view = {};
    expect([await trim.step(never), trim.status()]).toMatchObject(["busy", { blockedBecause: null, deleted: 1 }]);
  });

  test("in the first CASK_TRIM_GRACE after the start", async () => {
    const { trim, events, clock } = await setUp({ started: false });
    trim.add(KEY);
    await clock.advance(GRACE_MS - 1);
    await trim.step(never);
    expect([events, trim.status().blockedBecause]).toEqual([[], expect.stringContaining("has started")]);
    await clock.advance(1);
    await trim.step(never);
    expect(trim.status().deleted).toBe(1);
  });
});

test("a dry run asks, says what it would delete, and deletes nothing", async () => {
  const { trim, own, ring, marks, deleted } = await setUp({ dryRun: true });
  trim.add(KEY);
  await trim.step(never);
  expect([own.blobs.size, deleted, marks.size, trim.status().dryRun]).toEqual([1, [], 0, true]);
  expect(ring.lines().map(({ message }) => message)).toContainEqual(
    expect.stringContaining(`would delete the surplus copy of ${KEY}`),
  );
});

test("bounded: so many wait, so many keys are asked for at a time, so many bytes are read for it", async () => {
  const { trim } = await setUp();
  for (let i = 0; i < TRIM_QUEUE_MAX_COUNT; i++) trim.add(keyOf(i));
  expect([trim.add(KEY), trim.add(keyOf(3))]).toEqual([false, true]);
  const many = await setUp();
  const keys = Array.from({ length: VOUCH_KEYS_MAX_COUNT + 1 }, (_, i) => keyOf(i));
  many.hold(...keys);
  for (const key of keys) many.trim.add(key);
  await many.trim.step(never);
  expect(many.events).toContain(`ask b for ${VOUCH_KEYS_MAX_COUNT}`);
  const large = await setUp({ sizeBytes: VOUCH_BYTES_MAX + 1 });
  large.hold(keyOf(1));
  for (const key of [KEY, keyOf(1)]) large.trim.add(key);
  await large.trim.step(never);
  expect(large.events.filter((event) => event.startsWith("ask"))).toEqual(["ask b for 1", "ask c for 1"]);
  expect(large.trim.status().waiting).toBe(1);
});
