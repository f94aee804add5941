/**
 * `npm run bench-profile [-- --bytes 4096 --connections 64 --seconds 4 --post --cache 64MiB]`: where the processor time of one node goes while wrk
 * asks it for blobs, or posts them. Prints the functions with the most time of their own; the profile stays for a viewer of flame graphs.
 */
import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { startNode } from "./servers.ts";
import { runWrk } from "./wrk.ts";

const { values: options } = parseArgs({
  options: {
    bytes: { type: "string", default: "4096" },
    count: { type: "string", default: "256" },
    connections: { type: "string", default: "64" },
    seconds: { type: "string", default: "4" },
    cache: { type: "string", default: "64MiB" },
    post: { type: "boolean", default: false },
  },
});

const folder = mkdtempSync(join(tmpdir(), "cask-profile-"));
const nodeArguments = ["--cpu-prof", "--cpu-prof-dir", folder];
const settings = { CASK_CACHE_BYTES: options.cache };
const server = await startNode({ name: "cask", main: "dist/main.js", folder, nodeArguments, settings });
const bytes = Number(options.bytes);
const paths: string[] = [];
for (let i = 0; i < Number(options.count); i++) {
  const answer = await fetch(`${server.url}/`, { method: "POST", body: randomBytes(bytes) as Uint8Array<ArrayBuffer> });
  paths.push(`/file/${((await answer.json()) as { key: string }).key}/`);
}
const load = options.post ? ({ kind: "post", bytes } as const) : ({ kind: "get", paths } as const);
const { url, pids } = server;
const round = { url, pids, load, connections: Number(options.connections), seconds: Number(options.seconds), folder };
const { perSecond, cpuUs } = await runWrk(round);
console.log(`${perSecond.toFixed(0)} per second, ${cpuUs.toFixed(0)} µs of processor time each`);
server.stop();
while (existsSync(`/proc/${pids[0]}`) && readdirSync(folder).every((name) => !name.endsWith(".cpuprofile")))
  await sleep(50);
await sleep(500);
const name = readdirSync(folder).find((file) => file.endsWith(".cpuprofile")) as string;
showProfile(join(folder, name));

interface Profile {
  readonly nodes: ReadonlyArray<{
    readonly id: number;
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
  }>;
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

function showProfile(file: string): void {
  const { nodes, samples, timeDeltas } = JSON.parse(readFileSync(file, "utf8")) as Profile;
  const frames = new Map(nodes.map(({ id, callFrame }) => [id, callFrame]));
  const own = new Map<string, number>();
  let total = 0;
  for (const [i, id] of samples.entries()) {
    const frame = frames.get(id);
    if (!frame || frame.functionName === "(idle)" || frame.functionName === "(program)") continue;
    const where = `${frame.functionName || "(anonymous)"} ${frame.url.split("/").slice(-2).join("/")}:${frame.lineNumber + 1}`;
    own.set(where, (own.get(where) ?? 0) + (timeDeltas[i] as number));
    total += timeDeltas[i] as number;
  }
  const sorted = [...own].sort(([, a], [, b]) => b - a).slice(0, 45);
  for (const [where, us] of sorted) console.log(`${((us * 100) / total).toFixed(1).padStart(5)} %  ${where}`);
  console.log(file);
}
