import { createHash } from "node:crypto";
import fc from "fast-check";
import HashRing from "hashring";
import { type Key, keyOfHex } from "../../src/core/key.ts";
import { SeededRandom } from "../../src/core/random.ts";
import type { PlacedNode, Segment } from "../../src/placement/placement.ts";
import { Ring } from "../../src/placement/ring.ts";
import { SETTINGS } from "../../src/settings.ts";

const sha1 = (text: string) => createHash("sha1").update(text).digest("hex");

const hex = fc.string({ unit: fc.constantFrom(..."0123456789abcdef"), minLength: 40, maxLength: 40 });
/** Names such that points of some nodes collide: "n" + "10" is "n1" + "0". */
const colliding = fc.constantFrom("n", "n1", "n11", "n2");
const node = fc.record({ uuid: fc.oneof(fc.uuid(), colliding), points: fc.integer({ min: 1, max: 20 }) });
const nodes = fc.uniqueArray(node, { minLength: 1, maxLength: 8, selector: ({ uuid }) => uuid });

/** The positions next to a point, and itself: where mistakes would be. */
const nearPoints = (placed: readonly PlacedNode[]): string[] =>
  placed.flatMap(({ uuid, points }) =>
    Array.from({ length: points }, (_, i) => BigInt(`0x${sha1(`${uuid}${i}`)}`)).flatMap((at) =>
      [at - 1n, at, at + 1n].map((position) => BigInt.asUintN(160, position).toString(16).padStart(40, "0")),
    ),
  );

const holds = ({ from, to }: Segment, position: string): boolean =>
  from < to ? position >= from && position < to : position >= from || position < to;

test("every node stands once in each order, and who they are is all that matters", () => {
  fc.assert(
    fc.property(nodes, fc.array(hex, { minLength: 1, maxLength: 20 }), (placed, keys) => {
      const [ring, other] = [new Ring(placed), new Ring([...placed].reverse())];
      for (const key of keys.map(keyOfHex)) {
        const order = ring.order(key);
        expect([...order].sort()).toEqual(placed.map(({ uuid }) => uuid).sort());
        expect(other.order(key)).toEqual(order);
      }
    }),
  );
});

test("the segments cover the ring exactly, and each has the order of its keys", () => {
  fc.assert(
    fc.property(nodes, fc.array(hex, { maxLength: 20 }), (placed, random) => {
      const ring = new Ring(placed);
      const segments = ring.segments();
      segments.forEach(({ to }, i) => {
        expect(segments[(i + 1) % segments.length]?.from).toBe(to);
      });
      expect(new Set(segments.map(({ from }) => from)).size).toBe(segments.length);
      for (const position of [...random, ...nearPoints(placed), "0".repeat(40), "f".repeat(40)]) {
        const found = segments.filter((segment) => holds(segment, position));
        expect(found).toHaveLength(1);
        expect(found[0]?.order).toEqual(ring.order(keyOfHex(position)));
      }
    }),
    { numRuns: 40 },
  );
});

test("one node with one point is one segment, all round", () => {
  const ring = new Ring([{ uuid: "a", points: 1 }]);
  expect(ring.segments()).toEqual([{ from: sha1("a0"), to: sha1("a0"), order: ["a"] }]);
  expect(ring.order(keyOfHex(sha1("a0")))).toEqual(["a"]);
});

test("the npm package hashring gives the same orders, where its 32 bits suffice", () => {
  const first32 = (text: string) => [...Buffer.from(text.slice(0, 8), "hex")].reverse();
  // hashring hashes "<name>-<i>" for points and the key itself for keys.
  const hash = (text: string) => {
    const [, uuid, i] = /^(.{36})-(\d+)$/.exec(text) ?? [];
    return first32(uuid === undefined ? text : sha1(`${uuid}${i}`));
  };
  const realNodes = fc.uniqueArray(fc.record({ uuid: fc.uuid(), points: fc.constantFrom(16, 64, 128) }), {
    minLength: 1,
    maxLength: 12,
    selector: ({ uuid }) => uuid,
  });
  fc.assert(
    fc.property(realNodes, fc.array(hex, { minLength: 20, maxLength: 40 }), (placed, keys) => {
      const servers = Object.fromEntries(placed.map(({ uuid, points }) => [uuid, { vnodes: points }]));
      const oracle = new HashRing(servers, hash, { "vnode count": 7, replicas: 1 });
      const ring = new Ring(placed);
      for (const key of keys) {
        expect(ring.order(keyOfHex(key))).toEqual(oracle.range(key, placed.length, true));
      }
    }),
    { numRuns: 30 },
  );
});

