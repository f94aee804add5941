import { ownersOf, planRepair } from "../../src/blobs/repair-plan.ts";
import type { ViewNode } from "../../src/cluster/cluster-view.ts";
import type { Holding } from "../../src/peer/peer.ts";
import { FakePeer } from "../support/fake-peer.ts";
import { viewOf } from "../support/views.ts";

const has: Holding = { state: "present", sizeBytes: 1, verifiedAtMs: null, store: "s" };
const absent: Holding = { state: "absent" };
const lost: Holding = { state: "unknown", reason: "in quarantine", lacking: true };
const unsure: Holding = { state: "unknown", reason: "EIO" };

/** One letter a node, in the order of the key; what it says, and what it is. */
interface Situation {
  /** `self` unless named: the first one. */
  readonly self?: string;
  readonly says: Readonly<Record<string, Holding | "silent">>;
  readonly readOnly?: string[];
  readonly draining?: string[];
  readonly awaited?: string[];
  readonly replication?: number;
  readonly max?: number;
}

function plan({ says, self, readOnly = [], draining = [], awaited = [], replication = 3, max = 4 }: Situation) {
  const names = Object.keys(says);
  const view = viewOf({ peers: names.map((name) => new FakePeer(name)), readOnly, draining, awaited });
  const order = names.map((name) => view.node(name) as ViewNode);
  const answers = Object.entries(says).filter(([, holding]) => holding !== "silent");
  const holdings = new Map(answers as Array<[string, Holding]>);
  const made = planRepair({ order, self: self ?? (names[0] as string), holdings, replication, maxReplication: max });
  return { ...made, lacking: names_(made.lacking), holders: names_(made.holders) };
}

const names_ = (nodes: readonly ViewNode[]) => nodes.map(({ uuid }) => uuid).join("");

describe("who gets a copy", () => {
  const cases: Array<[string, Situation, string]> = [
    ["nobody, where each owner holds one", { says: { a: has, b: has, c: has, d: absent } }, ""],
    ["the writeable owners that lack one", { says: { a: has, b: absent, c: absent, d: absent } }, "bc"],
    ["not those behind the owners, whoever holds one there", { says: { a: has, b: has, c: absent, d: has } }, "c"],
    ["a read-only holder counts", { says: { a: has, b: has, c: has, d: absent }, readOnly: ["b"] }, ""],
    [
      "a read-only node without one is passed over",
      { says: { a: has, b: absent, c: has, d: absent }, readOnly: ["b"] },
      "d",
    ],
    [
      "a node that drains is passed over, holder or not",
      { says: { a: has, b: has, c: has, d: absent }, draining: ["b"] },
      "d",
    ],
    ["this node itself, where it lacks one", { says: { a: lost, b: has, c: has, d: absent } }, "a"],
    ["one whose lack says nothing of the blob lacks it all the same", { says: { a: has, b: lost, c: has } }, "b"],
    ["one that is awaited counts", { says: { a: has, b: "silent", c: has, d: absent }, awaited: ["b"] }, ""],
    [
      "and goes on counting when more copies than one are left",
      { says: { a: has, b: has, c: "silent", d: absent, e: absent }, awaited: ["c"], replication: 4 },
      "d",
    ],
    ["but not when one copy is left", { says: { a: has, b: "silent", c: absent, d: absent }, awaited: ["b"] }, "cd"],
    [
      "nor when the one that is left drains",
      { says: { a: has, b: "silent", c: absent, d: absent, e: absent }, awaited: ["b"], draining: ["a"] },
      "cde",
    ],
    [
      "an awaited node alone is no reason to make more",
      { says: { a: has, b: "silent", c: "silent" }, awaited: ["b", "c"] },
      "",
    ],
    [
      "a silent writeable node is asked again before one more is made",
      { says: { a: has, b: "silent", c: has, d: absent } },
      "",
    ],
    ["one that says that it can't tell is passed over", { says: { a: has, b: unsure, c: has, d: absent } }, "d"],
    ["with replication 1, the first owner", { says: { a: absent, b: has }, replication: 1, max: 1 }, "a"],
  ];
  test.each(cases)("%s", (_name, situation, lacking) => {
    expect(plan(situation).lacking).toBe(lacking);
  });
});

describe("when this is to be looked at again", () => {
  test.each([
    ["an owner is silent", { a: has, b: "silent", c: has }, true],
    ["an owner can't tell", { a: has, b: unsure, c: has }, true],
    ["one behind the owners is silent", { a: has, b: has, c: has, d: "silent" }, false],
    ["all answered", { a: has, b: absent, c: lost }, false],
  ] as Array<[string, Situation["says"], boolean]>)("%s", (_name, says, expected) => {
    expect(plan({ says }).unsure).toBe(expected);
  });
});

describe("what is surplus", () => {
  const cases: Array<[string, Situation, boolean]> = [
    ["with the maximum of holders before it", { self: "e", says: { a: has, b: has, c: has, d: has, e: has } }, true],
    ["not with one fewer", { self: "d", says: { a: has, b: has, c: has, d: has } }, false],
    ["nor where this node has none", { self: "e", says: { a: has, b: has, c: has, d: has, e: absent } }, false],
    [
      "those that drain don't count",
      { self: "e", says: { a: has, b: has, c: has, d: has, e: has }, draining: ["b"] },
      false,
    ],
    ["nor those that can't tell", { self: "e", says: { a: has, b: unsure, c: has, d: has, e: has } }, false],
    [
      "nor those that are awaited",
      { self: "e", says: { a: has, b: "silent", c: has, d: has, e: has }, awaited: ["b"] },
      false,
    ],
    ["nor holders behind this node", { self: "c", says: { a: has, b: has, c: has, d: has, e: has, f: has } }, false],
  ];
  test.each(cases)("%s", (_name, situation, surplus) => {
    expect(plan(situation).surplus).toBe(surplus);
  });
});

test("all who said that they hold it are holders, those that drain too: they can be fetched from", () => {
  expect(plan({ says: { a: absent, b: has, c: unsure, d: has }, draining: ["b"] }).holders).toBe("bd");
});

describe("owners: whose answers decide", () => {
  const view = (options: { readOnly?: string[]; draining?: string[]; awaited?: string[] }) =>
    viewOf({ peers: ["a", "b", "c", "d", "e"].map((name) => new FakePeer(name)), ...options });
  const owners = (options: Parameters<typeof view>[0]) => names_(ownersOf(view(options).nodes, 3));

  test.each([
    ["the first so many", {}, "abc"],
    ["one more for each that is read-only", { readOnly: ["a", "c"] }, "abcde"],
    ["none that drain", { draining: ["b"] }, "acd"],
    ["those that are awaited are among them", { awaited: ["b"] }, "abc"],
    ["all, where they are too few", { readOnly: ["a", "b", "c"] }, "abcde"],
  ])("%s", (_name, options, expected) => {
    expect(owners(options)).toBe(expected);
  });
});
