import { ClusterView } from "../../src/cluster/cluster-view.ts";
import { keyOfBytes } from "../../src/core/key.ts";
import { FakePeer } from "../support/fake-peer.ts";
import { viewOf } from "../support/views.ts";

const KEY = keyOfBytes(Buffer.from("x"));
const peers = ["a", "b", "c", "d"].map((uuid) => new FakePeer(uuid));
const uuids = (nodes: ReadonlyArray<{ uuid: string }>) => nodes.map(({ uuid }) => uuid);

test("a key's order has the live nodes, suspects too, writeable or not", () => {
  const view = viewOf({ peers, suspect: ["b"], dead: ["c"], readOnly: ["d"] });
  expect(uuids(view.order(KEY))).toEqual(["a", "b", "d"]);
  expect(uuids(view.nodes)).toEqual(["a", "b", "c", "d"]);
});

test("new copies go to the writeable nodes in order, to suspects last", () => {
  const view = viewOf({ peers, suspect: ["a"], readOnly: ["c"] });
  expect(uuids(view.writeOrder(KEY))).toEqual(["b", "d", "a"]);
  expect(viewOf({ peers, readOnly: ["a", "b", "c", "d"] }).writeOrder(KEY)).toEqual([]);
});

test("this node owns a key when it is among the first writeable ones", () => {
  const isOwner = (order: readonly string[], readOnly: readonly string[] = []) => {
    const { nodes } = viewOf({ peers, readOnly });
    const placement = { order: () => order, segments: () => [] };
    const rest = { maxReplication: 3, ringDigest: "", stableSinceMs: 0, disagreements: [], joined: true };
    const options = { self: "a", nodes, placement, repairPlacement: placement, replication: 2, lowestReplication: 2 };
    return new ClusterView({ ...options, ...rest }).isOwner(KEY);
  };
  expect(isOwner(["a", "b", "c", "d"])).toBe(true);
  expect(isOwner(["b", "a", "c", "d"])).toBe(true);
  expect(isOwner(["b", "c", "a", "d"])).toBe(false);
  expect(isOwner(["b", "c", "a", "d"], ["b"])).toBe(true);
  expect(isOwner(["a", "b", "c", "d"], ["a"])).toBe(false);
});

test("this node is found as what it is", () => {
  const view = viewOf({ peers });
  expect(view.ownNode.peer).toBe(peers[0]);
  expect(view.node("c")?.peer).toBe(peers[2]);
  expect(view.node("nobody")).toBeUndefined();
});