describe("balance", () => {
  const POINTS = SETTINGS.CASK_VNODES.value;
  const RING = 2n ** 160n;

  /** The share of the keys, as copies, that the fullest node holds, as a multiple of the mean. */
  function fullest(seed: number, points: number, nodeCount = 20, copies = 3): number {
    const random = new SeededRandom(seed);
    const placed = Array.from({ length: nodeCount }, () => ({ uuid: random.uuid(), points }));
    const held = new Map<string, bigint>();
    for (const { from, to, order } of new Ring(placed).segments()) {
      const length = BigInt.asUintN(160, BigInt(`0x${to}`) - BigInt(`0x${from}`));
      for (const uuid of order.slice(0, copies)) held.set(uuid, (held.get(uuid) ?? 0n) + length);
    }
    const mean = (RING * BigInt(copies)) / BigInt(nodeCount);
    return Math.max(...[...held.values()].map((amount) => Number((amount * 10_000n) / mean) / 10_000));
  }

  const seeds = Array.from({ length: 12 }, (_, i) => i + 1);
  const average = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

  test("C36: with the default points the fullest of 20 nodes holds less than 1.13 times the mean, at worst 1.2", () => {
    const ratios = seeds.map((seed) => fullest(seed, POINTS));
    expect(average(ratios)).toBeLessThan(1.13);
    expect(Math.max(...ratios)).toBeLessThan(1.2);
  });

  test("with Go Cask's 16 points it is 1.28 times: the measure is the one of the defect", () => {
    expect(average(seeds.map((seed) => fullest(seed, 16)))).toBeCloseTo(1.28, 1);
  });

  test("a node with twice the points holds twice as much", () => {
    const random = new SeededRandom(1);
    const placed = Array.from({ length: 10 }, (_, i) => ({ uuid: random.uuid(), points: i === 0 ? 512 : 256 }));
    const ring = new Ring(placed);
    const led = Array.from({ length: 20_000 }, (_, i) => ring.order(keyOfHex(sha1(`key ${i}`)))[0]);
    const share = led.filter((uuid) => uuid === placed[0]?.uuid).length / led.length;
    expect(share).toBeGreaterThan((2 / 11) * 0.85);
    expect(share).toBeLessThan((2 / 11) * 1.15);
  });
});

describe("when a node joins", () => {
  test("it only steps in between: the others keep their order for every key", () => {
    fc.assert(
      fc.property(nodes, fc.uuid(), fc.array(hex, { minLength: 1, maxLength: 20 }), (placed, uuid, keys) => {
        fc.pre(!placed.some((each) => each.uuid === uuid));
        const [before, after] = [new Ring(placed), new Ring([...placed, { uuid, points: 16 }])];
        for (const key of [...keys, ...nearPoints(placed)].map(keyOfHex)) {
          expect(after.order(key).filter((each) => each !== uuid)).toEqual(before.order(key));
        }
      }),
      { numRuns: 40 },
    );
  });

  test.each([2, 5, 10, 20])("from %p nodes on, the share of keys that move to it is about 1/n", (count) => {
    const random = new SeededRandom(count);
    const placed = Array.from({ length: count }, () => ({ uuid: random.uuid(), points: SETTINGS.CASK_VNODES.value }));
    const newcomer = { uuid: random.uuid(), points: SETTINGS.CASK_VNODES.value };
    const [before, after] = [new Ring(placed), new Ring([...placed, newcomer])];
    const keys = Array.from({ length: 10_000 }, (_, i): Key => keyOfHex(sha1(`key ${i}`)));
    const moved = keys.filter((key) => before.order(key)[0] !== after.order(key)[0]);
    expect(moved.every((key) => after.order(key)[0] === newcomer.uuid)).toBe(true);
    const share = moved.length / keys.length;
    expect(share).toBeGreaterThan(0.75 / (count + 1));
    expect(share).toBeLessThan(1.25 / (count + 1));
  });
});

test("an order is computed once and then the same object", () => {
  const ring = new Ring([
    { uuid: "a", points: 4 },
    { uuid: "b", points: 4 },
  ]);
  const key = keyOfHex(sha1("some key"));
  expect(ring.order(key)).toBe(ring.order(key));
});
