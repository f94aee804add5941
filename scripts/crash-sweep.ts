import { parseArgs } from "node:util";
import { allPoints, type Point, type PointResult, tryPoint, whyNoSweep } from "../test/support/crash-sweep.ts";

/**
 * `npm run crash-sweep [-- KILL|EIO|ENOSPC …] [--files] [--minutes=n]`: a process that stores, replaces and deletes blobs is killed as it enters each
 * system call of the write path (or that call fails); after each, the root is opened again and compared with what was acknowledged. Small
 * blobs are in segments, unless `--files`.
 */
const HOW: Record<string, Point["how"]> = { KILL: "signal=KILL", EIO: "error=EIO", ENOSPC: "error=ENOSPC" };
const AT_ONCE_COUNT = 2;

const reason = whyNoSweep();
if (reason) {
  console.error(`crash-sweep: ${reason}`);
  process.exit(1);
}
const { values, positionals } = parseArgs({
  options: { files: { type: "boolean", default: false }, minutes: { type: "string", default: "60" } },
  allowPositionals: true,
});
const wanted = positionals.length > 0 ? positionals : ["KILL"];
const tiers = values.files ? "files" : "segments";
let faulty = 0;
for (const name of wanted) {
  const how = HOW[name];
  if (!how) throw new Error(`not a kind of crash: ${name}; there are ${Object.keys(HOW).join(", ")}`);
  faulty += await sweep(how);
}
process.exit(faulty > 0 ? 1 : 0);

async function sweep(how: Point["how"]): Promise<number> {
  const startedMs = performance.now();
  // Those of the work first: a root's opening has a thousand that are much alike.
  const all = await allPoints(how, tiers);
  const points = [...all.filter(({ isWork }) => isWork), ...all.filter(({ isWork }) => !isWork)];
  const results: PointResult[] = [];
  const queue = points.values();
  const lanes = Array.from({ length: AT_ONCE_COUNT }, async () => {
    for (const point of queue) {
      if (performance.now() - startedMs > Number(values.minutes) * 60_000) return;
      results.push(report(await tryPoint(point)));
    }
  });
  await Promise.all(lanes);
  const faulty = results.filter((result) => result.faults.length > 0).length;
  const reached = results.filter((result) => result.reached).length;
  const seconds = Math.round((performance.now() - startedMs) / 1000);
  console.log(
    `${tiers}, ${how}: ${results.length} of ${points.length} points, ${reached} reached, ${faulty} with faults, ${seconds} s (${calls(points)})`,
  );
  return faulty;
}

function report(result: PointResult): PointResult {
  const { call, when, how } = result.point;
  for (const fault of result.faults) console.log(`${how} at ${call} ${when}: ${fault}`);
  return result;
}

function calls(points: readonly Point[]): string {
  const counts = new Map<string, number>();
  for (const { call } of points) counts.set(call, (counts.get(call) ?? 0) + 1);
  return [...counts].map(([call, count]) => `${call} ${count}`).join(", ");
}
