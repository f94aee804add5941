import { writeSync } from "node:fs";
import { mkdir, open, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { CaskError } from "../../src/core/errors.ts";
import { type Key, keyOfBytes } from "../../src/core/key.ts";
import { STAGED_PIECE_LEAST_BYTES, WHOLE_BLOB_MAX_BYTES } from "../../src/core/limits.ts";
import { PiecePool } from "../../src/core/piece-pool.ts";
import { SystemRandom } from "../../src/core/random.ts";
import { Layout } from "../../src/storage/layout.ts";
import type { TieredBackend } from "../../src/storage/tiered.ts";
import { openTiers, type Tiers } from "./real-tiers.ts";
import { recordAt } from "./segment-records.ts";
import { bytesOf, storeBlob, storePiece } from "./store-blob.ts";
import { WatchedFiles } from "./watched-files.ts";

const PAUSE_MS = 50;
const pieces = new PiecePool(WHOLE_BLOB_MAX_BYTES, 4, { aligned: true });

/**
 * A process that puts blobs, to be killed. `node put-blobs.ts <root> <once|endless> <files|segments> [without-fsync|
 * without-file-fsync|without-folder-fsync]` It says `ready`, waits for a line, then says what it does before and after doing it, one JSON line each.
 */
type Arguments = [root: string, mode: "once" | "endless", tiers: Tiers, defect: string | undefined];
const [root, mode, tiers, defect] = process.argv.slice(2) as Arguments;
const watched = new WatchedFiles();
if (defect !== undefined) watched.skip = isLeftOut;
const layout = new Layout(root);

await stat("/"); // starts the thread that does the file work
say({ ready: true });
await new Promise((resolve) => process.stdin.once("data", resolve));
process.stdin.once("end", () => process.exit(1)); // nobody is there any more who would kill it
const backend = await openOrEnd();
try {
  await (mode === "once" ? everyPath() : putForEver());
} finally {
  await backend.close();
}
say({ finished: true });
process.exit(0);

/** A root that is refused is not a fault, if it says why. */
async function openOrEnd(): Promise<TieredBackend> {
  const onNotice = (message: string) => say({ notice: message });
  try {
    return await openTiers(root, tiers, { random: new SystemRandom(), onNotice, files: watched.files });
  } catch (error) {
    say({ refused: error instanceof CaskError ? error.code : "unexplained", error: String(error) });
    process.exit(1);
  }
}

/** Small and large blobs, known and damaged ones, both layouts, delete and quarantine. */
async function everyPath(): Promise<void> {
  const small = await put(3000, 1);
  const large = await put(2_500_000, 2);
  await put(0, 3);
  await put(400_001, 8);
  await put(400_001, 8); // known
  await Promise.all([put(100_000, 4), put(1_100_000, 5), put(100_000, 4)]);
  await put(3000, 1); // known
  await damageCopy(small);
  await put(3000, 1); // replaced
  const old = keyOfBytes(bytesOf(500, 6));
  await damage(layout.legacyBlob(old), old);
  await put(500, 6); // replaces a damaged copy of the old layout
  await remove("delete", large);
  await remove("quarantine", small);
  await put(2_500_000, 2);
  const other = keyOfBytes(bytesOf(700, 7));
  await damage(layout.legacyBlob(other), other);
  await remove("delete", other);
  if (tiers === "segments") await fillSegments();
}

/** So many that segments are closed, emptied for the most part, and compacted. */
async function fillSegments(): Promise<void> {
  const seeds = Array.from({ length: 16 }, (_, i) => 100 + i);
  const keys = await Promise.all(seeds.map((seed) => put(30_000, seed)));
  for (const [i, key] of keys.entries()) if (i % 4 !== 0) await remove(i % 3 === 0 ? "quarantine" : "delete", key);
  await backend.compact(new AbortController().signal);
  await Promise.all(seeds.map((seed) => put(30_000, seed)));
}

/** Any later sync of anything makes ext4 commit earlier renames, too: only in a pause does a lost one show. */
async function putForEver(): Promise<void> {
  for (let seed = 1; ; seed += 4) {
    if (seed % 3 === 0) await sleep(PAUSE_MS);
    const keys = await Promise.all(
      [0, 1, 2, 3].map((i) =>
        put([seed % 40_000, 200 + ((seed * 977) % 40_000), 300_000 + seed, 1_200_000][i] as number, seed + i),
      ),
    );
    if (seed % 5 === 0) await remove("delete", keys[seed % 4] as Key);
    if (seed % 7 === 0) await backend.compact(new AbortController().signal);
  }
}

async function put(sizeBytes: number, seed: number): Promise<Key> {
  const bytes = bytesOf(sizeBytes, seed);
  const key = keyOfBytes(bytes);
  await step("put", key, async () => {
    if (sizeBytes >= STAGED_PIECE_LEAST_BYTES && sizeBytes <= WHOLE_BLOB_MAX_BYTES)
      await storePiece(backend, bytes, pieces);
    else await storeBlob(backend, bytes, { chunkBytes: 600_000 });
  });
  return key;
}

async function remove(how: "delete" | "quarantine", key: Key): Promise<void> {
  await step(how, key, async () => {
    const copy = await backend.stat(key);
    if (copy) await backend[how](key, copy.seen);
  });
}

/** Other bytes in its place. */
async function damageCopy(key: Key): Promise<void> {
  const copy = await backend.stat(key);
  const at = copy && recordAt(copy);
  if (!at) return damage(layout.blob(key), key);
  await step("damage", key, async () => {
    const segment = await open(join(root, at.file), "r+");
    await segment.write(Buffer.from("not these bytes"), 0, undefined, at.bytesOffset);
    await segment.close();
  });
}

async function damage(path: string, key: Key): Promise<void> {
  await step("damage", key, async () => {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, "not these bytes");
  });
}

async function step(what: string, key: Key, work: () => Promise<void>): Promise<void> {
  say({ doing: what, key });
  try {
    await work();
    say({ done: what, key });
  } catch (error) {
    say({ failed: what, key, error: String(error) });
  }
}

function isLeftOut(call: { name: string; path: string }): boolean {
  if (call.name !== "sync" && call.name !== "datasync") return false;
  if (defect === "without-fsync") return true;
  const segments = join(layout.root, "segments");
  const isFile = [layout.stage, segments].includes(dirname(call.path));
  return defect === "without-file-fsync" ? isFile : dirname(call.path) === layout.blobs || call.path === segments;
}

function say(line: object): void {
  writeSync(1, `${JSON.stringify(line)}\n`);
}
