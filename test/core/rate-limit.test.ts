import { RateLimit } from "../../src/core/rate-limit.ts";
import { ManualClock } from "../support/manual-clock.ts";

test("what passes keeps to the rate, in the order of asking", async () => {
  const clock = new ManualClock();
  const limit = new RateLimit(1_000, clock);
  const passed: number[] = [];
  for (let i = 0; i < 30; i++) void limit.take(100).then(() => passed.push(i));
  await clock.advance(1_000);
  expect(passed.length).toBeGreaterThanOrEqual(10);
  expect(passed.length).toBeLessThanOrEqual(12); // and what a tenth of a second allows at once
  await clock.advance(2_000);
  expect(passed).toEqual([...Array(30).keys()]);
});

test("a pause does not save up for more than a short burst", async () => {
  const clock = new ManualClock();
  const limit = new RateLimit(1_000, clock);
  await limit.take(100);
  await clock.advance(60_000);
  let passed = 0;
  for (let i = 0; i < 30; i++) void limit.take(100).then(() => passed++);
  await clock.advance(0);
  expect(passed).toBeLessThanOrEqual(2);
});

test("one larger than a second's worth passes, and those after it wait for it", async () => {
  const clock = new ManualClock();
  const limit = new RateLimit(1_000, clock);
  let second = false;
  await limit.take(5_000);
  void limit.take(1).then(() => {
    second = true;
  });
  await clock.advance(4_800);
  expect(second).toBe(false);
  await clock.advance(200);
  expect(second).toBe(true);
});

test("waiting ends with the signal", async () => {
  const clock = new ManualClock();
  const limit = new RateLimit(1, clock);
  await limit.take(100);
  const controller = new AbortController();
  const waiting = limit.take(1, controller.signal);
  controller.abort(new Error("stopped"));
  await expect(waiting).rejects.toThrow("stopped");
});
