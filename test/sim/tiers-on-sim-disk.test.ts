import { ByteBudget } from "../../src/core/byte-budget.ts";
import { SeededRandom } from "../../src/core/random.ts";
import type { FileSystem } from "../../src/storage/file-system.ts";
import type { TieredBackend } from "../../src/storage/tiered.ts";
import { backendConformance } from "../conformance/backend.ts";
import { type CrashedStorage, crashAtRandomCalls } from "../support/sim/crashes.ts";
import { withoutSyncs } from "../support/sim/left-out-syncs.ts";
import { SimDisk } from "../support/sim/sim-disk.ts";
import { SIM_LAYOUT, SIM_ROOT } from "../support/sim/sim-root.ts";
import { damageInTiers, openSimTiers } from "../support/sim/sim-tiers.ts";
import { fetchBlob, storeBlob } from "../support/store-blob.ts";

for (const [name, options] of [
  ["segments and files, simulated", {}],
  ["small segments, simulated", { maxSegmentBytes: 100_000 }],
  ["segments and files, simulated, without memory for stages", { stageBudget: new ByteBudget(0) }],
] as const) {
  backendConformance(name, async () => {
    const disk = new SimDisk();
    const backend = await openSimTiers(disk, { random: new SeededRandom(1), ...options });
    return { backend, damage: (key, bytes) => damageInTiers(disk, backend, key, bytes), damageIsHidden: true };
  });
}

test("without segments not even the empty blob goes into one: the root may be of the format that has none", async () => {
  const disk = new SimDisk();
  const backend = await openSimTiers(disk, { random: new SeededRandom(1), segmentBlobMaxBytes: 0 });
  const { key } = await storeBlob(backend, Buffer.alloc(0));
  expect(disk.has(SIM_LAYOUT.blob(key))).toBe(true);
  expect(disk.namesIn(`${SIM_ROOT}/segments`)).toEqual([]);
  await backend.close();
});

test("a segment's header that is damaged while the node runs is mended by the next listing: a start would find no record without it", async () => {
  const disk = new SimDisk();
  const random = new SeededRandom(1);
  const notices: string[] = [];
  const backend = await openSimTiers(disk, { random, onNotice: (message) => notices.push(message) });
  const bytes = Buffer.from("small");
  const { key } = await storeBlob(backend, bytes);
  disk.rot(`${SIM_ROOT}/segments/00000001.seg`, (segment) => segment.fill(0, 0, 64));
  for await (const _key of backend.keys());
  expect(notices).toEqual([expect.stringContaining("was damaged, and has been written anew")]);
  const found = await openSimTiers(disk.crash(random), { random });
  expect(found.hasLost).toBe(false);
  expect(await fetchBlob(found, key)).toEqual(bytes);
});

/** `SIM_SEED=n npx jest test/sim/tiers-on` replays one. */
const only = process.env["SIM_SEED"];
const SEEDS = only === undefined ? Array.from({ length: 400 }, (_, i) => i + 1) : [Number(only)];

/** Blobs of up to 9,000 bytes: most in segments that are soon full, the largest as files. */
function tiers(through: (files: FileSystem) => FileSystem = (files) => files): CrashedStorage {
  return {
    open: (disk, { random, process }) => {
      const sizes = { segmentBlobMaxBytes: 5_000, maxSegmentBytes: 30_000 };
      return openSimTiers(disk, process ? { random, process, through, ...sizes } : { random, ...sizes });
    },
    spoil: async (disk, backend, key) => {
      const bytes = await fetchBlob(backend, key);
      if (bytes) await damageInTiers(disk, backend as TieredBackend, key, bytes.subarray(0, -1));
      return bytes !== null;
    },
    tidy: (backend) => (backend as TieredBackend).compact(new AbortController().signal),
  };
}

describe("power cuts at random calls", () => {
  test(`${SEEDS.length} seeds, two cuts each: what was acknowledged is there, what was removed is not, nothing is partial`, async () => {
    const startedMs = performance.now();
    const faults: string[] = [];
    const endedIn = new Set<string>();
    let acknowledged = 0;
    for (const seed of SEEDS) {
      const result = await crashAtRandomCalls(seed, tiers());
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
      const calls = ["write segments", "datasync segments", "open segments", "read segments"];
      expect([...endedIn]).toEqual(expect.arrayContaining(calls));
    }
  }, 120_000);

  test.each([
    ["no sync of files", (what: string) => what === "file", /is partial|is lost|is back/],
    ["no sync of folders", (what: string) => what === "folder", /is lost|is back/],
  ] as const)("with the defect put in, %s, they show it within 50 seeds", async (_, isLeftOut, expected) => {
    for (let seed = 1; seed <= 50; seed++) {
      const { faults } = await crashAtRandomCalls(seed, tiers(withoutSyncs(isLeftOut)));
      if (faults.some((fault) => expected.test(fault))) return;
    }
    throw new Error("not found");
  });
});
