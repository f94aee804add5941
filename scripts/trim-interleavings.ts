import { runInterleaving } from "../test/support/trim-interleavings.ts";

/** `npm run trim-interleavings [-- COUNT]`: four nodes with different views trim one blob, in so many random orders of events. */

const count = Number(process.argv[2] ?? 100_000);
const begun = performance.now();
let deletes = 0;
const fewest = new Map<string, number>();
for (let seed = 1; seed <= count; seed++) {
  const max = 1 + (seed % 3);
  const result = await runInterleaving(seed, max);
  deletes += result.deletes;
  const kind = `max ${max}: ${result.fewest} copies at the fewest`;
  fewest.set(kind, (fewest.get(kind) ?? 0) + 1);
  if (result.fewest < max) {
    console.log(`seed ${seed}: ${result.fewest} copies were left, ${max} must be`);
    process.exitCode = 1;
    if (process.argv.includes("--until-breach")) {
      console.log(`found after ${seed} seeds: ${result.fewest} copies were left, ${max} must be`);
      process.exit(0);
    }
  }
}
for (const [kind, times] of [...fewest].sort()) console.log(`${String(times).padStart(8)}  ${kind}`);
console.log(
  `${count} interleavings in ${((performance.now() - begun) / 1_000).toFixed(0)} s, ${deletes} copies deleted`,
);
