/** A process of `runSeeds`: each message is a seed to be run, each answer what came of it. */
import { runSeed } from "./run-seed.ts";
import type { SeedSummary } from "./seed-pool.ts";

Error.stackTraceLimit = 0; // thousands of expected errors

process.on("message", async (seed: number) => {
  const { breaches, events } = await runSeed({ seed });
  process.send?.({ seed, breaches, events } satisfies SeedSummary);
});
