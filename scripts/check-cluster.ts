/**
 * `npm run check-cluster [-- --files=1000]`: three real nodes, real files of this machine, real curl. What is stored is looked for on all
 * disks at once and fetched from every node; then one node is frozen, one is killed, and 2 GiB go in and out. Ends with code 1 at the first
 * thing that is not as it should be.
 */
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs, promisify } from "node:util";
import { fetchFile, type NodeProcess, ProcessCluster, post, type Stored } from "../test/support/processes.ts";
import { type RealFile, realFiles } from "../test/support/real-files.ts";

const MIB = 2 ** 20;
const LARGE_BYTES = 2 * 2 ** 30;
const MAX_FILE_BYTES = 50_000_000;
const AT_ONCE_COUNT = 4;
const GET_LIMIT_MS = 2_000;
const PUT_LIMIT_MS = 5_000;
const MEMORY_LIMIT_BYTES = 150 * MIB;

const { values } = parseArgs({ options: { files: { type: "string", default: "1000" } } });
const execute = promisify(execFile);
const folder = mkdtempSync(join(tmpdir(), "cask-check-"));
// Each copy a file: what has been acknowledged is looked for on the disks, and removed from there.
const cluster = await ProcessCluster.start(3, { CASK_REPLICATION: "3", CASK_SEGMENT_THRESHOLD: "0" });
const [first, second, third] = cluster.nodes as [NodeProcess, NodeProcess, NodeProcess];
try {
  const files = [emptyFile(), ...realFiles(Number(values.files), MAX_FILE_BYTES)];
  const sizes = files.map(({ sizeBytes }) => sizeBytes);
  console.log(
    `${files.length} files of this machine, ${Math.min(...sizes)} to ${Math.max(...sizes)} bytes, ${mib(sizes.reduce((a, b) => a + b))} in all`,
  );
  await step("stored with curl at alternating nodes, 3 copies on 3 disks each when answered", () => storeAll(files));
  await step("fetched from every node, compared byte by byte", () => fetchAll(files, cluster.nodes));
  await step("one node frozen", () => whileFrozen(files));
  await step("2 GiB in and out", twoGibibytes);
  await step("one node killed: all fetched from the other two, uploads answer 503 with counts", () => afterKill(files));
} finally {
  await cluster.stop();
  rmSync(folder, { recursive: true });
}

async function step(what: string, work: () => Promise<string>): Promise<void> {
  const startedMs = performance.now();
  const found = await work();
  console.log(`${what}: ${((performance.now() - startedMs) / 1000).toFixed(1)} s${found ? `; ${found}` : ""}`);
}

function emptyFile(): RealFile {
  const path = join(folder, "empty");
  writeFileSync(path, "");
  return { path, sizeBytes: 0, key: "sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709" };
}

async function eachAtOnce<T>(items: readonly T[], work: (item: T, index: number) => Promise<void>): Promise<void> {
  const queue = items.entries();
  const lane = async () => {
    for (const [index, item] of queue) await work(item, index);
  };
  await Promise.all(Array.from({ length: AT_ONCE_COUNT }, lane));
}

async function curl(node: NodeProcess, path: string): Promise<Stored> {
  const { stdout } = await execute("curl", ["-sS", "-w", "\n%{http_code}", "-F", `file=@${path}`, `${node.url}/`]);
  const [body, status] = stdout.split("\n") as [string, string];
  return { ...(JSON.parse(body) as Omit<Stored, "status">), status: Number(status) };
}

async function storeAll(files: readonly RealFile[]): Promise<string> {
  await eachAtOnce(files, async (file, i) => {
    const stored = await curl(cluster.node(i % 3), file.path);
    must(stored.status === 200 && stored.success && stored.copies === 3, `${file.path}: ${JSON.stringify(stored)}`);
    must(stored.key === file.key, `${file.path}: key ${stored.key}, not ${file.key}`);
    for (const node of cluster.nodes) {
      const copy = pathIn(node, file.key);
      must(existsSync(copy) && statSync(copy).size === file.sizeBytes, `${file.path}: no whole copy at ${node.name}`);
    }
  });
  return "";
}

function pathIn(node: NodeProcess, key: string): string {
  return join(node.root, "sha1", key.slice(5, 7), key.slice(7));
}

