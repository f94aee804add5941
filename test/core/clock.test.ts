import { StallTimer, SystemClock } from "../../src/core/clock.ts";
import { inTime } from "../../src/core/in-time.ts";
import { untilAborted } from "../../src/core/until-aborted.ts";
import { ManualClock } from "../support/manual-clock.ts";

describe("StallTimer", () => {
  const stalled = () => new Error("stalled");
  const make = (parent?: AbortSignal) => {
    const clock = new ManualClock();
    return { clock, timer: new StallTimer(clock, 100, stalled, parent) };
  };

  test("aborts with its reason when nothing moves for so long", async () => {
    const { clock, timer } = make();
    await clock.advance(99);
    expect(timer.signal.aborted).toBe(false);
    await clock.advance(1);
    expect(timer.signal.reason).toEqual(stalled());
  });

  test("progress begins the count anew, with another allowance if one is named", async () => {
    const { clock, timer } = make();
    for (let i = 0; i < 20; i++) {
      await clock.advance(90);
      timer.progress();
    }
    expect(timer.signal.aborted).toBe(false);
    timer.progress(500);
    await clock.advance(499);
    expect(timer.signal.aborted).toBe(false);
    await clock.advance(1);
    expect(timer.signal.aborted).toBe(true);
  });

  test("does not count while it is paused", async () => {
    const { clock, timer } = make();
    timer.pause();
    await clock.advance(10_000);
    expect(timer.signal.aborted).toBe(false);
    timer.progress();
    await clock.advance(100);
    expect(timer.signal.aborted).toBe(true);
  });

  test("aborts with the parent, for the parent's reason, also when that had aborted before", async () => {
    const parent = new AbortController();
    const { clock, timer } = make(parent.signal);
    parent.abort(new Error("client gone"));
    expect(timer.signal.reason).toEqual(new Error("client gone"));
    expect(clock.pendingTimers).toBe(0);
    expect(make(parent.signal).timer.signal.reason).toEqual(new Error("client gone"));
  });

  test("once stopped it never aborts, whatever comes after, and leaves no timer", async () => {
    const parent = new AbortController();
    const { clock, timer } = make(parent.signal);
    timer.stop();
    timer.progress();
    parent.abort();
    await clock.advance(10_000);
    expect(timer.signal.aborted).toBe(false);
    expect(clock.pendingTimers).toBe(0);
  });
});

describe("SystemClock", () => {
  const clock = new SystemClock();

  test("sleeps, and an abort ends the sleep with its reason", async () => {
    const before = clock.nowMs();
    await clock.sleep(20);
    expect(clock.nowMs() - before).toBeGreaterThan(15);
    const controller = new AbortController();
    const long = clock.sleep(60_000, controller.signal);
    controller.abort(new Error("enough"));
    await expect(long).rejects.toThrow("enough");
    await expect(clock.sleep(60_000, controller.signal)).rejects.toThrow("enough");
  });

  test("a timer fires once, and not when it was cancelled", async () => {
    let fired = 0;
    clock.timer(1, () => fired++);
    clock.timer(1, () => fired++)();
    await clock.sleep(20);
    expect(fired).toBe(1);
  });

  test("a wait longer than Node's timers can hold does not end at once", async () => {
    let fired = false;
    const cancel = clock.timer(2 ** 40, () => {
      fired = true;
    });
    const controller = new AbortController();
    const sleep = clock.sleep(2 ** 40, controller.signal);
    await clock.sleep(20);
    expect(fired).toBe(false);
    cancel();
    controller.abort(new Error("still asleep"));
    await expect(sleep).rejects.toThrow("still asleep");
  });

  test("the wall clock is the time since 1970", () => {
    expect(new Date(clock.wallMs()).getUTCFullYear()).toBeGreaterThan(2024);
  });
});

test("untilAborted waits for the work, or for the abort", async () => {
  const controller = new AbortController();
  expect(await untilAborted(Promise.resolve(1), undefined)).toBe(1);
  expect(await untilAborted(Promise.resolve(2), controller.signal)).toBe(2);
  await expect(untilAborted(Promise.reject(new Error("broken")), controller.signal)).rejects.toThrow("broken");
  const hanging = untilAborted(new Promise(() => undefined), controller.signal);
  controller.abort(new Error("gone"));
  await expect(hanging).rejects.toThrow("gone");
  await expect(untilAborted(new Promise(() => undefined), controller.signal)).rejects.toThrow("gone");
});

test("inTime waits for the work, but not for ever, and leaves no timer", async () => {
  const clock = new ManualClock();
  const late = () => new Error("late");
  expect(await inTime(clock, 100, Promise.resolve(1), late)).toBe(1);
  expect(clock.pendingTimers).toBe(0);
  const hanging = expect(inTime(clock, 100, new Promise(() => undefined), late)).rejects.toThrow("late");
  await clock.advance(100);
  await hanging;
});
