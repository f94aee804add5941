/**
 * `npm run bench-scrub [-- COUNT]`: how fast the scrub reads and hashes blobs of 1 MiB when nothing holds it back, against `cat` of the same files
 * through SHA-1, in turn. And whether a restart goes on where it was.
 */
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { Scrub, type ScrubPlace } from "../src/blobs/scrub.ts";
import { SystemClock } from "../src/core/clock.ts";
import { keyOfBytes } from "../src/core/key.ts";
import { silentLogger } from "../src/core/log.ts";
import { SystemRandom } from "../src/core/random.ts";
import type { Peer } from "../src/peer/peer.ts";
import { DiskBackend } from "../src/storage/disk.ts";

const COUNT = Number(process.argv[2] ?? 300);
const MIB = 1_048_576;
const ROUNDS = 5;
const folder = await mkdtemp(path.join(tmpdir(), "cask-scrub-"));
const clock = new SystemClock();
const backend = await DiskBackend.open({ root: folder, random: new SystemRandom(), onNotice: () => undefined });
try {
  for (let i = 0; i < COUNT; i++) {
    const bytes = randomBytes(MIB);
    const stage = await backend.stage(MIB);
    await stage.write(bytes);
    await stage.commit(keyOfBytes(bytes));
    await stage.abort();
  }
  const ratios: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const ours = await scrubSeconds();
    const theirs = catSeconds();
    ratios.push(theirs / ours);
    console.log(
      `scrub ${(COUNT / ours).toFixed(0)} MiB/s, cat | sha1sum ${(COUNT / theirs).toFixed(0)} MiB/s, ratio ${(theirs / ours).toFixed(2)}`,
    );
  }
  console.log(`median ratio ${ratios.sort((a, b) => a - b)[ROUNDS >> 1]?.toFixed(2)}`);
  await restart();
} finally {
  await backend.close();
  await rm(folder, { recursive: true });
}

function scrubOf(place: { kept: ScrubPlace | null }): Scrub {
  // As blobs/local-store.ts reads, without deadlines.
  const own: Pick<Peer, "get"> = {
    async get(key) {
      const blob = await backend.get(key);
      if (!blob) return null;
      const { sizeBytes } = blob;
      const close = () => void blob.close();
      return { sizeBytes, chunks: blob.chunks(), close, hashed: async () => undefined };
    },
  };
  return new Scrub({
    backend,
    own,
    count: () => COUNT,
    rate: { take: async () => undefined },
    foreground: { yieldTo: async () => undefined },
    intervalMs: 0,
    load: async () => place.kept,
    save: async (kept) => {
      place.kept = kept;
    },
    audit: async () => undefined,
    onVerified: () => undefined,
    clock,
    log: silentLogger(),
  });
}

async function scrubSeconds(): Promise<number> {
  const scrub = scrubOf({ kept: null });
  const signal = new AbortController().signal;
  const begun = performance.now();
  while ((await scrub.step(signal)) === "busy");
  return (performance.now() - begun) / 1_000;
}

function catSeconds(): number {
  const begun = performance.now();
  const { status } = spawnSync("sh", ["-c", "find sha1 -type f -exec cat {} + | sha1sum"], { cwd: folder });
  if (status !== 0) throw new Error("cat failed");
  return (performance.now() - begun) / 1_000;
}

async function restart(): Promise<void> {
  const place = { kept: null };
  const signal = new AbortController().signal;
  const scrub = scrubOf(place);
  for (let i = 0; i < COUNT / 4; i++) await scrub.step(signal);
  const before = scrub.status().visited;
  await scrub.save();
  const again = scrubOf(place);
  await again.step(signal);
  console.log(`stopped after ${before} of ${COUNT}, went on at ${again.status().visited}`);
}
