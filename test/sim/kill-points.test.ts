import { KILL_POINTS, killAt } from "../support/sim/kill-points.ts";

/** Once each here; `npm run kill-points` does it twenty times each. */
test.each(KILL_POINTS)(
  "killed %s: everything comes to its place",
  async (point) => {
    const result = await killAt(point, 1);
    expect(result.breaches).toEqual([]);
    expect(result.killed).toBe(true);
  },
  30_000,
);
