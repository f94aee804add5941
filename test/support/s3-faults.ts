import { type Key, keyOfBytes } from "../../src/core/key.ts";
import { SeededRandom } from "../../src/core/random.ts";
import type { S3Backend } from "../../src/storage/s3.ts";
import type { S3Timing } from "../../src/storage/s3-client.ts";
import type { ProxyFault, S3Proxy } from "./s3-proxy.ts";
import { bytesOf, fetchBlob, listKeys, storeBlob } from "./store-blob.ts";

export interface FaultRun {
  readonly seed: number;
  readonly operations: number;
  /** At a time; no two on one key. */
  readonly atOnce: number;
  readonly hangMs: number;
  readonly onProgress?: (done: number) => void;
}

export interface FaultReport {
  readonly answers: Record<string, number>;
  /** Operations that said "don't know". */
  readonly unknown: number;
  /** What contradicts the model: none may be. */
  readonly wrong: string[];
  readonly faults: Readonly<Record<string, number>>;
}

/** What the backend must say of one blob, as far as what it said before tells. */
interface Entry {
  readonly key: Key;
  readonly bytes: Buffer;
  state: "present" | "absent" | "unknown";
  /** A put that was not acknowledged may arrive until then, and is no wrong answer: its bytes are right. */
  hauntedUntilMs: number;
  /** Counts what was begun. */
  changes: number;
  busy: boolean;
}

const SIZES = [0, 1, 700, 5_000, 70_000, 300_000, 1_100_000];
const LARGE_BYTES = 9 << 20;

/** The time limits of a run: nothing may hang longer than a delete is waited for. */
export function timingFor(hangMs: number, attemptMs: number): Partial<S3Timing> {
  return { attemptMs, changeMs: attemptMs, backoffMs: 20, deleteSettleMs: hangMs * 2 };
}

/** Random operations through a proxy that spoils what passes, checked against a model. */
export async function runFaults(backend: S3Backend, proxy: S3Proxy, run: FaultRun): Promise<FaultReport> {
  const random = new SeededRandom(run.seed);
  const entries = Array.from({ length: 60 }, (_, i) => makeEntry(i));
  const report = { answers: {} as Record<string, number>, unknown: 0, wrong: [] as string[] };
  let requests = 0;
  proxy.fault = () => {
    const byChance = chooseFault(random, run.hangMs);
    return onceEach(requests++, run.hangMs) ?? byChance;
  };
  let begun = 0;
  const worker = async () => {
    while (begun < run.operations) {
      begun++;
      if (begun % 250 === 0) run.onProgress?.(begun);
      await operate(backend, { entries, random, run, report });
    }
  };
  await Promise.all(Array.from({ length: run.atOnce }, worker));
  proxy.fault = () => undefined;
  await proxy.settled();
  for (const entry of entries) await checkAtEnd(backend, entry, report);
  await checkList(backend, entries, report);
  return { ...report, faults: { ...proxy.made } };
}

function makeEntry(i: number): Entry {
  const bytes = bytesOf(i % 20 === 19 ? LARGE_BYTES + i : (SIZES[i % SIZES.length] as number) + (i < 7 ? 0 : i), i + 1);
  return { key: keyOfBytes(bytes), bytes, state: "absent", hauntedUntilMs: 0, changes: 0, busy: false };
}

/** Each kind comes at least once, whatever the dice say: now and then the rarest was missing. */
function onceEach(request: number, hangMs: number): ProxyFault | undefined {
  const kinds: readonly ProxyFault[] = [
    { kind: "refuse", status: 503 },
    { kind: "lose", status: 500 },
    { kind: "cut" },
    { kind: "shorten" },
    { kind: "delay", ms: hangMs },
  ];
  return request % 40 === 20 ? kinds[Math.floor(request / 40)] : undefined;
}

function chooseFault(random: SeededRandom, hangMs: number): ProxyFault | undefined {
  const dice = random.next();
  if (dice < 0.03) return { kind: "refuse", status: random.next() < 0.5 ? 500 : 503 };
  if (dice < 0.05) return { kind: "lose", status: random.next() < 0.5 ? 500 : 503 };
  if (dice < 0.08) return { kind: "cut" };
  if (dice < 0.11) return { kind: "shorten" };
  return dice < 0.117 ? { kind: "delay", ms: hangMs } : undefined;
}

interface Operating {
  readonly entries: readonly Entry[];
  readonly random: SeededRandom;
  readonly run: FaultRun;
  readonly report: { answers: Record<string, number>; unknown: number; wrong: string[] };
}

