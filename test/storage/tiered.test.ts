import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { SystemClock } from "../../src/core/clock.ts";
import { keyOfBytes } from "../../src/core/key.ts";
import { SystemRandom } from "../../src/core/random.ts";
import { RateLimit } from "../../src/core/rate-limit.ts";
import { type FileSystem, systemFiles } from "../../src/storage/file-system.ts";
import { Inventory } from "../../src/storage/inventory.ts";
import { Layout } from "../../src/storage/layout.ts";
import { TieredBackend } from "../../src/storage/tiered.ts";
import { backendConformance } from "../conformance/backend.ts";
import { damagedSegment, recordAt } from "../support/segment-records.ts";
import { bytesOf, fetchBlob, storeBlob } from "../support/store-blob.ts";
import { TemporaryFolders } from "../support/temporary-folder.ts";
import { WatchedFiles } from "../support/watched-files.ts";

const folders = new TemporaryFolders();
afterAll(() => folders.removeAll());

function open(root: string, files: FileSystem = systemFiles): Promise<TieredBackend> {
  const clock = new SystemClock();
  return TieredBackend.open({
    root,
    files,
    random: new SystemRandom(),
    clock,
    onNotice: () => undefined,
    segmentBlobMaxBytes: 256 * 1024,
    compactionRate: new RateLimit(Number.POSITIVE_INFINITY, clock),
  });
}

for (const [name, isInInventory] of [
  ["segments and files", false],
  ["inventory over segments and files", true],
] as const) {
  backendConformance(name, async () => {
    const root = await folders.make();
    const tiers = await open(root);
    const backend = isInInventory ? new Inventory({ inner: tiers, known: tiers.known }) : tiers;
    if (backend instanceof Inventory) await backend.load();
    return {
      backend,
      damageIsHidden: true,
      damage: async (key, bytes) => {
        const stat = await tiers.stat(key);
        const at = stat && recordAt(stat);
        if (!at) return writeFile(new Layout(root).blob(key), bytes);
        const path = join(root, at.file);
        await writeFile(path, damagedSegment(await readFile(path), at, bytes));
      },
    };
  });
}

test("blobs that many store at once, over two starts", async () => {
  const root = await folders.make();
  const blobs = Array.from({ length: 300 }, (_, i) => bytesOf(1_000 + i, i + 1));
  for (const half of [blobs.slice(0, 150), blobs.slice(150)]) {
    const backend = await open(root);
    await Promise.all(half.map((blob) => storeBlob(backend, blob)));
    await backend.close();
  }
  const backend = await open(root);
  for (const blob of blobs) expect((await fetchBlob(backend, keyOfBytes(blob)))?.equals(blob)).toBe(true);
  await backend.close();
});

test("a copy is read at once up to the size that is asked for", async () => {
  const backend = await open(await folders.make());
  const { key } = await storeBlob(backend, bytesOf(1_000, 1));
  expect((await backend.readAtOnce(key, 1_000))?.bytes.length).toBe(1_000);
  expect(backend.readAtOnce(key, 999)).toBeNull();
  await backend.close();
});

test("once all files were listed, nobody looks for a copy of a new large blob; one that is there is found", async () => {
  const root = await folders.make();
  const watched = new WatchedFiles();
  const [one, two] = [bytesOf(300_000, 1), bytesOf(300_000, 2)];
  const looks = () => watched.calls.filter(({ name, path }) => name === "open" && /sha1\/..\/./.test(path)).length;
  const backend = await open(root, watched.files);
  await storeBlob(backend, one);
  expect(looks()).toBeGreaterThan(0);
  for await (const _key of backend.known.list());
  watched.calls = [];
  expect((await storeBlob(backend, two)).outcome).toBe("stored");
  expect(looks()).toBe(0);
  expect((await storeBlob(backend, one)).outcome).toBe("known");
  expect((await storeBlob(backend, two)).outcome).toBe("known");
  await writeFile(new Layout(root).blob(keyOfBytes(two)), "damaged");
  expect((await storeBlob(backend, two)).outcome).toBe("replaced");
  expect((await fetchBlob(backend, keyOfBytes(two)))?.equals(two)).toBe(true);
  await backend.close();
});
