import { type CrashResult, crashAtRandomCalls } from "../support/sim/crashes.ts";
import { withoutSyncs } from "../support/sim/left-out-syncs.ts";
import { CrashedS3, type S3CrashOptions } from "../support/sim/s3-crashes.ts";

/** `SIM_SEED=n npx jest test/storage/s3-crashes` replays one, but for the order of answers; `S3_CRASH_SECONDS=300` tries longer. */
const only = process.env["SIM_SEED"];
const BUDGET_MS = 1_000 * Number(process.env["S3_CRASH_SECONDS"] ?? 25);

async function crash(seed: number, options: S3CrashOptions = {}): Promise<CrashResult> {
  const storage = await CrashedS3.start(options);
  try {
    return await crashAtRandomCalls(seed, storage);
  } catch (fault) {
    return { faults: [`seed ${seed}: ${fault}`], acknowledged: 0, endedIn: [] };
  } finally {
    await storage.stop();
  }
}

// C1, C3, C6: on S3, too.
test(
  "killed before or after any request, or over its notes: what was acknowledged is there, what was removed is not, nothing is partial or left over",
  async () => {
    const startedMs = performance.now();
    const faults: string[] = [];
    const endedIn = new Map<string, number>();
    let [acknowledged, seeds] = [0, 0];
    for (let seed = Number(only ?? 1); performance.now() - startedMs < BUDGET_MS; seed++) {
      const result = await crash(seed);
      seeds++;
      faults.push(...result.faults);
      for (const step of result.endedIn) endedIn.set(step, (endedIn.get(step) ?? 0) + 1);
      acknowledged += result.acknowledged;
      if (only !== undefined) break;
    }
    const steps = [...endedIn].sort().map(([step, count]) => `${step} ${count}`);
    console.log(`${seeds} seeds, killed twice each, ${acknowledged} puts acknowledged, ended in: ${steps.join(", ")}`);
    expect(faults).toEqual([]);
  },
  BUDGET_MS + 60_000,
);

test.each([
  ["no late delete is waited for", { settleMs: 0, steps: ["before DELETE blob"] }, /is lost|has vanished/],
  [
    "no sync of folders",
    { through: withoutSyncs((what) => what === "folder"), steps: ["rename s3-claim.json.new", "after PUT owner"] },
    /does not open/,
  ],
] as const)(
  "with the defect put in, %s, it shows within 60 seeds",
  async (_, options, expected) => {
    for (let seed = 1; seed <= 60; seed++) {
      if ((await crash(seed, options)).faults.some((fault) => expected.test(fault))) return;
    }
    throw new Error("not found");
  },
  120_000,
);
