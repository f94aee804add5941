import { ByteBudget } from "../../src/core/byte-budget.ts";
import { keyOfBytes } from "../../src/core/key.ts";
import { SeededRandom } from "../../src/core/random.ts";
import { DiskBackend } from "../../src/storage/disk.ts";
import type { FileSystem } from "../../src/storage/file-system.ts";
import { Inventory } from "../../src/storage/inventory.ts";
import { backendConformance } from "../conformance/backend.ts";
import { crashAtRandomCalls, filesOnly } from "../support/sim/crashes.ts";
import { withoutSyncs } from "../support/sim/left-out-syncs.ts";
import { PieceFiles } from "../support/sim/pieces.ts";
import { SimDisk } from "../support/sim/sim-disk.ts";
import { simError } from "../support/sim/sim-errors.ts";
import { openSimRoot, SIM_LAYOUT, SIM_ROOT } from "../support/sim/sim-root.ts";
import { bytesOf, fetchBlob, storeBlob } from "../support/store-blob.ts";

/** `SIM_SEED=n npx jest test/sim/disk-on` replays one. */
const only = process.env["SIM_SEED"];
const SEEDS = only === undefined ? Array.from({ length: 400 }, (_, i) => i + 1) : [Number(only)];

for (const [name, budget] of [
  ["disk, simulated", undefined],
  ["disk, simulated, without memory for stages", new ByteBudget(0)],
] as const) {
  backendConformance(name, async () => {
    const disk = new SimDisk();
    const { files, takeLock } = disk.start();
    const options = { root: SIM_ROOT, random: new SeededRandom(1), onNotice: () => undefined, files, takeLock };
    const backend = await DiskBackend.open(budget ? { ...options, stageBudget: budget } : options);
    return { backend, damage: async (key, bytes) => disk.put(SIM_LAYOUT.blob(key), bytes) };
  });
}

backendConformance("inventory over disk, simulated", async () => {
  const disk = new SimDisk();
  const backend = new Inventory({ inner: await openSimRoot(disk, { random: new SeededRandom(1) }) });
  await backend.load();
  return { backend, damage: async (key, bytes) => disk.put(SIM_LAYOUT.blob(key), bytes) };
});

describe("power cuts at random calls", () => {
  test(`${SEEDS.length} seeds, two cuts each: what was acknowledged is there, what was removed is not, nothing is partial`, async () => {
    const startedMs = performance.now();
    const faults: string[] = [];
    const endedIn = new Set<string>();
    let acknowledged = 0;
    for (const seed of SEEDS) {
      const result = await crashAtRandomCalls(seed);
      faults.push(...result.faults);
      for (const call of result.endedIn) endedIn.add(call);
      acknowledged += result.acknowledged;
    }
    const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
    console.log(
      `${SEEDS.length} seeds in ${seconds} s, ${acknowledged} puts acknowledged, cut in ${[...endedIn].sort().join(", ")}`,
    );
    expect(faults).toEqual([]);
    if (only === undefined) {
      expect(acknowledged).toBeGreaterThan(2_000);
      const calls = [
        "rename stage",
        "sync sha1",
        "sync stage",
        "sync quarantine",
        "unlink sha1",
        "mkdir sha1",
        "write stage",
      ];
      expect([...endedIn]).toEqual(expect.arrayContaining(calls));
    }
  }, 120_000);

  test("uploads that lie in one piece, and go to the disk from there", async () => {
    const pieces = new PieceFiles();
    const endedIn = new Set<string>();
    const faults: string[] = [];
    for (const seed of SEEDS.slice(0, 60)) {
      const result = await crashAtRandomCalls(seed, pieces.storage());
      faults.push(...result.faults);
      for (const call of result.endedIn) endedIn.add(call);
    }
    expect(faults).toEqual([]);
    if (only === undefined)
      expect([...endedIn]).toEqual(expect.arrayContaining(["write stage", "truncate stage", "sync stage"]));
    let found = 0;
    for (let seed = 1; seed <= 50; seed++) {
      const defect = filesOnly(withoutSyncs((what) => what === "file"));
      found += (await crashAtRandomCalls(seed, pieces.storage(defect))).faults.length;
    }
    expect(found).toBeGreaterThan(0);
  }, 60_000);

  test.each([
    ["no sync of files", (what: string) => what === "file", /is partial/],
    ["no sync of folders", (what: string) => what === "folder", /is lost|is back/],
    ["no sync at all", () => true, /is partial|is lost|is back/],
  ] as const)("with the defect put in, %s, they show it within 50 seeds", async (_, isLeftOut, expected) => {
    for (let seed = 1; seed <= 50; seed++) {
      const { faults } = await crashAtRandomCalls(seed, filesOnly(withoutSyncs(isLeftOut)));
      if (faults.some((fault) => expected.test(fault))) return;
    }
    throw new Error("not found");
  });

  test("from the same seed all is the same", async () => {
    expect(await crashAtRandomCalls(17)).toEqual(await crashAtRandomCalls(17));
  });
});

