import { spawn } from "node:child_process";
import { once } from "node:events";
import { resolve } from "node:path";

/** Makes few objects and many buffers, as a node that serves does. Prints what was collected before and after, and what it then holds. */
const PROGRAM = `
  import { PerformanceObserver, constants } from "node:perf_hooks";
  import { setTimeout as sleep } from "node:timers/promises";
  import { runInNewContext } from "node:vm";
  import { collectLessOften } from ${JSON.stringify(resolve("src/core/collector.ts"))};

  let wholeCount = 0;
  new PerformanceObserver((list) => {
    for (const { detail } of list.getEntries()) if (detail.kind === constants.NODE_PERFORMANCE_GC_MAJOR) wholeCount++;
  }).observe({ entryTypes: ["gc"] });
  const kept = Array.from({ length: 150_000 }, (_, i) => ({ i, text: "kept " + i }));

  async function collectedWhileServing() {
    const before = wholeCount;
    for (let turn = 0; turn < 6_000; turn++) {
      for (let i = 0; i < 32; i++) Buffer.allocUnsafeSlow(4_096).fill(1);
      await new Promise(setImmediate);
    }
    await sleep(50);
    return wholeCount - before;
  }

  const before = [await collectedWhileServing(), process.memoryUsage().rss];
  collectLessOften();
  const after = [0, process.memoryUsage().rss];
  await collectedWhileServing();
  after[0] = await collectedWhileServing();
  console.log(JSON.stringify({ before, after, kept: kept.length, seen: runInNewContext("typeof gc") }));
`;

test("what starting left is given back, and the whole heap is looked through less often", async () => {
  const child = spawn(process.execPath, ["--input-type=module", "--eval", PROGRAM], { timeout: 60_000 });
  const output: Buffer[] = [];
  child.stdout.on("data", (piece: Buffer) => void output.push(piece));
  expect(await once(child, "close")).toEqual([0, null]);
  const { before, after, seen } = JSON.parse(Buffer.concat(output).toString());
  expect(before[0]).toBeGreaterThanOrEqual(3);
  expect(after[0]).toBeLessThanOrEqual(before[0] / 3);
  expect(after[1]).toBeLessThan(before[1]);
  expect(seen).toBe("undefined"); // nothing else gets to collect
});
