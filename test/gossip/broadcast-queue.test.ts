import fc from "fast-check";
import { BroadcastQueue } from "../../src/gossip/broadcast-queue.ts";

const room = { bytes: 100, overheadBytes: 2, maxCount: 255, sendsMax: 3 };
const texts = (taken: readonly Uint8Array[]) => taken.map((bytes) => Buffer.from(bytes).toString());

test("what is newer about a member replaces what is older, and begins anew", () => {
  const queue = new BroadcastQueue(10);
  queue.add("a", Buffer.from("old"));
  queue.take(room);
  queue.add("b", Buffer.from("bbb"));
  queue.add("a", Buffer.from("new"));
  expect(texts(queue.take(room))).toEqual(["new", "bbb"]);
});

test("a packet holds no more parts than a compound can count", () => {
  const queue = new BroadcastQueue(1_000);
  for (let i = 0; i < 300; i++) queue.add(`${i}`, Buffer.from("x"));
  expect(queue.take({ ...room, bytes: 10_000 })).toHaveLength(255);
});

test("a full queue loses what was sent most often", () => {
  const queue = new BroadcastQueue(2);
  queue.add("a", Buffer.from("a"));
  queue.take(room);
  queue.add("b", Buffer.from("b"));
  queue.add("c", Buffer.from("c"));
  expect([queue.has("a"), queue.has("b"), queue.has("c"), queue.size]).toEqual([false, true, true, 2]);
});

test("whatever is added and taken: it fits, is bounded, and is sent as often as allowed", () => {
  const step = fc.oneof(
    fc.record({ about: fc.constantFrom("a", "b", "c", "d", "e", "f"), bytes: fc.integer({ min: 1, max: 60 }) }),
    fc.record({ room: fc.integer({ min: 0, max: 120 }) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const queue = new BroadcastQueue(4);
      const sends = new Map<Uint8Array, number>();
      for (const it of steps) {
        if ("about" in it) queue.add(it.about, Buffer.alloc(it.bytes));
        else {
          const taken = queue.take({ ...room, bytes: it.room });
          expect(taken.reduce((sum, { length }) => sum + length + 2, 0)).toBeLessThanOrEqual(it.room);
          for (const bytes of taken) sends.set(bytes, (sends.get(bytes) ?? 0) + 1);
        }
        expect(queue.size).toBeLessThanOrEqual(4);
      }
      expect(Math.max(0, ...sends.values())).toBeLessThanOrEqual(3);
      for (let i = 0; i < 40 && queue.size > 0; i++) queue.take({ ...room, bytes: 1_000 });
      expect(queue.size).toBe(0);
    }),
  );
});