describe("a committed blob on a disk without syncs", () => {
  const bytes = bytesOf(5_000);
  const key = keyOfBytes(bytes);

  /** What power cuts right after the answer leave of the blob. */
  async function leftOver(through: (files: FileSystem) => FileSystem): Promise<Set<string>> {
    const disk = new SimDisk();
    await openSimRoot(disk, { random: new SeededRandom(1) });
    const synced = disk.crash(new SeededRandom(0));
    const backend = await openSimRoot(synced, { random: new SeededRandom(1), through });
    await storeBlob(backend, bytes);
    const left = new Set<string>();
    for (let seed = 0; seed < 60; seed++) {
      const after = synced.crash(new SeededRandom(seed));
      const found = await fetchBlob(await openSimRoot(after, { random: new SeededRandom(1) }), key);
      left.add(found === null ? "lost" : found.equals(bytes) ? "whole" : "torn");
    }
    return left;
  }

  test.each([
    ["of its file is torn", (what: string) => what === "file", ["torn", "whole"]],
    ["of its folder is lost", (what: string) => what === "folder", ["lost", "whole"]],
    ["left out is whole", () => false, ["whole"]],
  ] as const)("one without the sync %s", async (_, isLeftOut, expected) => {
    expect([...(await leftOver(withoutSyncs(isLeftOut)))].sort()).toEqual(expected);
  });
});

describe("faults of the disk reach the backend as on a real one", () => {
  test("a full disk, then room again", async () => {
    const disk = new SimDisk();
    const backend = await openSimRoot(disk, { random: new SeededRandom(1) });
    disk.freeBytes = 1_000;
    await expect(storeBlob(backend, bytesOf(5_000))).rejects.toMatchObject({ code: "NO_SPACE" });
    disk.freeBytes = 10_000;
    expect((await storeBlob(backend, bytesOf(5_000))).outcome).toBe("stored");
    expect(disk.namesIn(SIM_LAYOUT.stage)).toEqual([]);
  });

  test("a disk that turned read-only, and one that can't be read", async () => {
    const disk = new SimDisk();
    const backend = await openSimRoot(disk, { random: new SeededRandom(1) });
    const { key } = await storeBlob(backend, bytesOf(5_000));
    disk.beforeCall = ({ name, path }) => (name === "rename" ? simError("EROFS", name, path) : undefined);
    await expect(storeBlob(backend, bytesOf(100))).rejects.toMatchObject({ code: "STORAGE_FAILED" });
    disk.beforeCall = ({ name, path }) => (name === "read" ? simError("EIO", name, path) : undefined);
    await expect(fetchBlob(backend, key)).rejects.toMatchObject({ code: "STORAGE_FAILED" });
  });

  test("two backends can't have one root; a new life after a death can", async () => {
    const disk = new SimDisk();
    const process = disk.start();
    await openSimRoot(disk, { random: new SeededRandom(1), process });
    await expect(openSimRoot(disk, { random: new SeededRandom(1) })).rejects.toMatchObject({ code: "ROOT_IN_USE" });
    process.kill();
    await openSimRoot(disk, { random: new SeededRandom(1) });
  });
});

test("it is fast enough for thousands of simulated clusters", async () => {
  const random = new SeededRandom(1);
  const blobs = Array.from({ length: 1_000 }, (_, i) => bytesOf(1_024, i + 1));
  const medianMs = async (times: number, work: (i: number) => Promise<unknown>) => {
    const took: number[] = [];
    for (let i = 0; i < times; i++) {
      const startedMs = performance.now();
      await work(i);
      took.push(performance.now() - startedMs);
    }
    return took.sort((a, b) => a - b)[times >> 1] as number;
  };
  const opening = await medianMs(50, () => openSimRoot(new SimDisk(), { random }));
  const backend = await openSimRoot(new SimDisk(), { random });
  const put = await medianMs(blobs.length, (i) => storeBlob(backend, blobs[i] as Buffer));
  const get = await medianMs(blobs.length, (i) => fetchBlob(backend, keyOfBytes(blobs[i] as Buffer)));
  console.log(
    `medians: opening a new root ${opening.toFixed(2)} ms, put of 1 KiB ${put.toFixed(3)} ms, get ${get.toFixed(3)} ms`,
  );
  // Far above what is measured on an idle machine (4 ms, 0.1 ms): this is to catch what grows with the number of calls.
  expect(opening).toBeLessThan(50);
  expect(put).toBeLessThan(1);
});
