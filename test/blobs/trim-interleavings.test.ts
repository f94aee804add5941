import { runInterleaving } from "../support/trim-interleavings.ts";

test("C22: four nodes with different views trim one blob at once, in random orders: never below the maximum", async () => {
  const fewest = new Map<number, number>();
  let deletes = 0;
  for (let seed = 1; seed <= 1_500; seed++) {
    const max = 1 + (seed % 3);
    const result = await runInterleaving(seed, max);
    deletes += result.deletes;
    if (result.fewest < max) throw new Error(`seed ${seed}: ${result.fewest} copies were left, ${max} must be`);
    fewest.set(result.fewest - max, (fewest.get(result.fewest - max) ?? 0) + 1);
  }
  // Else they would have tested nothing: deletes happen, and go as far as they may.
  expect(deletes).toBeGreaterThan(500);
  expect(fewest.get(0)).toBeGreaterThan(20);
}, 60_000);
