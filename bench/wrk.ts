import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** What one round of one server gave. `cpuUs`: processor time of the server's processes for each request. */
export interface Round {
  readonly perSecond: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly p999Us: number;
  readonly cpuUs: number;
}

export type Load =
  | { readonly kind: "get"; readonly paths: readonly string[] }
  | { readonly kind: "post"; readonly bytes: number };

export interface WrkOptions {
  readonly url: string;
  readonly load: Load;
  readonly connections: number;
  readonly seconds: number;
  /** Of the server, for its processor time. */
  readonly pids: readonly number[];
  /** For the list of paths. */
  readonly folder: string;
}

const SCRIPT = fileURLToPath(new URL("load.lua", import.meta.url));
const TICKS_PER_SECOND = 100;
let uploads = 0;

/** One round with wrk, a process of its own with one thread. Rejects when a request failed. */
export async function runWrk({ url, load, connections, seconds, pids, folder }: WrkOptions): Promise<Round> {
  const before = cpuSeconds(pids);
  const options = ["-t1", `-c${connections}`, `-d${seconds}s`, "--timeout", "30s", "-s", SCRIPT, url, "--"];
  const output = await outputOf("wrk", [...options, ...argumentsOf(load, folder)]);
  const line = /^RESULT (.*)$/m.exec(output)?.[1];
  if (!line) throw new Error(`wrk said: ${output}`);
  const result = JSON.parse(line) as Record<"requests" | "seconds" | "p50Us" | "p99Us" | "p999Us" | "errors", number>;
  if (result.errors > 0) throw new Error(`${url}: ${result.errors} of ${result.requests} requests failed`);
  const cpuUs = ((cpuSeconds(pids) - before) * 1e6) / Math.max(1, result.requests);
  const { p50Us, p99Us, p999Us } = result;
  return { perSecond: result.requests / result.seconds, p50Us, p99Us, p999Us, cpuUs };
}

function argumentsOf(load: Load, folder: string): string[] {
  if (load.kind === "post") return ["post", String(load.bytes), `${process.pid} ${++uploads}`];
  const file = join(folder, "paths");
  writeFileSync(file, load.paths.join("\n"));
  return ["get", file];
}

async function outputOf(command: string, args: readonly string[]): Promise<string> {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"] });
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  await once(child, "close");
  return output;
}

/** User and system time of processes and of their children that are gone, from /proc; 0 where there is none. */
function cpuSeconds(pids: readonly number[]): number {
  let ticks = 0;
  for (const pid of pids) {
    const file = `/proc/${pid}/stat`;
    if (!existsSync(file)) continue;
    const fields = readFileSync(file, "utf8").split(") ")[1]?.split(" ") ?? [];
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks / TICKS_PER_SECOND;
}