async function operate(backend: S3Backend, { entries, random, run, report }: Operating): Promise<void> {
  const dice = random.next();
  const free = entries.filter(({ busy }) => !busy);
  const entry = free[Math.floor(random.next() * free.length)];
  const name = dice < 0.35 ? "put" : dice < 0.6 ? "get" : dice < 0.75 ? "stat" : dice < 0.95 ? "delete" : "list";
  try {
    if (name === "list") await checkList(backend, entries, report);
    else if (entry) await withEntry(entry, () => act(backend, { name, entry, run, report }));
    report.answers[name] = (report.answers[name] ?? 0) + 1;
  } catch (error) {
    if ((error as { code?: string }).code === "STORAGE_FAILED") report.unknown++;
    else report.wrong.push(`${name} rejected with ${error}`);
  }
}

async function withEntry(entry: Entry, work: () => Promise<void>): Promise<void> {
  entry.busy = true;
  try {
    await work();
  } finally {
    entry.busy = false;
  }
}

type Act = { name: string; entry: Entry; run: FaultRun; report: Operating["report"] };

async function act(backend: S3Backend, { name, entry, run, report }: Act): Promise<void> {
  switch (name) {
    case "put":
      return put(backend, { entry, run, report });
    case "delete":
      return remove(backend, { entry, report });
    case "get":
      return check(entry, await fetchBlob(backend, entry.key), report);
    default: {
      const stat = await backend.stat(entry.key);
      if (stat && stat.sizeBytes !== entry.bytes.length) report.wrong.push(`${entry.key}: stat says ${stat.sizeBytes}`);
      check(entry, stat ? entry.bytes : null, report);
    }
  }
}

async function put(backend: S3Backend, { entry, run, report }: Omit<Act, "name">): Promise<void> {
  const before = entry.state;
  entry.changes++;
  entry.state = "unknown";
  try {
    const { outcome } = await storeBlob(backend, entry.bytes);
    entry.state = "present";
    if (outcome === "replaced") report.wrong.push(`${entry.key}: a put replaced a copy that was never damaged`);
    if (outcome === "stored" && before === "present") report.wrong.push(`${entry.key}: was lost before this put`);
  } catch (error) {
    if (before === "present") entry.state = "present";
    entry.hauntedUntilMs = performance.now() + 2 * run.hangMs;
    throw error;
  }
}

async function remove(backend: S3Backend, { entry, report }: Omit<Act, "name" | "run">): Promise<void> {
  const stat = await backend.stat(entry.key);
  check(entry, stat ? entry.bytes : null, report);
  if (!stat) return;
  entry.changes++;
  entry.state = "unknown";
  if (!(await backend.delete(entry.key, stat.seen))) return;
  entry.state = "absent";
  entry.hauntedUntilMs = 0; // it waited for puts that might come late
}

function check(entry: Entry, found: Buffer | null, report: Operating["report"]): void {
  const { key, bytes, state } = entry;
  if (found === null && state === "present") report.wrong.push(`${key}: absent, but was acknowledged`);
  if (found !== null && !found.equals(bytes)) report.wrong.push(`${key}: wrong bytes`);
  const isHaunted = performance.now() < entry.hauntedUntilMs;
  if (found !== null && state === "absent" && !isHaunted) report.wrong.push(`${key}: present, but was deleted`);
}

/** What did not change while the listing went on must be in it, or not. */
async function checkList(backend: S3Backend, entries: readonly Entry[], report: Operating["report"]): Promise<void> {
  const nowMs = performance.now();
  const quiet = entries.filter(({ busy, hauntedUntilMs }) => !busy && hauntedUntilMs < nowMs);
  const before = new Map(quiet.map((entry) => [entry, entry.changes]));
  const listed = new Set(await listKeys(backend));
  for (const [entry, changes] of before) {
    if (entry.changes !== changes) continue;
    const { key, state } = entry;
    if (state === "present" && !listed.has(key)) report.wrong.push(`${key}: not listed, but was acknowledged`);
    if (state === "absent" && listed.has(key)) report.wrong.push(`${key}: listed, but was deleted`);
  }
}

async function checkAtEnd(backend: S3Backend, entry: Entry, report: Operating["report"]): Promise<void> {
  const found = await fetchBlob(backend, entry.key);
  if (entry.state === "absent" && found && entry.hauntedUntilMs > 0) entry.state = "unknown"; // an unacknowledged put came late
  check(entry, found, report);
  entry.state = found ? "present" : "absent";
}
