import { KILL_POINTS, killAt } from "../test/support/sim/kill-points.ts";

/** `npm run kill-points [-- TIMES]`: simulated nodes killed at each step of repair, reconcile, trim, quarantine, drain, scrub, compaction and checkpoint, each so many times. */

Error.stackTraceLimit = 0; // thousands of expected errors
const times = Number(process.argv[2] ?? 20);
const begun = performance.now();
let bad = 0;
for (const point of KILL_POINTS) {
  let killed = 0;
  for (let seed = 1; seed <= times; seed++) {
    const result = await killAt(point, seed);
    if (result.killed) killed++;
    if (result.breaches.length === 0) continue;
    bad++;
    console.log(`  ${point}, seed ${seed}: ${result.breaches.slice(0, 2).join("; ")}`);
  }
  console.log(`${point.padEnd(30)} killed in ${killed} of ${times} runs`);
  if (killed < times / 2) bad++;
}
const seconds = ((performance.now() - begun) / 1_000).toFixed(0);
console.log(`${KILL_POINTS.length} points, ${times} runs each, in ${seconds} s: ${bad} with faults`);
process.exitCode = bad === 0 ? 0 : 1;
