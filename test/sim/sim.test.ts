import { runSeed } from "../support/sim/run-seed.ts";

/** How long seeds are run here; `npm run sim -- --seeds 10000` runs for hours. */
const BUDGET_MS = 75_000;

let limit = 10;
beforeAll(() => {
  limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 0; // thousands of expected errors
});
afterAll(() => {
  Error.stackTraceLimit = limit;
});

test("whole clusters under all faults at once: nothing acknowledged is lost, no wrong byte is answered, all comes to its place", async () => {
  const begun = performance.now();
  let seeds = 0;
  while (performance.now() - begun < BUDGET_MS) {
    const result = await runSeed({ seed: ++seeds });
    if (result.breaches.length > 0) {
      throw new Error(
        `seed ${seeds} (npm run sim -- --seed ${seeds}):\n${result.breaches.join("\n")}\n${result.history.slice(-40).join("\n")}`,
      );
    }
  }
  const seconds = Math.round((performance.now() - begun) / 1_000);
  process.stdout.write(`simulator: ${seeds} seeds in ${seconds} s, no breach\n`);
  expect(seeds).toBeGreaterThan(5);
}, 180_000);

test("a seed is replayed identically, and another one is another history", async () => {
  const [first, again, other] = [
    await runSeed({ seed: 7, blobs: 40 }),
    await runSeed({ seed: 7, blobs: 40 }),
    await runSeed({ seed: 8, blobs: 40 }),
  ];
  expect(again.digest).toBe(first.digest);
  expect(again.history).toEqual(first.history);
  expect(other.digest).not.toBe(first.digest);
}, 60_000);
