import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { missingEvents } from "../test/support/sim/expected-events.ts";
import { runSeed } from "../test/support/sim/run-seed.ts";
import { runSeeds } from "../test/support/sim/seed-pool.ts";

/**
 * `npm run sim [-- --seeds 10000] [--from 1] [--processes 2] [--seed N]`: whole clusters of five nodes and 200 blobs under all faults at once, one for
 * each seed, with the production code. A process for each core, if not said otherwise. `--seed N` runs one seed and prints its history.
 */

Error.stackTraceLimit = 0; // thousands of expected errors

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "200" },
    from: { type: "string", default: "1" },
    seed: { type: "string" },
    processes: { type: "string", default: String(availableParallelism()) },
    "until-breach": { type: "boolean", default: false },
  },
});

const PROGRESS_EVERY_COUNT = 100;
const write = (line: string) => process.stdout.write(`${line}\n`);

if (values.seed !== undefined) await one(Number(values.seed));
else await many(Number(values.from), Number(values.seeds));

async function one(seed: number): Promise<void> {
  const result = await runSeed({ seed });
  for (const line of result.history) write(line);
  write(`seed ${seed}: ${result.breaches.length} breaches, log ${result.digest}`);
  for (const breach of result.breaches) write(`  ${breach}`);
  process.exitCode = result.breaches.length === 0 ? 0 : 1;
}

async function many(from: number, count: number): Promise<void> {
  const begun = performance.now();
  const events = new Map<string, number>();
  let bad = 0;
  let done = 0;
  const seeds = Array.from({ length: count }, (_, i) => from + i);
  for await (const { seed, ...result } of runSeeds(seeds, Number(values.processes))) {
    done++;
    for (const [event, times] of result.events) events.set(event, (events.get(event) ?? 0) + times);
    if (result.breaches.length > 0) {
      bad++;
      if (values["until-breach"]) {
        write(`found after ${done} seeds: ${result.breaches[0]}`);
        return;
      }
      write(`seed ${seed}: ${result.breaches.length} breaches (npm run sim -- --seed ${seed})`);
      for (const breach of result.breaches.slice(0, 3)) write(`  ${breach}`);
    }
    if (done % PROGRESS_EVERY_COUNT === 0)
      write(`${done} seeds in ${secondsSince(begun).toFixed(0)} s: ${bad} with breaches`);
  }
  const seconds = secondsSince(begun);
  for (const [event, times] of [...events].sort()) write(`${String(times).padStart(9)}  ${event}`);
  const each = `${(seconds / count).toFixed(2)} s each, ${values.processes} at a time`;
  write(`${count} seeds in ${seconds.toFixed(0)} s (${each}): ${bad} with breaches`);
  if (bad === 0) write(`so with 95 % confidence fewer than ${(3 / count).toExponential(1)} of all seeds have one`);
  const missing = count >= 200 ? missingEvents(events) : [];
  if (missing.length > 0) write(`never happened, though it should have: ${missing.join(", ")}`);
  process.exitCode = bad === 0 && missing.length === 0 ? 0 : 1;
}

function secondsSince(begun: number): number {
  return (performance.now() - begun) / 1_000;
}
