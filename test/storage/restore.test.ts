import { cp, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { keyOfBytes } from "../../src/core/key.ts";
import { SystemRandom } from "../../src/core/random.ts";
import { openTiers } from "../support/real-tiers.ts";
import { bytesOf, fetchBlob, listKeys, storeBlob } from "../support/store-blob.ts";
import { TemporaryFolders } from "../support/temporary-folder.ts";

const folders = new TemporaryFolders();
afterAll(() => folders.removeAll());

// deploy/README.md, "Backup and restore".
test("what was copied of a data folder while it was in use, without the checkpoint, makes an empty node's again", async () => {
  const folder = await folders.make();
  const options = { random: new SystemRandom(), onNotice: (message: string) => notices.push(message) };
  const notices: string[] = [];
  const blobs = Array.from({ length: 40 }, (_, i) => bytesOf(i % 8 === 0 ? 100_000 : 20_000 + i, i + 1));
  const [used, backup, empty] = ["used", "backup", "empty"].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  const before = await openTiers(used, "segments", options);
  for (const bytes of blobs) await storeBlob(before, bytes);
  await mkdir(backup);
  for (const part of ["sha1", "segments"]) await cp(join(used, part), join(backup, part), { recursive: true });
  await before.close();

  await (await openTiers(empty, "segments", options)).close();
  await cp(backup, empty, { recursive: true });
  const restored = await openTiers(empty, "segments", options);
  for (const bytes of blobs) expect((await fetchBlob(restored, keyOfBytes(bytes)))?.equals(bytes)).toBe(true);
  expect(await listKeys(restored)).toHaveLength(blobs.length);
  expect(restored.hasLost).toBe(false);
  expect(restored.store).not.toBe(before.store);
  await storeBlob(restored, bytesOf(500, 99));
  await restored.close();
  expect(notices).toEqual([]);
});
