import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { Readable } from "node:stream";
import { SystemRandom } from "../../src/core/random.ts";
import { Acknowledged } from "./acknowledged.ts";
import { openTiers, type Tiers } from "./real-tiers.ts";

/** Tests and scripts are both run from the root of the repository. */
const WRITER = resolve("test/support/put-blobs.ts");

/** The calls of the write path. Those that a run does not make are not points. */
const CALLS = (
  "openat write pwrite64 pwritev pread64 fsync fdatasync ftruncate rename mkdir unlink rmdir close statx statfs " +
  "getdents64"
).split(" ");

/** The thread tells the event loop that it is done: no file is written. */
const WAKE_UP = /^write\(\d+, "\\1(\\0){7}", 8\)/;

/** The process is killed as it enters its `when`-th call, or that call fails with an error. */
export interface Point {
  readonly call: string;
  readonly when: number;
  readonly how: "signal=KILL" | "error=EIO" | "error=ENOSPC";
  readonly tiers: Tiers;
  /** Not while the root was being opened: 256 folders make a thousand points that are much alike. */
  readonly isWork: boolean;
}

export interface PointResult {
  readonly point: Point;
  readonly reached: boolean;
  readonly faults: readonly string[];
}

/** Why a sweep can't run here, or null. */
export function whyNoSweep(): string | null {
  if (process.platform !== "linux") return "needs Linux";
  const probe = spawnSync("strace", ["-o", "/dev/null", "true"]);
  return probe.status === 0 ? null : "strace is missing or may not trace here";
}

/** Every point of one run of put-blobs.ts. */
export async function allPoints(how: Point["how"], tiers: Tiers): Promise<Point[]> {
  const { trace } = await run(tiers, ["-e", `trace=${CALLS.join(",")}`], async () => undefined);
  const points: Point[] = [];
  const counts = new Map<string, number>();
  let isWork = false;
  for (const line of trace.split("\n")) {
    const call = CALLS.find((each) => line.startsWith(`${each}(`));
    if (call === undefined) continue;
    const when = (counts.get(call) ?? 0) + 1;
    counts.set(call, when);
    isWork ||= /\/root\/(stage\/|segments\/\w+\.seg)/.test(line);
    if (!WAKE_UP.test(line)) points.push({ call, when, how, tiers, isWork });
  }
  return points;
}

/** Runs into one point, starts again on the same root, and looks. */
export async function tryPoint(point: Point): Promise<PointResult> {
  const { call, when, how, tiers } = point;
  const injection = ["-e", `trace=${call}`, "-e", `inject=${call}:${how}:when=${when}`];
  let faults: string[] = [];
  const { said, trace } = await run(tiers, injection, async (root, acknowledged) => {
    faults = await faultsOf(root, tiers, acknowledged);
  });
  const reached = how === "signal=KILL" ? !said.finished : trace.includes("(INJECTED)");
  return { point, reached, faults };
}

async function faultsOf(root: string, tiers: Tiers, acknowledged: Acknowledged): Promise<string[]> {
  const backend = await openTiers(root, tiers, { random: new SystemRandom(), onNotice: () => undefined });
  try {
    const leftovers = await readdir(join(root, "stage"));
    const faults = await acknowledged.faults(backend);
    return leftovers.length > 0 ? [...faults, `${leftovers.length} leftovers in stage/`] : faults;
  } finally {
    await backend.close();
  }
}

type Look = (root: string, acknowledged: Acknowledged) => Promise<void>;

/** One life of put-blobs.ts under strace, which is attached to the one thread that does the file work: starting node is not swept. */
async function run(
  tiers: Tiers,
  straceArguments: string[],
  look: Look,
): Promise<{ said: Acknowledged; trace: string }> {
  const folder = await mkdtemp(join(tmpdir(), "cask-sweep-"));
  const root = join(folder, "root");
  const child = spawn(process.execPath, [WRITER, root, "once", tiers], {
    env: { ...process.env, UV_THREADPOOL_SIZE: "1" },
    stdio: ["pipe", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  try {
    await firstWords(child, child.stdout);
    const traceFile = join(folder, "trace");
    const strace = await attach(await workerThread(child), ["-o", traceFile, ...straceArguments]);
    child.stdin.write("go\n");
    await Promise.all([once(child.stdout, "end"), ended(child), ended(strace)]);
    const said = new Acknowledged();
    said.read(output);
    await look(root, said);
    return { said, trace: await readFile(traceFile, "utf8") };
  } finally {
    child.kill("SIGKILL");
    await rm(folder, { recursive: true, force: true });
  }
}

/** Rejects when the process ends without a word. */
async function firstWords(child: ChildProcess, output: Readable): Promise<void> {
  const exit = new AbortController();
  const silent = once(child, "exit", { signal: exit.signal }).then(() => {
    throw new Error(`${child.spawnargs.join(" ")} ended without a word`);
  });
  try {
    await Promise.race([once(output, "data"), silent]);
  } finally {
    exit.abort();
    await silent.catch(() => undefined); // aborted, or thrown by the race
  }
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
}

async function workerThread(child: ChildProcess): Promise<string> {
  const tasks = `/proc/${child.pid}/task`;
  for (const thread of await readdir(tasks)) {
    if ((await readFile(`${tasks}/${thread}/comm`, "utf8")).trim() === "libuv-worker") return thread;
  }
  throw new Error("this version of node does not name its worker thread libuv-worker");
}

async function attach(thread: string, straceArguments: string[]): Promise<ChildProcess> {
  const strace = spawn("strace", ["-p", thread, ...straceArguments], { stdio: ["ignore", "ignore", "pipe"] });
  await firstWords(strace, strace.stderr); // "Process … attached"
  return strace;
}
