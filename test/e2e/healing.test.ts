import { createHash, randomBytes } from "node:crypto";
import { mkdir, readdir, readFile, rename, writeFile } from "node:fs/promises";
import path from "node:path";
import { hexOf, type Key } from "../../src/core/key.ts";
import { DAMAGES_OF_COPIES } from "../support/damages.ts";
import { fetchFile, type NodeProcess, ProcessCluster, post, until } from "../support/processes.ts";

/** A scrub pass over a few hundred small blobs, and the pause after it, take less, also on a busy machine. */
const HEAL_MS = 60_000;

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

function fileOf(node: NodeProcess, key: string): string {
  const hex = hexOf(key as Key);
  return path.join(node.root, "sha1", hex.slice(0, 2), hex.slice(2));
}

async function isWhole(node: NodeProcess, key: string): Promise<boolean> {
  const bytes = await readFile(fileOf(node, key)).catch(() => null);
  return bytes !== null && `sha1:${createHash("sha1").update(bytes).digest("hex")}` === key;
}

async function holders(key: string): Promise<NodeProcess[]> {
  const whole = await Promise.all(cluster.nodes.map((node) => isWhole(node, key)));
  return cluster.nodes.filter((_, i) => whole[i]);
}

async function quarantined(node: NodeProcess, key: string): Promise<boolean> {
  return (await readdir(path.join(node.root, "quarantine"))).some((name) => name.startsWith(hexOf(key as Key)));
}

async function store(size: number): Promise<string> {
  const stored = await post(cluster.node(0), randomBytes(size));
  expect(stored.success).toBe(true);
  return stored.key;
}

test.each([1, 2])(
  "every kind of damage on %i of three copies is healed by the scrub, the corrupt copies are in quarantine",
  async (times) => {
    const damaged: Array<{ key: string; nodes: NodeProcess[]; vanished: boolean }> = [];
    for (const [kind, damage] of Object.entries(DAMAGES_OF_COPIES)) {
      for (const size of [700, 1_500_000]) {
        const [key, other] = [await store(size), await store(size)];
        const nodes = (await holders(key)).slice(0, times);
        for (const node of nodes) {
          if (kind.startsWith("swapped"))
            await damage(fileOf(node, key), fileOf(node, (await held(node, other)) ?? key));
          else await damage(fileOf(node, key), "");
        }
        damaged.push({ key, nodes, vanished: kind === "removed" || kind.startsWith("swapped") });
      }
    }
    await until(
      "all have three whole copies again",
      async () => (await Promise.all(damaged.map(({ key }) => holders(key)))).every((nodes) => nodes.length === 3),
      HEAL_MS,
    );
    for (const { key, nodes, vanished } of damaged) {
      if (!vanished) for (const node of nodes) expect(await quarantined(node, key)).toBe(true);
    }
    await expectNoGarbage();
  },
  120_000,
);

test("a damaged copy is healed within 10 s after a GET", async () => {
  const key = await store(2_000);
  const [node] = await holders(key);
  await DAMAGES_OF_COPIES["flipped in the middle"]?.(fileOf(node as NodeProcess, key), "");
  await fetchFile(node as NodeProcess, key);
  await until("it is whole again", async () => (await holders(key)).length === 3, 10_000);
  expect(await quarantined(node as NodeProcess, key)).toBe(true);
}, 60_000);

test("all copies corrupt: 5xx that names it, all are in quarantine, and the others go on", async () => {
  const [key, other] = [await store(900), await store(900)];
  for (const node of await holders(key)) await DAMAGES_OF_COPIES["cut"]?.(fileOf(node, key), "");
  await until(
    "no copy is believed",
    async () => (await Promise.all(cluster.nodes.map((node) => quarantined(node, key)))).filter(Boolean).length === 3,
    HEAL_MS,
  );
  const answer = await fetch(`${cluster.node(3).url}/file/${key}/`);
  expect(answer.status).toBeGreaterThanOrEqual(500);
  expect(await answer.text()).toContain(key);
  expect((await fetchFile(cluster.node(3), other)).status).toBe(200);
  await expectNoGarbage();
}, 90_000);

test("C8, C9: a folder that can't be read ends no pass: its blobs get copies elsewhere, and it is told", async () => {
  const key = await store(800);
  const [node] = (await holders(key)) as [NodeProcess];
  const folder = path.dirname(fileOf(node, key));
  await rename(folder, `${folder}-away`);
  await writeFile(folder, "a file in the place of the folder");
  try {
    const before = await scrubPasses(node);
    await until("others have three copies", async () => (await holders(key)).length === 3, HEAL_MS);
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

/** The other blob, if the node holds it. */
async function held(node: NodeProcess, key: string): Promise<string | null> {
  return (await isWhole(node, key)) ? key : null;
}

async function scrubPasses(node: NodeProcess): Promise<number> {
  return (await node.json<{ repair: { scrub: { passes: number } } }>("/status/")).repair.scrub.passes;
}

/** No file has the name of a blob that it is not. */
async function expectNoGarbage(): Promise<void> {
  await until(
    "every file is what its name says",
    async () => {
      for (const node of cluster.nodes) {
        for (const file of await node.storedFiles()) {
          const name = `${path.basename(path.dirname(file))}${path.basename(file)}`;
          if (!/^[0-9a-f]{40}$/.test(name)) continue;
          if (
            createHash("sha1")
              .update(await readFile(file))
              .digest("hex") !== name
          )
            return false;
        }
      }
      return true;
    },
    HEAL_MS,
  );
}
