/** What runs in the thread of `ReadThread`: reads one batch after the other, each from first to last. Its first message says that it runs. */
import { readSync } from "node:fs";
import { parentPort } from "node:worker_threads";
import { SystemClock } from "./clock.ts";
import { READ_BATCH_LEAST_SLOW_MS, READ_SLOW_MS } from "./limits.ts";

export interface BatchedRead {
  readonly fd: number;
  readonly length: number;
  readonly position: number;
}

export interface ReadBatch {
  readonly reads: readonly BatchedRead[];
  /** Where their bytes go, one behind the other: memory that both threads see. */
  readonly memory: Uint8Array;
}

export interface BatchAnswer {
  /** From here on they were left: the disk takes its time, and several threads can wait for it at once. */
  readonly done: number;
  /** Of those made, the ones whose bytes aren't there: it failed, or the file ended. */
  readonly missing: readonly number[];
}

const clock = new SystemClock();

parentPort?.on("message", ({ reads, memory }: ReadBatch) => {
  const missing: number[] = [];
  const begunMs = clock.nowMs();
  let done = 0;
  let at = 0;
  for (const { fd, length, position } of reads) {
    try {
      if (readSync(fd, memory, at, length, position) < length) missing.push(done);
    } catch (_toldByWhoReadsItAgain) {
      missing.push(done);
    }
    at += length;
    done++;
    const ms = clock.nowMs() - begunMs;
    if (ms > READ_BATCH_LEAST_SLOW_MS && ms > done * READ_SLOW_MS) break;
  }
  parentPort?.postMessage({ done, missing } satisfies BatchAnswer);
});
parentPort?.postMessage("");