async function fetchAll(files: readonly RealFile[], nodes: readonly NodeProcess[]): Promise<string> {
  for (const node of nodes) {
    await eachAtOnce(files, async (file) => {
      const { status, bytes } = await fetchFile(node, file.key);
      must(status === 200 && bytes.equals(readFileSync(file.path)), `${file.path} from ${node.name}: ${status}`);
    });
  }
  return "";
}

/** Files whose own copy is gone must come from the others; the first of those in order may be the frozen one. */
async function whileFrozen(files: readonly RealFile[]): Promise<string> {
  const some = files.filter((_, i) => i % Math.ceil(files.length / 100) === 0);
  for (const file of some) rmSync(pathIn(first, file.key));
  third.signal("SIGSTOP");
  const gets: number[] = [];
  for (const file of some) {
    const { status, ms } = await timed(fetchFile(first, file.key));
    must(status === 200, `${file.path} while one node is frozen: ${status}`);
    gets.push(ms);
  }
  const puts: number[] = [];
  for (let i = 0; i < 5; i++) {
    const { success, copies, ms } = await timed(post(second, randomBytes(10_000)));
    must(!success && copies === 2, `an upload while one of three is frozen: ${copies} copies, success ${success}`);
    puts.push(ms);
  }
  third.signal("SIGCONT");
  await cluster.untilMet();
  must(Math.max(...gets) < GET_LIMIT_MS, `a GET took ${Math.max(...gets)} ms`);
  must(Math.max(...puts) < PUT_LIMIT_MS, `a PUT took ${Math.max(...puts)} ms`);
  return `slowest of ${gets.length} GETs without an own copy ${Math.round(Math.max(...gets))} ms, of ${puts.length} PUTs ${Math.round(Math.max(...puts))} ms (503, 2 of 3 copies)`;
}

async function timed<T extends object>(work: Promise<T>): Promise<T & { ms: number }> {
  const startedMs = performance.now();
  return { ...(await work), ms: performance.now() - startedMs };
}

async function twoGibibytes(): Promise<string> {
  const source = join(folder, "2GiB");
  const fetched = join(folder, "fetched");
  const file = openSync(source, "w");
  for (let at = 0; at < LARGE_BYTES; at += 16 * MIB) writeSync(file, randomBytes(16 * MIB));
  closeSync(file);
  const memory = watchMemory();
  const stored = await timed(curl(first, source));
  must(stored.success && stored.copies === 3, `2 GiB: ${JSON.stringify(stored)}`);
  rmSync(pathIn(second, stored.key)); // the next one passes it on and keeps it
  const outs: number[] = [];
  for (const node of [first, second]) {
    const { ms } = await timed(execute("curl", ["-sSf", "-o", fetched, `${node.url}/file/${stored.key}/`]));
    await execute("cmp", [source, fetched]);
    outs.push(ms);
  }
  const growth = memory.stop();
  must(Math.max(...growth) < MEMORY_LIMIT_BYTES, `memory grew by ${growth.map(mib).join(", ")}`);
  const seconds = [stored.ms, ...outs].map((ms) => (ms / 1000).toFixed(1));
  return `in ${seconds[0]} s, out ${seconds[1]} s from an own copy, ${seconds[2]} s without; memory grew by ${growth.map(mib).join(", ")}`;
}

function watchMemory(): { stop(): number[] } {
  const before = cluster.nodes.map((node) => node.memoryBytes());
  const most = [...before];
  const look = () => {
    for (const [i, node] of cluster.nodes.entries()) most[i] = Math.max(most[i] as number, node.memoryBytes());
  };
  const timer = setInterval(look, 100);
  return {
    stop: () => {
      clearInterval(timer);
      return most.map((bytes, i) => bytes - (before[i] as number));
    },
  };
}

async function afterKill(files: readonly RealFile[]): Promise<string> {
  await third.kill();
  await fetchAll(files, [first, second]);
  const refused = await post(first, randomBytes(1_000));
  must(
    refused.status === 503 && !refused.success && refused.copies === 2 && refused.wanted === 3,
    JSON.stringify(refused),
  );
  return JSON.stringify({
    status: refused.status,
    success: refused.success,
    copies: refused.copies,
    wanted: refused.wanted,
  });
}

function mib(bytes: number): string {
  return `${Math.round(bytes / MIB)} MiB`;
}

function must(condition: boolean, trouble: string): void {
  if (!condition) throw new Error(trouble);
}
