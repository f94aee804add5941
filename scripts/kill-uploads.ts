import { parseArgs } from "node:util";
import { SeededRandom, SystemRandom } from "../src/core/random.ts";
import { killDuringUploads } from "../test/support/kill-uploads.ts";

/** `npm run kill-uploads [-- --kills=50 --seed=N]`: nodes are killed (-9) at random moments during uploads, and started anew. */
const { values } = parseArgs({ options: { kills: { type: "string", default: "50" }, seed: { type: "string" } } });
const seed = Number(values.seed ?? Math.floor(new SystemRandom().next() * 2 ** 32));
const startedMs = performance.now();
const progress = (count: number) => {
  if (count % 10 === 0) console.log(`killed ${count} times`);
};
const result = await killDuringUploads(Number(values.kills), new SeededRandom(seed), progress);
for (const fault of result.faults.slice(0, 20)) console.log(fault);
const seconds = Math.round((performance.now() - startedMs) / 1000);
console.log(
  `kill-uploads (seed ${seed}): ${result.kills} kills, ${result.acknowledged} uploads acknowledged, ${result.unacknowledged} not, ` +
    `${result.copies} copies on the disks, ${result.faults.length} faults, ${seconds} s`,
);
process.exit(result.faults.length > 0 ? 1 : 0);
