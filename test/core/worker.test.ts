import fc from "fast-check";
import { WORKER_BACKOFF_MAX_MS, WORKER_BACKOFF_MIN_MS } from "../../src/core/limits.ts";
import { silentLogger } from "../../src/core/log.ts";
import { type Random, SeededRandom } from "../../src/core/random.ts";
import { type StepResult, Worker } from "../../src/core/worker.ts";
import { ManualClock, settle } from "../support/manual-clock.ts";

const NO_JITTER = { next: () => 0.5, uuid: () => "", hex: () => "" };

function workerOf(step: (signal: AbortSignal) => Promise<StepResult>, intervalMs = 1_000, random: Random = NO_JITTER) {
  const clock = new ManualClock();
  const worker = new Worker({ name: "test", intervalMs, step, clock, random, log: silentLogger() });
  return { clock, worker };
}

/** A worker whose steps end as told, one after the other (the last one for ever), and the times of its steps. */
function scripted(results: ReadonlyArray<StepResult | Error>, intervalMs = 1_000, random: Random = NO_JITTER) {
  const timesMs: number[] = [];
  const { clock, worker } = workerOf(
    async () => {
      const result = results[Math.min(timesMs.length, results.length - 1)] as StepResult | Error;
      timesMs.push(clock.nowMs());
      if (result instanceof Error) throw result;
      return result;
    },
    intervalMs,
    random,
  );
  return { clock, worker, timesMs };
}

test("the first step comes at once; idle waits for the interval, busy for nothing, afterMs for what it says", async () => {
  const { clock, worker, timesMs } = scripted(["busy", "busy", { afterMs: 250 }, "idle", "idle"]);
  worker.start();
  await clock.advance(2_300);
  expect(timesMs).toEqual([0, 0, 0, 250, 1_250, 2_250]);
  await worker.stop();
});

test("start twice is one loop", async () => {
  const { clock, worker, timesMs } = scripted(["idle"]);
  worker.start();
  worker.start();
  await clock.advance(1_000);
  expect(timesMs).toEqual([0, 1_000]);
  await worker.stop();
});

test("one failing step never ends the loop, and the wait after errors doubles up to a bound", async () => {
  const { clock, worker, timesMs } = scripted([new Error("broken")]);
  worker.start();
  await clock.advance(600_000);
  const waits = timesMs.slice(1).map((time, i) => time - (timesMs[i] as number));
  expect(waits.slice(0, 6)).toEqual([2_000, 4_000, 8_000, 16_000, 32_000, WORKER_BACKOFF_MAX_MS]);
  expect(Math.max(...waits)).toBe(WORKER_BACKOFF_MAX_MS);
  expect(worker.status()).toMatchObject({ state: "failing", failures: timesMs.length, lastError: "broken" });
  await worker.stop();
});

test("after a success the back-off begins anew, and the status says that it works again", async () => {
  const { clock, worker, timesMs } = scripted([new Error("1"), new Error("2"), "idle", new Error("3"), "idle"]);
  worker.start();
  await clock.advance(10_000);
  expect(timesMs.slice(0, 5)).toEqual([0, 2_000, 6_000, 7_000, 9_000]);
  expect(worker.status()).toMatchObject({ state: "waiting", failures: 3, lastError: "3" });
  await worker.stop();
});

test("a worker without an interval does not spin on errors", async () => {
  let steps = 0;
  const { clock, worker } = workerOf(async () => {
    steps++;
    if (steps > 5) await new Promise(() => undefined); // a worker that spins would never let this test end
    throw new Error("broken");
  }, 0);
  worker.start();
  await clock.advance(2 * WORKER_BACKOFF_MIN_MS - 1);
  expect(steps).toBe(1);
  await worker.stop();
});

test("a step that throws before it returns a promise is a failing step too", async () => {
  const { clock, worker } = workerOf(() => {
    throw new Error("at once");
  });
  worker.start();
  await clock.advance(10_000);
  expect(worker.status()).toMatchObject({ lastError: "at once" });
  expect(worker.status().steps).toBeGreaterThan(1);
  await worker.stop();
});

test("every wait lies within a tenth of what was asked, and they differ", async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer(), async (seed) => {
      const { clock, worker, timesMs } = scripted(["idle"], 1_000, new SeededRandom(seed));
      worker.start();
      await clock.advance(8_000);
      await worker.stop();
      const waits = timesMs.slice(1).map((time, i) => time - (timesMs[i] as number));
      for (const wait of waits) {
        expect(wait).toBeGreaterThanOrEqual(900);
        expect(wait).toBeLessThanOrEqual(1_100);
      }
      expect(new Set(waits).size).toBeGreaterThan(1);
    }),
    { numRuns: 20 },
  );
});

test("stop aborts the step under way, waits for its end, and counts it neither as failed nor as a reason to go on", async () => {
  let ended = false;
  const { worker } = workerOf(
    (signal) =>
      new Promise((_, reject) => {
        signal.addEventListener("abort", () => {
          setImmediate(() => {
            ended = true;
            reject(signal.reason);
          });
        });
      }),
  );
  worker.start();
  await settle();
  expect(worker.status().state).toBe("working");
  await worker.stop();
  expect(ended).toBe(true);
  expect(worker.status()).toMatchObject({ state: "stopped", failures: 0, steps: 1 });
});

test("stop ends a wait at once, and leaves no timer", async () => {
  const { clock, worker } = scripted(["idle"], 3_600_000);
  worker.start();
  await settle();
  await worker.stop();
  expect(clock.pendingTimers).toBe(0);
  expect(worker.status()).toMatchObject({ state: "stopped", steps: 1 });
});

test("stop before start is fine, and nothing runs afterwards", async () => {
  const { clock, worker, timesMs } = scripted(["idle"]);
  await worker.stop();
  worker.start();
  await clock.advance(5_000);
  expect(timesMs).toEqual([]);
});

test("the status tells when the last step was, by the wall clock", async () => {
  const { clock, worker } = scripted(["idle"]);
  expect(worker.status()).toMatchObject({ name: "test", state: "stopped", steps: 0, lastStepAtMs: null });
  worker.start();
  await clock.advance(1_000);
  expect(worker.status()).toMatchObject({ state: "waiting", steps: 2, lastStepAtMs: clock.wallMs() });
  await worker.stop();
});

test("a worker that is woken does its next step at once, and one that is woken during a step another one after it", async () => {
  const { clock, worker, timesMs } = scripted(["idle"]);
  worker.start();
  await clock.advance(100);
  worker.wake();
  await clock.advance(0);
  expect(timesMs).toEqual([0, 100]);

  let ends: () => void = () => undefined;
  let steps = 0;
  const slow = workerOf(() => {
    steps++;
    return new Promise((resolve) => {
      ends = () => resolve("idle");
    });
  });
  slow.worker.start();
  slow.worker.wake();
  ends();
  await slow.clock.advance(0);
  expect(steps).toBe(2);
  ends();
  await slow.worker.stop();
  await worker.stop();
});

test("a paused worker begins no step, says that it is paused, and goes on at once when it is resumed", async () => {
  const { clock, worker, timesMs } = scripted(["idle"]);
  worker.start();
  await clock.advance(10);
  worker.pause();
  worker.wake();
  await clock.advance(600_000);
  expect(timesMs).toEqual([0]);
  expect(worker.status().state).toBe("paused");
  worker.resume();
  await clock.advance(0);
  expect(timesMs).toEqual([0, 600_010]);
  expect(worker.status().state).toBe("waiting");
  await worker.stop();
});
