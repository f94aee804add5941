import { compareKeys, eachPage, lackingOf } from "../../src/blobs/key-comparison.ts";
import type { Key } from "../../src/core/key.ts";
import { FIRST_KEY } from "../../src/core/key-range.ts";
import { HAS_KEYS_MAX_COUNT, KEYS_PAGE_MAX_COUNT, RECONCILE_FINDINGS_MAX_COUNT } from "../../src/core/limits.ts";
import { SeededRandom } from "../../src/core/random.ts";
import type { Holding } from "../../src/peer/peer.ts";
import { ListedKeys, numberedKey } from "../support/listed-keys.ts";

const ALL = { from: FIRST_KEY, to: undefined };
const COUNT = 100_000;
const never = new AbortController().signal;
const KEYS = Array.from({ length: COUNT }, (_, i) => numberedKey(i));
/** Both hold all of them. A test takes some out, and puts them back. */
const [OWN, PEER] = [new ListedKeys(KEYS), new ListedKeys(KEYS)];

async function without<T>(listed: ListedKeys, keys: Iterable<Key>, work: () => Promise<T>): Promise<T> {
  const taken = [...keys];
  for (const key of taken) listed.table.delete(key);
  try {
    return await work();
  } finally {
    for (const key of taken) listed.table.insert(key);
  }
}

beforeEach(() => {
  for (const listed of [OWN, PEER]) {
    listed.reset();
    listed.failing = false;
  }
});

/** As reconcile does it: the digests of the whole range are known already. */
async function compare(own: ListedKeys, peer: ListedKeys, range = ALL, signal = never) {
  const digests = { own: own.table.digest(range), peer: peer.table.digest(range) };
  return compareKeys(range, digests, { own, peer }, signal);
}

test("C35: equal tables cost nothing beyond the digest that is known", async () => {
  expect(await compare(OWN, PEER)).toEqual({ missingThere: [], missingHere: 0, truncated: false });
  expect(OWN.requests + PEER.requests).toBe(0);
});

test("of 100,000 keys finds exactly the few that differ, with few questions and some KB for each", async () => {
  const random = new SeededRandom(7);
  const pick = (count: number) =>
    new Set(Array.from({ length: count }, () => KEYS[Math.floor(random.next() * COUNT)] as Key));
  for (const [there, here] of [
    [1, 0],
    [0, 1],
    [5, 5],
  ] as const) {
    const [lackedThere, lackedHere] = [pick(there), pick(here)];
    PEER.reset();
    const found = await without(OWN, lackedHere, () => without(PEER, lackedThere, () => compare(OWN, PEER)));
    expect(found.missingThere.sort()).toEqual([...lackedThere].sort());
    expect([found.missingHere, found.truncated]).toEqual([lackedHere.size, false]);
    const differing = lackedThere.size + lackedHere.size;
    expect(PEER.requests).toBeLessThanOrEqual(4 * differing);
    expect(PEER.bytes).toBeLessThanOrEqual(20_000 * differing);
  }
});

test("counts that are equal do not hide keys that are not", async () => {
  const [own, peer] = [new ListedKeys(KEYS.slice(0, 10)), new ListedKeys(KEYS.slice(1, 11))];
  expect(await compare(own, peer)).toMatchObject({ missingThere: [KEYS[0]], missingHere: 1 });
});

test("a peer that has nothing there is not asked for lists; nor is this node where it has nothing", async () => {
  const own = new ListedKeys(KEYS.slice(0, 5_000));
  const empty = new ListedKeys();
  expect((await compare(own, empty)).missingThere.sort()).toEqual(KEYS.slice(0, 5_000).sort());
  expect(empty.requests).toBe(0);
  own.reset();
  expect(await compare(empty, own)).toMatchObject({ missingThere: [], missingHere: 5_000 });
  expect(own.requests + empty.requests).toBe(0);
});

test("only what lies in the range is compared", async () => {
  const sorted = KEYS.slice(0, 1_000).sort();
  const [from, to] = [sorted[400] as Key, sorted[600] as Key];
  const found = await compare(new ListedKeys(sorted), new ListedKeys(), { from, to } as never);
  expect(found.missingThere).toEqual(sorted.slice(400, 600));
});

test("a wiped peer: so many findings at a time, and it says that there are more", async () => {
  const found = await compare(OWN, new ListedKeys(KEYS.slice(0, 300)));
  expect(found.missingThere).toHaveLength(RECONCILE_FINDINGS_MAX_COUNT);
  expect(found.truncated).toBe(true);
  expect(new Set(found.missingThere).size).toBe(RECONCILE_FINDINGS_MAX_COUNT);
});

test("a peer that fails in the middle: rejects, and nothing is taken for missing", async () => {
  PEER.failing = true;
  await without(PEER, KEYS.slice(0, 1), () => expect(compare(OWN, PEER)).rejects.toThrow("down"));
});

test("ends when it is told to", async () => {
  const aborted = AbortSignal.abort(new Error("stopped"));
  await without(PEER, KEYS.slice(0, 1), () => expect(compare(OWN, PEER, ALL, aborted)).rejects.toThrow("stopped"));
});

describe("pages of keys", () => {
  test("come in order, each key once, until no more are wanted", async () => {
    const node = new ListedKeys(KEYS.slice(0, 2 * KEYS_PAGE_MAX_COUNT + 5));
    const seen: Key[] = [];
    await eachPage(node, ALL, never, (keys) => seen.push(...keys) > 0);
    expect(seen).toEqual(KEYS.slice(0, 2 * KEYS_PAGE_MAX_COUNT + 5).sort());
    expect(node.requests).toBe(3);
    await eachPage(node, ALL, never, () => false);
    expect(node.requests).toBe(4);
  });
});

describe("asking a peer for each of a few own keys", () => {
  const holder = (held: ReadonlySet<Key>, asked: number[] = []) => ({
    has: async (keys: readonly Key[]): Promise<Holding[]> => {
      asked.push(keys.length);
      return keys.map((key, i) => {
        if (held.has(key)) return { state: "present", sizeBytes: 1, verifiedAtMs: null, store: "s" };
        return i % 2 ? { state: "absent" } : { state: "unknown", reason: "?" };
      });
    },
  });

  test("finds those that it does not hold for certain, so many in one question", async () => {
    const own = new ListedKeys(KEYS.slice(0, 2_500));
    const asked: number[] = [];
    const found = await lackingOf(ALL, own, holder(new Set(KEYS.slice(0, 2_000)), asked), never);
    expect(found.missingThere.sort()).toEqual(KEYS.slice(2_000, 2_500).sort());
    expect([found.truncated, asked]).toEqual([false, [HAS_KEYS_MAX_COUNT, HAS_KEYS_MAX_COUNT, 500]]);
  });

  test("bounded: it says that there are more", async () => {
    const found = await lackingOf(ALL, OWN, holder(new Set()), never);
    expect(found.truncated).toBe(true);
    expect(found.missingThere.length).toBeLessThanOrEqual(RECONCILE_FINDINGS_MAX_COUNT);
  });
});
