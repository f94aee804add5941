import { keyOfBytes } from "../../src/core/key.ts";
import { Ring } from "../../src/placement/ring.ts";
import { Rings } from "../../src/placement/rings.ts";

const nodes = (...uuids: string[]) => uuids.map((uuid) => ({ uuid, points: 16 }));
const KEYS = Array.from({ length: 50 }, (_, i) => keyOfBytes(Buffer.from(`${i}`)));
const orders = (ring: Pick<Ring, "order">) => KEYS.map((key) => ring.order(key));

test("one list of nodes has one ring, in whatever order they come, and whatever came in between", () => {
  const rings = new Rings();
  const first = rings.of(nodes("a", "b", "c"));
  expect(rings.of(nodes("a", "b")).ring).not.toBe(first.ring);
  const again = rings.of(nodes("c", "a", "b"));
  expect(again.ring).toBe(first.ring);
  expect(again.digest).toBe(first.digest);
});

test("each list has the ring that is its own, also when many came before and its own was given up", () => {
  const rings = new Rings();
  const lists = [
    nodes("a"),
    nodes("a", "b"),
    nodes("a", "b", "c"),
    nodes("b", "c"),
    nodes("c", "d"),
    nodes("a", "b", "c", "d"),
    [...nodes("a", "b"), { uuid: "c", points: 32 }],
  ];
  for (let round = 0; round < 2; round++) {
    for (const list of lists) expect(orders(rings.of(list).ring)).toEqual(orders(new Ring(list)));
  }
  expect(new Set(lists.map((list) => rings.of(list).digest)).size).toBe(lists.length);
});

test("the ring in use is not given up for those that come and go", () => {
  const rings = new Rings();
  const used = rings.of(nodes("a", "b")).ring;
  for (let i = 0; i < 20; i++) {
    rings.of(nodes("a", "b", `other${i}`));
    expect(rings.of(nodes("a", "b")).ring).toBe(used);
  }
});
