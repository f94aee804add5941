import { hedge } from "../../src/core/hedge.ts";
import { ManualClock } from "../support/manual-clock.ts";

type Script = Record<string, { afterMs: number; answer: string | null | Error }>;

function run(script: Script, options: { delayMs?: number; timeoutMs?: number; signal?: AbortSignal } = {}) {
  const clock = new ManualClock();
  const begun: string[] = [];
  const aborted: string[] = [];
  const discarded: string[] = [];
  const outcome = hedge<string, string>({
    candidates: Object.keys(script),
    attempt: async (name, signal) => {
      begun.push(`${name}@${clock.nowMs()}`);
      signal.addEventListener("abort", () => aborted.push(name));
      const { afterMs, answer } = script[name] as Script[string];
      await clock.sleep(afterMs);
      if (answer instanceof Error) throw answer;
      return answer;
    },
    delayMs: options.delayMs ?? 100,
    ...(options.timeoutMs === undefined ? {} : { timeoutMs: options.timeoutMs }),
    discard: (result) => discarded.push(result),
    clock,
    signal: options.signal,
  });
  return { clock, outcome, begun, aborted, discarded };
}

test("the first answer wins and nobody else is asked", async () => {
  const { clock, outcome, begun } = run({ a: { afterMs: 10, answer: "A" }, b: { afterMs: 10, answer: "B" } });
  await clock.advance(10);
  expect((await outcome).winner).toEqual({ candidate: "a", result: "A" });
  expect(begun).toEqual(["a@0"]);
  expect(clock.pendingTimers).toBe(0);
});

test("a slow one is overtaken, aborted, and its late result is discarded", async () => {
  const { clock, outcome, begun, aborted, discarded } = run({
    a: { afterMs: 5_000, answer: "A" },
    b: { afterMs: 10, answer: "B" },
  });
  await clock.advance(110);
  expect((await outcome).winner?.result).toBe("B");
  expect(begun).toEqual(["a@0", "b@100"]);
  expect(aborted).toEqual(["a"]);
  await clock.advance(5_000);
  expect(discarded).toEqual(["A"]);
});

test("failure and absence move on to the next at once", async () => {
  const { clock, outcome, begun } = run({
    a: { afterMs: 5, answer: new Error("broken") },
    b: { afterMs: 5, answer: null },
    c: { afterMs: 5, answer: "C" },
  });
  await clock.advance(15);
  const { winner, absent, failed } = await outcome;
  expect(winner?.candidate).toBe("c");
  expect(absent).toEqual(["b"]);
  expect(failed.map(({ candidate }) => candidate)).toEqual(["a"]);
  expect(begun).toEqual(["a@0", "b@5", "c@10"]);
});

test("ends without a winner when all have answered", async () => {
  const { clock, outcome } = run({ a: { afterMs: 5, answer: null }, b: { afterMs: 5, answer: new Error("no") } });
  await clock.advance(10);
  expect(await outcome).toMatchObject({ winner: null, absent: ["a"] });
});

test("no candidates: ends at once", async () => {
  expect(await run({}).outcome).toEqual({ winner: null, absent: [], failed: [] });
});

test("gives up at its timeout; who has not answered is in neither list", async () => {
  const { clock, outcome, aborted } = run({ a: { afterMs: 9_999, answer: "A" } }, { timeoutMs: 300 });
  await clock.advance(300);
  expect(await outcome).toEqual({ winner: null, absent: [], failed: [] });
  expect(aborted).toEqual(["a"]);
});

test("rejects with the caller's reason when the caller goes away", async () => {
  const controller = new AbortController();
  const { outcome, aborted } = run({ a: { afterMs: 9_999, answer: "A" } }, { signal: controller.signal });
  controller.abort(new Error("gone"));
  await expect(outcome).rejects.toThrow("gone");
  expect(aborted).toEqual(["a"]);
});
