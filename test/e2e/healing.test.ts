import { mkdir, readdir, readFile, rename, writeFile } from "node:fs/promises";
import path from "node:path";
import { hexOf, isKey, type Key } from "../../src/core/key.ts";
import { HEAL_MS, type HealingCluster, healsDamage, holdersOf, storeRandom } from "../conformance/healing.ts";
import { filePlace } from "../support/copy-places.ts";
import { type NodeProcess, ProcessCluster, until } from "../support/processes.ts";

let cluster: ProcessCluster;
beforeAll(async () => {
  cluster = await ProcessCluster.start(4, {
    CASK_REPLICATION: "3",
    CASK_MAX_REPLICATION: "3",
    CASK_TRIM_GRACE: "2",
    CASK_SEGMENT_THRESHOLD: "0",
    CASK_RECONCILE_INTERVAL: "2",
    CASK_SCRUB_RATE: "200MB",
  });
}, 60_000);
afterAll(() => cluster.stop());

function fileOf(node: NodeProcess, key: Key): string {
  const hex = hexOf(key);
  return path.join(node.root, "sha1", hex.slice(0, 2), hex.slice(2));
}

function made(): HealingCluster {
  return {
    cluster,
    copyOf: (node, key) => filePlace(fileOf(node, key)),
    isQuarantined: async ({ root }, key) =>
      (await readdir(path.join(root, "quarantine"))).some((name) => name.startsWith(hexOf(key))),
    copiesOn: async (node) =>
      (await node.storedFiles()).flatMap((file) => {
        const key = `sha1:${path.basename(path.dirname(file))}${path.basename(file)}`;
        return isKey(key) ? [[key, filePlace(file)] as const] : [];
      }),
  };
}

healsDamage(made);

test("C8, C9: a folder that can't be read ends no pass: its blobs get copies elsewhere, and it is told", async () => {
  const key = await storeRandom(cluster, 800);
  const [node] = (await holdersOf(made(), key)) as [NodeProcess];
  const folder = path.dirname(fileOf(node, key));
  await rename(folder, `${folder}-away`);
  await writeFile(folder, "a file in the place of the folder");
  try {
    const before = await scrubPasses(node);
    await until("others have three copies", async () => (await holdersOf(made(), key)).length === 3, HEAL_MS);
    await until("the scrub goes on", async () => (await scrubPasses(node)) > before + 1, HEAL_MS);
    expect(
      (await node.json<{ repair: { scrub: { lastUnreadable: string | null } } }>("/status/")).repair.scrub
        .lastUnreadable,
    ).toContain(path.basename(folder));
  } finally {
    await rename(folder, `${folder}-file`);
    await rename(`${folder}-away`, folder);
  }
}, 180_000);

test("foreign files are left alone, and no obstacle", async () => {
  const strange = path.join(cluster.node(0).root, "sha1", "ab", "not a blob");
  await mkdir(path.dirname(strange), { recursive: true });
  await writeFile(strange, "mine");
  const before = await scrubPasses(cluster.node(0));
  await until("a pass went over it", async () => (await scrubPasses(cluster.node(0))) > before + 1, HEAL_MS);
  expect(await readFile(strange, "utf8")).toBe("mine");
}, 60_000);

async function scrubPasses(node: NodeProcess): Promise<number> {
  return (await node.json<{ repair: { scrub: { passes: number } } }>("/status/")).repair.scrub.passes;
}
