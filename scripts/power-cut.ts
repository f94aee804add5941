import { SeededRandom, SystemRandom } from "../src/core/random.ts";
import { whyNoLoopDisk } from "../test/support/loop-disk.ts";
import { cutPower, type Defect } from "../test/support/power-cut.ts";

/**
 * `npm run power-cut [-- --cuts=50] [--files] [--without-fsync | --without-file-fsync | --without-folder-fsync] [--seed=N]`: only this tests
 * fsync, as the page cache survives the death of a process. Small blobs are in segments, unless `--files`. With one of the defects it must find faults, and fails if it doesn't.
 */
const DEFECTS: readonly Defect[] = ["without-fsync", "without-file-fsync", "without-folder-fsync"];
const options = process.argv.slice(2);
const cuts = Number(optionValue("cuts") ?? 50);
const seed = Number(optionValue("seed") ?? Math.floor(new SystemRandom().next() * 2 ** 32));
const tiers = options.includes("--files") ? "files" : "segments";
const defect = DEFECTS.find((each) => options.includes(`--${each}`));

const reason = whyNoLoopDisk();
if (reason) {
  console.error(`power-cut: ${reason}`);
  process.exit(1);
}
const startedMs = performance.now();
const random = new SeededRandom(seed);
let acknowledged = 0;
let faulty = 0;
let faults = 0;
for (let cut = 1; cut <= cuts; cut++) {
  const result = await cutPower(tiers, defect, random);
  acknowledged += result.acknowledged;
  faults += result.faults.length;
  if (result.faults.length > 0) faulty++;
  for (const fault of result.faults.slice(0, 3)) console.log(`cut ${cut}: ${fault}`);
}
const seconds = Math.round((performance.now() - startedMs) / 1000);
const kind = defect ?? "as built";
console.log(
  `power-cut (${tiers}, ${kind}, seed ${seed}): ${cuts} cuts, ${acknowledged} blobs acknowledged before them, ${faults} faults in ${faulty} cuts, ${seconds} s`,
);
process.exit(faulty > 0 === (defect !== undefined) ? 0 : 1);

function optionValue(name: string): string | undefined {
  return options.find((option) => option.startsWith(`--${name}=`))?.split("=")[1];
}
