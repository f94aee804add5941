import { readFileSync } from "node:fs";
import path from "node:path";
import { isKey, type Key, keyOfHex } from "../../src/core/key.ts";
import type { PlacedNode } from "../../src/placement/placement.ts";
import { Ring } from "../../src/placement/ring.ts";
import { PROJECT_ROOT } from "../support/source-files.ts";

/** Orders computed by Go Cask's own code. */
interface Vectors {
  readonly pointsPerNode: number;
  readonly clusters: ReadonlyArray<{
    readonly name: string;
    readonly nodes: readonly VectorNode[];
    readonly neighbours?: readonly VectorNode[];
    readonly points?: ReadonlyArray<{ readonly point: string; readonly uuid: string }>;
    readonly keys: ReadonlyArray<{
      readonly key: string;
      readonly case: string;
      readonly read: readonly string[];
      readonly write: readonly string[];
    }>;
  }>;
  readonly quirks: {
    readonly upperCaseKeys: {
      readonly keys: ReadonlyArray<{ readonly key: string; readonly read: readonly string[] }>;
    };
    readonly equalPoints: {
      readonly nodes: readonly VectorNode[];
      readonly equalPoints: readonly string[];
      readonly keys: ReadonlyArray<{
        readonly case: string;
        readonly key: string;
        readonly orders: ReadonlyArray<{ readonly read: readonly string[]; readonly seen: number }>;
      }>;
    };
  };
  readonly parseKey: ReadonlyArray<{ readonly input: string; readonly valid?: boolean }>;
}

interface VectorNode {
  readonly uuid: string;
  readonly writeable: boolean;
}

const vectors = JSON.parse(readFileSync(path.join(PROJECT_ROOT, "test/fixtures/ring.json"), "utf8")) as Vectors;
const placed = (nodes: readonly VectorNode[]): PlacedNode[] =>
  nodes.map(({ uuid }) => ({ uuid, points: vectors.pointsPerNode }));

test("the vectors are all there", () => {
  expect(vectors.clusters.map(({ name }) => name)).toHaveLength(13);
  expect(vectors.clusters.reduce((sum, { keys }) => sum + keys.length, 0)).toBeGreaterThan(500);
});

describe.each(vectors.clusters)("$name", ({ name, nodes, neighbours = [], keys, points }) => {
  const reading = new Ring(placed(nodes));
  // A running Go node writes by the list of its neighbours, which says of itself what was true when it started.
  const written = nodes.map((node) => neighbours.find(({ uuid }) => uuid === node.uuid) ?? node);
  const writing = new Ring(placed(written.filter(({ writeable }) => writeable)));

  test.each(keys.map((each) => [each.case, each.key, each] as const))("%s: %s", (_case, hex, { read, write }) => {
    expect(reading.order(keyOfHex(hex))).toEqual(read);
    expect(writing.order(keyOfHex(hex))).toEqual(write);
  });

  test("a node twice in the list, as a running Go node has itself, changes no order", () => {
    const twice = new Ring(placed([...nodes, ...nodes.slice(0, 1)]));
    for (const { key, read } of keys) expect(twice.order(keyOfHex(key))).toEqual(read);
  });

  if (points) {
    test(`the whole ring of ${name} has the same points in the same order`, () => {
      expect(reading.segments().map(({ to, order }) => [to, order[0]])).toEqual(
        points.map(({ point, uuid }) => [point, uuid]),
      );
    });
  }
});

test("equal points, which Go orders at random, are ordered by UUID, and a key exactly on them skips both", () => {
  const { nodes, keys } = vectors.quirks.equalPoints;
  const names = nodes.map(({ uuid }) => uuid);
  for (const order of [names, [...names].reverse()]) {
    const ring = new Ring(order.map((uuid) => ({ uuid, points: vectors.pointsPerNode })));
    for (const { key, orders } of keys) {
      const seen = orders.map(({ read }) => read.join(" ")).sort();
      expect(seen).toContain(ring.order(keyOfHex(key)).join(" "));
      expect(ring.order(keyOfHex(key)).join(" ")).toBe(seen[0]); // "n" before "n1"
    }
  }
});

test("positions are compared as text: upper case, which is no key here, would stand before lower case", () => {
  const { nodes } = vectors.clusters.find(({ name }) => name === "nodes-3") as Vectors["clusters"][number];
  const ring = new Ring(placed(nodes));
  for (const { key, read } of vectors.quirks.upperCaseKeys.keys) {
    expect([key, ring.order(`sha1:${key}` as Key)]).toEqual([key, read]);
  }
});

test("C42: of the keys that Go Cask takes only the canonical ones are keys here", () => {
  expect(vectors.parseKey.length).toBeGreaterThan(5);
  for (const { input } of vectors.parseKey) {
    expect([input, isKey(input)]).toEqual([input, /^sha1:[0-9a-f]{40}$/.test(input)]);
  }
});

test("a ring without nodes has no order and no segments", () => {
  const none = new Ring([]);
  expect(none.order(`sha1:${"0".repeat(40)}` as Key)).toEqual([]);
  expect(none.segments()).toEqual([]);
});
