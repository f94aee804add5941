import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { SeedResult } from "./run-seed.ts";

/** What of a seed is told from one process to another. */
export type SeedSummary = Pick<SeedResult, "seed" | "breaches" | "events">;

const CHILD = fileURLToPath(new URL("seed-pool-child.ts", import.meta.url));

/** Runs seeds, each in one of so many processes. In the order in which they end. Rejects when one of the processes ends before. */
export async function* runSeeds(seeds: readonly number[], processes: number): AsyncGenerator<SeedSummary> {
  const ended: SeedSummary[] = [];
  let wake: () => void = () => undefined;
  let failure: Error | undefined;
  const queue = seeds.values();
  const children = Array.from({ length: Math.min(processes, seeds.length) }, () => {
    const child = fork(CHILD, { serialization: "advanced" });
    const next = () => {
      const { value, done } = queue.next();
      if (done) child.disconnect();
      else child.send(value);
    };
    child.on("message", (result: SeedSummary) => {
      ended.push(result);
      next();
      wake();
    });
    child.on("exit", (code, signal) => {
      if (code !== 0) failure ??= new Error(`a process of the simulator ended with ${code ?? signal}`);
      wake();
    });
    next();
    return child;
  });
  try {
    for (let told = 0; told < seeds.length; told++) {
      while (ended.length === 0) {
        if (failure) throw failure;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      yield ended.shift() as SeedSummary;
    }
  } finally {
    for (const child of children) if (child.exitCode === null && child.kill("SIGKILL")) await once(child, "exit");
  }
}
