import { RepairQueue } from "../../src/blobs/repair-queue.ts";
import { keyOfBytes } from "../../src/core/key.ts";
import { REPAIR_QUEUE_MAX_COUNT, REPAIR_RETRIES_MAX_COUNT } from "../../src/core/limits.ts";

const key = (name: string | number) => keyOfBytes(Buffer.from(String(name)));
const [A, B, C] = [key("a"), key("b"), key("c")];

test("those with the fewest copies come first; of the same, those that came first", () => {
  const queue = new RepairQueue();
  queue.add(A, 2);
  queue.add(B, 2);
  queue.add(C, 1);
  expect(queue.take(2, 0)).toEqual([C, A]);
  expect(queue.size).toBe(1);
  expect(queue.take(9, 0)).toEqual([B]);
  expect(queue.take(9, 0)).toEqual([]);
});

test("a key is in it once; that fewer copies are left moves it forward, that more are does not move it back", () => {
  const queue = new RepairQueue();
  queue.add(A, 5);
  queue.add(B, 3);
  for (const copies of [1, 5, 100]) expect(queue.add(A, copies)).toBe(true);
  expect(queue.size).toBe(2);
  expect(queue.take(9, 0)).toEqual([A, B]);
});

test("bounded: more are refused, but for those with fewer copies, for which another one is dropped", () => {
  const queue = new RepairQueue();
  for (let i = 0; i < REPAIR_QUEUE_MAX_COUNT; i++) queue.add(key(i), 2);
  expect([queue.isFull, queue.isBusy, queue.add(A, 2), queue.size]).toEqual([
    true,
    true,
    false,
    REPAIR_QUEUE_MAX_COUNT,
  ]);
  expect([queue.add(B, 1), queue.size]).toEqual([true, REPAIR_QUEUE_MAX_COUNT]);
  expect(queue.take(2, 0)).toEqual([B, key(1)]);
  expect([queue.isFull, queue.size]).toEqual([false, REPAIR_QUEUE_MAX_COUNT - 2]);
});

test("a retry is taken when its time has come, not earlier, in its place", () => {
  const queue = new RepairQueue();
  queue.retry(A, 1, 100);
  queue.add(B, 2);
  expect([queue.size, queue.waitingForRetry]).toEqual([1, 1]);
  expect(queue.take(1, 99)).toEqual([B]);
  queue.add(C, 2);
  expect(queue.take(9, 100)).toEqual([A, C]);
  expect(queue.waitingForRetry).toBe(0);
});

test("one that is added anew does not come again by its retry", () => {
  const queue = new RepairQueue();
  queue.retry(A, 1, 100);
  queue.add(A, 1);
  expect(queue.take(9, 0)).toEqual([A]);
  expect(queue.take(9, 200)).toEqual([]);
});

test("retries are bounded: what does not fit is found again by reconcile", () => {
  const queue = new RepairQueue();
  for (let i = 0; i <= REPAIR_RETRIES_MAX_COUNT; i++) queue.retry(key(i), 1, i);
  expect(queue.waitingForRetry).toBe(REPAIR_RETRIES_MAX_COUNT);
  queue.retry(key(0), 1, 50); // known already: only its time changes
  expect(queue.waitingForRetry).toBe(REPAIR_RETRIES_MAX_COUNT);
});

test("retries stay while the queue is full", () => {
  const queue = new RepairQueue();
  queue.retry(A, 2, 0);
  for (let i = 0; i < REPAIR_QUEUE_MAX_COUNT; i++) queue.add(key(i), 2);
  queue.take(1, 0);
  expect(queue.waitingForRetry).toBe(1);
  expect(queue.take(1, 0)).toHaveLength(1);
  expect(queue.waitingForRetry).toBe(0);
});

test("whoever waits for work is told", () => {
  const queue = new RepairQueue();
  let told = 0;
  queue.onAdd = () => {
    told++;
  };
  queue.add(A, 2);
  expect(told).toBe(1);
});
