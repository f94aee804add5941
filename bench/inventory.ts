/**
 * `npm run bench-inventory [keys on disk]`: what the table of keys costs. Memory and digests with 1,000,000 keys; a listing of a real data folder
 * with as many tiny blobs as are named (200,000), which are laid out as the disk backend does, without its syncs: they are only listed.
 */
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type Key, keyOfBytes } from "../src/core/key.ts";
import { type KeyRange, splitRange, WHOLE_RANGE } from "../src/core/key-range.ts";
import { SystemRandom } from "../src/core/random.ts";
import { DiskBackend } from "../src/storage/disk.ts";
import { Inventory } from "../src/storage/inventory.ts";
import { KeyTable } from "../src/storage/key-table.ts";
import { Layout } from "../src/storage/layout.ts";

const KEYS_COUNT = 1_000_000;
const onDisk = Number(process.argv[2] ?? 200_000);

const made = new Set<string>();
const keys = Array.from({ length: Math.max(KEYS_COUNT, onDisk) }, (_, i) => keyOfBytes(Buffer.from(`blob ${i}`)));
warmUp(); // so that the first figures don't have the compiler's memory in them
const table = measureTable(0);
measureTable(14);
measureSkewed();
measureQuestions(table);
await measureListing();

function warmUp(): void {
  const small = new KeyTable();
  for (const key of keys.slice(0, 100_000)) small.insert(key);
}

function measureTable(payloadBytes: number): KeyTable {
  const { gc } = globalThis; // with --expose-gc
  gc?.();
  const residentBefore = process.memoryUsage().rss;
  const filled = new KeyTable(payloadBytes);
  let longestMs = 0;
  const tookMs = timed(() => {
    for (let i = 0; i < KEYS_COUNT; i += 100) {
      const hundredMs = timed(() => {
        for (let j = i; j < i + 100; j++) filled.insert(keys[j] as Key);
      });
      longestMs = Math.max(longestMs, hundredMs);
    }
  });
  gc?.();
  const resident = (process.memoryUsage().rss - residentBefore) / KEYS_COUNT;
  const reserved = filled.sizeBytes / KEYS_COUNT;
  say(
    `${KEYS_COUNT} keys with ${payloadBytes} bytes of payload: ${reserved.toFixed(1)} bytes a key reserved (resident: +${resident.toFixed(1)}), ` +
      `${((tookMs * 1000) / KEYS_COUNT).toFixed(2)} µs an insert, at most ${longestMs.toFixed(1)} ms for a hundred`,
  );
  say(`  an empty table: ${new KeyTable(payloadBytes).sizeBytes} bytes`);
  return filled;
}

/** Keys that somebody chose: all begin with the same two bytes. */
function measureSkewed(): void {
  const skewed = keys.slice(0, 200_000).map((key) => `sha1:abcd${key.slice(9)}` as Key);
  const filled = new KeyTable();
  const tookMs = timed(() => {
    for (const key of skewed) filled.insert(key);
  });
  say(
    `${skewed.length} keys in one bucket: ${((tookMs * 1000) / skewed.length).toFixed(2)} µs an insert, ` +
      `${(filled.sizeBytes / skewed.length).toFixed(1)} bytes a key, digest of half of them ${perCallUs(() => filled.digest({ from: "sha1:abcd8000000000000000000000000000000000000" as Key, to: undefined })).toFixed(1)} µs`,
  );
}

function measureQuestions(filled: KeyTable): void {
  const part = splitRange(WHOLE_RANGE, 128)[77] as KeyRange;
  const some = keys.slice(0, 1_000);
  say(`digest of all keys: ${perCallUs(() => filled.digest()).toFixed(0)} µs`);
  say(`digest of 1/128 of them: ${perCallUs(() => filled.digest(part)).toFixed(1)} µs`);
  say(`the first 1,000 keys of a range: ${perCallUs(() => filled.keysIn(part, 1_000)).toFixed(0)} µs`);
  say(`has: ${(perCallUs(() => some.filter((key) => filled.has(key))) / 1_000).toFixed(2)} µs`);
}

async function measureListing(): Promise<void> {
  const root = mkdtempSync(join(tmpdir(), "cask-inventory-"));
  try {
    const layout = new Layout(root);
    const madeMs = timed(() => {
      for (const key of keys.slice(0, onDisk)) writeTiny(layout.blob(key));
    });
    say(`${onDisk} tiny files made in ${(madeMs / 1000).toFixed(1)} s`);
    for (const pass of ["first", "second"]) {
      const inner = await DiskBackend.open({ root, random: new SystemRandom(), onNotice: () => undefined });
      const inventory = new Inventory({ inner });
      let [longestMs, lastMs] = [0, performance.now()];
      const watch = setInterval(() => {
        longestMs = Math.max(longestMs, performance.now() - lastMs);
        lastMs = performance.now();
      }, 1);
      const startedMs = performance.now();
      await inventory.load();
      const seconds = (performance.now() - startedMs) / 1000;
      clearInterval(watch);
      say(
        `${pass} listing: ${inventory.count} keys in ${seconds.toFixed(2)} s, the loop held up for ${longestMs.toFixed(0)} ms at most`,
      );
      await inventory.close();
    }
  } finally {
    rmSync(root, { recursive: true });
  }
}

function writeTiny(path: string): void {
  const folder = dirname(path);
  if (!made.has(folder)) mkdirSync(folder, { recursive: true });
  made.add(folder);
  const file = openSync(path, "w");
  writeSync(file, "x");
  closeSync(file);
}

function timed(work: () => void): number {
  const startedMs = performance.now();
  work();
  return performance.now() - startedMs;
}

function perCallUs(work: () => unknown): number {
  const CALLS = 200;
  for (let i = 0; i < CALLS; i++) work();
  return (
    (timed(() => {
      for (let i = 0; i < CALLS; i++) work();
    }) *
      1000) /
    CALLS
  );
}

function say(line: string): void {
  console.log(line);
}
