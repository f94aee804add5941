import { SeededRandom, SystemRandom } from "../../src/core/random.ts";
import { killDuringUploads } from "../support/kill-uploads.ts";

const KILLS = 5;

test("nodes killed during uploads: nothing acknowledged is missing or wrong, nothing partial is visible", async () => {
  const seed = Math.floor(new SystemRandom().next() * 2 ** 32);
  const result = await killDuringUploads(KILLS, new SeededRandom(seed));
  console.log(
    `seed ${seed}: ${KILLS} kills, ${result.acknowledged} uploads acknowledged, ${result.unacknowledged} not`,
  );
  expect({ seed, faults: result.faults }).toEqual({ seed, faults: [] });
  expect(result.acknowledged).toBeGreaterThan(0);
}, 120_000);
