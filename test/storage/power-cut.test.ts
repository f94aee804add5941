import { SeededRandom, SystemRandom } from "../../src/core/random.ts";
import { whyNoLoopDisk } from "../support/loop-disk.ts";
import { type CutResult, cutPower } from "../support/power-cut.ts";

/** `SEED=n npx jest test/storage/power-cut` replays the moments of the cuts; `npm run power-cut` makes more of them. */
const seed = Number(process.env["SEED"] ?? Math.floor(new SystemRandom().next() * 2 ** 32));
const random = new SeededRandom(seed);
const TIERS = ["files", "segments"] as const;
const CUTS_COUNT = 2;
/** Without any fsync most cuts show faults. */
const CUTS_WITH_DEFECT_MAX_COUNT = 8;
const TIMEOUT_MS = 60_000;

const reason = whyNoLoopDisk();
if (reason) console.log(`power-cut: skipped, ${reason}`);
const withPowerToCut = reason ? test.skip : test;

withPowerToCut.each(TIERS)(
  "C1: what was acknowledged before a power cut is there after it, whole (%s)",
  async (tiers) => {
    const results: CutResult[] = [];
    for (let cut = 0; cut < CUTS_COUNT; cut++) results.push(await cutPower(tiers, undefined, random));
    const acknowledged = results.reduce((sum, result) => sum + result.acknowledged, 0);
    console.log(
      `power-cut (${tiers}, seed ${seed}): ${CUTS_COUNT} cuts, ${acknowledged} blobs acknowledged before them`,
    );
    expect(results.flatMap(({ faults }) => faults)).toEqual([]);
    expect(acknowledged).toBeGreaterThan(0);
  },
  TIMEOUT_MS,
);

withPowerToCut.each(TIERS)(
  "a store that leaves out fsync is found out (%s)",
  async (tiers) => {
    const faults: string[] = [];
    for (let cut = 0; cut < CUTS_WITH_DEFECT_MAX_COUNT && faults.length === 0; cut++) {
      faults.push(...(await cutPower(tiers, "without-fsync", random)).faults);
    }
    expect(faults).not.toEqual([]);
  },
  TIMEOUT_MS,
);
