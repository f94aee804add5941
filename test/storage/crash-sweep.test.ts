import { SeededRandom, SystemRandom } from "../../src/core/random.ts";
import { allPoints, type Point, tryPoint, whyNoSweep } from "../support/crash-sweep.ts";

/** `SEED=n npx jest test/storage/crash-sweep` replays a run; `npm run crash-sweep` tries every point. */
const seed = Number(process.env["SEED"] ?? Math.floor(new SystemRandom().next() * 2 ** 32));
const TIERS = ["files", "segments"] as const;
const BUDGET_MS = 15_000;
const AT_ONCE_COUNT = 2;
const KINDS: ReadonlyArray<Point["how"]> = ["signal=KILL", "error=EIO", "error=ENOSPC"];
/** By so much points of a root's opening are rarer in the sample than their share: there are 256 of each. */
const OPENING_RARER = 10;

const reason = whyNoSweep();
if (reason) console.log(`crash-sweep: skipped, ${reason}`);

// C1, C3, C6: whatever call of the write path fails or is the last one.
(reason ? test.skip : test)(
  "killed at any system call, or with any of them failing, a store keeps what it acknowledged and holds no partial blob",
  async () => {
    const points = await sample();
    const startedMs = performance.now();
    const queue = points.values();
    const faults: string[] = [];
    let [tried, reached] = [0, 0];
    const lanes = Array.from({ length: AT_ONCE_COUNT }, async () => {
      for (const point of queue) {
        if (performance.now() - startedMs > BUDGET_MS) return;
        const result = await tryPoint(point);
        tried++;
        if (result.reached) reached++;
        faults.push(
          ...result.faults.map((fault) => `${point.tiers}, ${point.how} at ${point.call} ${point.when}: ${fault}`),
        );
      }
    });
    await Promise.all(lanes);
    const seconds = Math.round((performance.now() - startedMs) / 1000);
    console.log(
      `crash-sweep (seed ${seed}): tried ${tried} of ${points.length} points, ${reached} reached, in ${seconds} s`,
    );
    expect(faults).toEqual([]);
    expect(reached).toBeGreaterThan(tried * 0.9);
  },
  4 * BUDGET_MS,
);

/** All points, in the order in which they are to be tried. */
async function sample(): Promise<Point[]> {
  const random = new SeededRandom(seed);
  const points: Point[] = [];
  for (const how of KINDS) for (const tiers of TIERS) points.push(...(await allPoints(how, tiers)));
  const ranked = points.map((point) => ({ point, rank: random.next() * (point.isWork ? 1 : OPENING_RARER) }));
  return ranked.sort((a, b) => a.rank - b.rank).map(({ point }) => point);
}
