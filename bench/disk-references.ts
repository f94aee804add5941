import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { openSync, writeSync } from "node:fs";
import { open, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Round } from "./wrk.ts";

export interface AppendOptions {
  readonly folder: string;
  readonly bytes: number;
  /** So many are written with one sync, as a server could for so many connections. */
  readonly connections: number;
  readonly seconds: number;
}

/** What the disk gives: the same bytes appended to one file and synced, without any server. */
export async function appendAndSync({ folder, bytes, connections, seconds }: AppendOptions): Promise<Round> {
  const path = join(folder, "appended");
  const blobs = Array.from({ length: connections }, () => randomBytes(bytes));
  const file = await open(path, "w");
  const begun = performance.now();
  const endMs = begun + 1_000 * seconds;
  const tookUs: number[] = [];
  try {
    while (performance.now() < endMs) {
      const startedMs = performance.now();
      await file.writev(blobs);
      await file.datasync();
      tookUs.push(1_000 * (performance.now() - startedMs));
    }
  } finally {
    await file.close();
    await rm(path);
  }
  return roundOf(tookUs, (tookUs.length * connections) / ((performance.now() - begun) / 1_000));
}

/** `dd conv=fsync` of a file of so many bytes, once. */
export async function ddAndSync(source: string, folder: string): Promise<Round> {
  const copy = join(folder, "dd-copy");
  const begun = performance.now();
  const { status, stderr } = spawnSync("dd", [`if=${source}`, `of=${copy}`, "bs=1M", "conv=fsync"], {
    encoding: "utf8",
  });
  const ms = performance.now() - begun;
  if (status !== 0) throw new Error(`dd: ${stderr}`);
  await rm(copy);
  return roundOf([1_000 * ms], 1_000 / ms);
}

/** One upload by curl of a file that no node has yet. */
export function uploadOnce(url: string, source: string): Round {
  const file = openSync(source, "r+");
  writeSync(file, randomBytes(32), 0, 32, 0);
  const begun = performance.now();
  const args = [
    "-sS",
    "--fail",
    "-o",
    "/dev/null",
    "-X",
    "POST",
    "-T",
    source,
    "--request-target",
    "/",
    "-H",
    "Expect:",
  ];
  const { status, stderr } = spawnSync("curl", [...args, url], { encoding: "utf8" });
  const ms = performance.now() - begun;
  if (status !== 0) throw new Error(`curl: ${stderr}`);
  return roundOf([1_000 * ms], 1_000 / ms);
}

function roundOf(tookUs: readonly number[], perSecond: number): Round {
  const sorted = [...tookUs].sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] as number;
  return { perSecond, p50Us: at(0.5), p99Us: at(0.99), p999Us: at(0.999), cpuUs: 0 };
}
