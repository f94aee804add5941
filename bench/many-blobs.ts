/**
 * `npm run bench-many-blobs [-- --count 1000000 --bytes 4096]`: a data folder with many small blobs, and one with 1,000. How long a node takes from its start
 * until it serves and until it knows all its keys (after a stop, with a checkpoint; after a kill, without one), what it holds in memory above a node
 * with an empty folder, and how fast it serves blobs that are in no cache, in turns with the node of 1,000.
 */
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";

import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { SystemClock } from "../src/core/clock.ts";
import { keyOfBytes } from "../src/core/key.ts";
import { SystemRandom } from "../src/core/random.ts";
import { RateLimit } from "../src/core/rate-limit.ts";
import { TieredBackend } from "../src/storage/tiered.ts";
import { storeBlob } from "../test/support/store-blob.ts";
import { type Server, startNode } from "./servers.ts";
import { runWrk } from "./wrk.ts";

const { values: options } = parseArgs({
  options: { count: { type: "string", default: "1000000" }, bytes: { type: "string", default: "4096" } },
});
const [count, bytes] = [Number(options.count), Number(options.bytes)];
const AT_ONCE = 256;
const ROUNDS = 5;
const PATHS = 4_096;

const folder = mkdtempSync(join(tmpdir(), "cask-many-"));
const roots = { none: join(folder, "none"), few: join(folder, "few"), many: join(folder, "many") };
try {
  await fill(roots.few, 1_000);
  const filledMs = await timed(() => fill(roots.many, count));
  say(`${count} blobs of ${bytes} bytes stored in ${(filledMs / 1000).toFixed(1)} s`);
  const empty = await look("an empty folder", roots.none);
  const afterStop = await look("after a stop, with a checkpoint", roots.many);
  rmSync(join(roots.many, "segments", "checkpoint"));
  const afterKill = await look("without a checkpoint", roots.many);
  for (const [name, found] of Object.entries({ afterStop, afterKill })) {
    say(`${name}: ${((found - empty) / count).toFixed(1)} bytes a blob above the empty node`);
  }
  await serve();
} finally {
  rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
}

/** Cheap to make, and different. */
function blob(i: number): Buffer {
  const seed = createHash("sha1").update(`blob ${i}`).digest();
  return Buffer.alloc(bytes, seed);
}

async function fill(root: string, total: number): Promise<void> {
  const clock = new SystemClock();
  const compactionRate = new RateLimit(Number.POSITIVE_INFINITY, clock);
  const kind = { segmentBlobMaxBytes: 256 * 1024, compactionRate, clock };
  const backend = await TieredBackend.open({ root, random: new SystemRandom(), onNotice: say, ...kind });
  for await (const _key of backend.keys()); // the files that there are not
  let next = 0;
  const some = async () => {
    while (next < total) {
      await storeBlob(backend, blob(next++));
      if (next % 250_000 === 1) say(`  ${next} stored`);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, some));
  await backend.close();
}

/** Answers the node's resident memory once it is at rest. */
async function look(what: string, root: string): Promise<number> {
  const startedMs = performance.now();
  const server = await start(root, "64MiB");
  const servesMs = performance.now() - startedMs;
  let keys: number | null = null;
  while (keys === null) {
    await sleep(50);
    const status = (await (await fetch(`${server.url}/status/`)).json()) as { repair: { inventory: { keys: number } } };
    keys = status.repair.inventory.keys;
  }
  const knowsMs = performance.now() - startedMs;
  await sleep(10_000);
  const resident = residentBytes(server);
  say(
    `${what}: serves after ${(servesMs / 1000).toFixed(1)} s, knows its ${keys} keys after ${(knowsMs / 1000).toFixed(1)} s, ` +
      `${(resident / 2 ** 20).toFixed(0)} MiB resident`,
  );
  await stop(server);
  return resident;
}

async function serve(): Promise<void> {
  const lanes = [
    { name: "1,000 blobs", server: await start(roots.few, "0"), paths: paths(1_000) },
    { name: `${count} blobs`, server: await start(roots.many, "0"), paths: paths(count) },
  ];
  const rates = new Map<string, number[]>();
  for (let round = 0; round < ROUNDS; round++) {
    for (const { name, server, paths } of lanes) {
      const { url, pids } = server;
      const load = { kind: "get", paths } as const;
      const { perSecond } = await runWrk({ url, pids, load, connections: 64, seconds: 2, folder });
      rates.set(name, [...(rates.get(name) ?? []), perSecond]);
    }
  }
  for (const [name, all] of rates)
    say(`GET from ${name}: ${all.sort((a, b) => a - b)[ROUNDS >> 1]?.toFixed(0)} a second`);
  for (const { server } of lanes) await stop(server);
}

function paths(total: number): string[] {
  const step = Math.max(1, Math.floor(total / PATHS));
  return Array.from({ length: Math.min(PATHS, total) }, (_, i) => `/file/${keyOfBytes(blob(i * step))}/`);
}

async function start(root: string, cache: string): Promise<Server> {
  const settings = { CASK_DISK_BACKEND_ROOT: root, CASK_CACHE_BYTES: cache } as const;
  return startNode({ name: root, main: "dist/main.js", folder, settings });
}

async function stop({ pids, stop }: Server): Promise<void> {
  stop();
  while (isRunning(pids[0] as number)) await sleep(50);
}

function isRunning(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch (_gone) {
    return false;
  }
}

function residentBytes({ pids }: Server): number {
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pids[0]}/status`, "utf8"))?.[1]) * 1024;
}

async function timed(work: () => Promise<void>): Promise<number> {
  const startedMs = performance.now();
  await work();
  return performance.now() - startedMs;
}

function say(text: string): void {
  console.log(text);
}
