/**
 * `npm run bench`: one node against the plainest thing that could serve the same files, on the same disk, in turns within one run. The reference
 * is nginx where it is installed, else a bare node:http server that streams files. Figures are medians of rounds; read the ratios.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { createReadStream, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Pool } from "undici";
import { ProcessCluster, post } from "../test/support/processes.ts";

const ROUNDS_COUNT = 5;
const ROUND_MS = 1_500;
const CONNECTIONS_COUNT = 16;
/** Size and number of different files: readers of one small blob share a fetch, which is not what is to be measured. */
const SIZES = [
  { name: "4 KiB", size: 4_096, count: 256 },
  { name: "1 MiB", size: 2 ** 20, count: 64 },
  { name: "64 MiB", size: 64 * 2 ** 20, count: 16 },
];

interface Reference {
  readonly name: string;
  readonly url: string;
  stop(): void;
}

const folder = mkdtempSync(join(tmpdir(), "cask-bench-"));
mkdirSync(join(folder, "files"));
const cluster = await ProcessCluster.start(1);
const node = cluster.node(0);
const reference = hasNginx() ? await startNginx() : await startBareServer();
try {
  console.log(
    `GET, requests per second (${CONNECTIONS_COUNT} connections, median of ${ROUNDS_COUNT} rounds of ${ROUND_MS} ms)`,
  );
  for (const kind of SIZES) await compareGets(kind);
  await measurePuts();
} finally {
  reference.stop();
  await cluster.stop();
  rmSync(folder, { recursive: true });
}

async function compareGets({ name, size, count }: (typeof SIZES)[number]): Promise<void> {
  const [ourPaths, theirPaths]: [string[], string[]] = [[], []];
  for (let i = 0; i < count; i++) {
    const bytes = randomBytes(size);
    writeFileSync(join(folder, "files", `${size}-${i}`), bytes);
    theirPaths.push(`/${size}-${i}`);
    ourPaths.push(`/file/${(await post(node, bytes)).key}/`);
  }
  const ours: number[] = [];
  const theirs: number[] = [];
  for (let round = 0; round < ROUNDS_COUNT; round++) {
    ours.push(await getsPerSecond(node.url, ourPaths, size));
    theirs.push(await getsPerSecond(reference.url, theirPaths, size));
  }
  const [our, their] = [median(ours), median(theirs)];
  const rate = Math.round((our * size) / 2 ** 20);
  console.log(
    `  ${name.padEnd(7)} cask ${our.toFixed(0)} (${rate} MiB/s, each byte hashed), ${reference.name} ${their.toFixed(0)}, ratio ${(our / their).toFixed(2)}`,
  );
}

async function getsPerSecond(url: string, paths: readonly string[], size: number): Promise<number> {
  const pool = new Pool(url, { connections: CONNECTIONS_COUNT });
  const startedMs = performance.now();
  let done = 0;
  let next = 0;
  const lane = async () => {
    while (performance.now() - startedMs < ROUND_MS) {
      const path = paths[next++ % paths.length] as string;
      const { statusCode, body } = await pool.request({ path, method: "GET" });
      let received = 0;
      for await (const chunk of body) received += (chunk as Buffer).length;
      if (statusCode !== 200 || received !== size) throw new Error(`${url}${path}: ${statusCode}, ${received} bytes`);
      done++;
    }
  };
  await Promise.all(Array.from({ length: CONNECTIONS_COUNT }, lane));
  const seconds = (performance.now() - startedMs) / 1000;
  await pool.close();
  return done / seconds;
}

/** Each is durable when it is answered: the disk's fsync decides. */
async function measurePuts(): Promise<void> {
  for (const { name, size } of SIZES.slice(0, 2)) {
    const startedMs = performance.now();
    let done = 0;
    const lane = async () => {
      while (performance.now() - startedMs < ROUND_MS) {
        const { success } = await post(node, randomBytes(size));
        if (!success) throw new Error("an upload failed");
        done++;
      }
    };
    await Promise.all(Array.from({ length: CONNECTIONS_COUNT }, lane));
    const perSecond = done / ((performance.now() - startedMs) / 1000);
    console.log(`POST ${name}: ${perSecond.toFixed(0)} per second, one durable copy each`);
  }
}

function hasNginx(): boolean {
  return spawnSync("nginx", ["-v"]).status === 0;
}

async function startNginx(): Promise<Reference> {
  const port = await freePort();
  const config = join(folder, "nginx.conf");
  writeFileSync(
    config,
    `${process.getuid?.() === 0 ? "user root; " : ""}daemon off; worker_processes 1; pid ${folder}/pid; error_log ${folder}/error.log; events {}
     http { access_log off; sendfile on; keepalive_requests 1000000; default_type application/octet;
       client_body_temp_path ${folder}/t1; proxy_temp_path ${folder}/t2; fastcgi_temp_path ${folder}/t3;
       uwsgi_temp_path ${folder}/t4; scgi_temp_path ${folder}/t5;
       server { listen 127.0.0.1:${port}; root ${folder}/files; } }`,
  );
  const child: ChildProcess = spawn("nginx", ["-c", config], { stdio: ["ignore", "inherit", "inherit"] });
  await sleep(500);
  if (child.exitCode !== null) throw new Error("nginx did not start");
  return { name: "nginx", url: `http://127.0.0.1:${port}`, stop: () => void child.kill() };
}

async function startBareServer(): Promise<Reference> {
  const server = createServer((req, res) => createReadStream(join(folder, "files", req.url ?? "")).pipe(res));
  const port = await new Promise<number>((resolve) => {
    server.listen(0, "127.0.0.1", () => resolve((server.address() as AddressInfo).port));
  });
  return { name: "bare node:http", url: `http://127.0.0.1:${port}`, stop: () => void server.close() };
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function median(numbers: readonly number[]): number {
  return [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)] as number;
}
