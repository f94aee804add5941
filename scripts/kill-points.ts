import { KILL_POINTS, killAt } from "../test/support/sim/kill-points.ts";

/** `npm run kill-points [-- TIMES]`: simulated nodes killed at each step of repair, reconcile, trim, quarantine, drain, scrub, compaction and checkpoint, each so many times. */

/** Not every seed comes to every point; so many are tried for each time. */
const SEEDS_FOR_ONE = 4;

Error.stackTraceLimit = 0; // thousands of expected errors
const times = Number(process.argv[2] ?? 20);
const begun = performance.now();
let bad = 0;
for (const point of KILL_POINTS) {
  let killed = 0;
  let seed = 0;
  while (killed < times && seed < SEEDS_FOR_ONE * times) {
    seed++;
    const result = await killAt(point, seed);
    if (result.killed) killed++;
    if (result.breaches.length === 0) continue;
    bad++;
    console.log(`  ${point}, seed ${seed}: ${result.breaches.slice(0, 2).join("; ")}`);
  }
  console.log(`${point.padEnd(30)} killed in ${killed} of ${seed} runs`);
  if (killed < times) bad++;
}
const seconds = ((performance.now() - begun) / 1_000).toFixed(0);
console.log(`${KILL_POINTS.length} points, ${times} kills each, in ${seconds} s: ${bad} with faults`);
process.exitCode = bad === 0 ? 0 : 1;
