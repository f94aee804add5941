import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ByteBudget } from "../../src/core/byte-budget.ts";
import { SystemRandom } from "../../src/core/random.ts";
import { DiskBackend } from "../../src/storage/disk.ts";
import { Layout } from "../../src/storage/layout.ts";
import { backendConformance } from "../conformance/backend.ts";
import { TemporaryFolders } from "../support/temporary-folder.ts";

const folders = new TemporaryFolders();
afterAll(() => folders.removeAll());

for (const [name, budget] of [
  ["disk", undefined],
  ["disk, without memory for stages", new ByteBudget(0)],
] as const) {
  backendConformance(name, async () => {
    const root = await folders.make();
    const layout = new Layout(root);
    const options = { root, random: new SystemRandom(), onNotice: () => undefined };
    const backend = await DiskBackend.open(budget ? { ...options, stageBudget: budget } : options);
    return { backend, damage: (key, bytes) => writeFile(layout.blob(key), bytes) };
  });
}

describe("a root that has been used", () => {
  test("has nothing in stage/ when all stages have ended", async () => {
    const root = await folders.make();
    const backend = await DiskBackend.open({ root, random: new SystemRandom(), onNotice: () => undefined });
    const stage = await backend.stage();
    await stage.write(Buffer.alloc(3 << 20));
    expect(await readdir(join(root, "stage"))).toHaveLength(1);
    await backend.close(); // ends the open one
    expect(await readdir(join(root, "stage"))).toEqual([]);
  });
});
