import { createHash, randomBytes } from "node:crypto";
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { hexOf, type Key } from "../../src/core/key.ts";
import { fetchFile, type NodeProcess, ProcessCluster, post, until } from "../support/processes.ts";
import {
  bytesOfRecord,
  DAMAGES_OF_RECORDS,
  damageHeader,
  findRecord,
  type RecordAt,
} from "../support/segment-records.ts";

/** A scrub pass, and the pause after it, take less, also on a busy machine. */
const HEAL_MS = 60_000;

let cluster: ProcessCluster;
beforeAll(async () => {
  cluster = await ProcessCluster.start(4, {
    CASK_REPLICATION: "3",
    CASK_MAX_REPLICATION: "3",
    CASK_TRIM_GRACE: "2",
    CASK_RECONCILE_INTERVAL: "2",
    CASK_SCRUB_RATE: "200MB",
  });
}, 60_000);
afterAll(() => cluster.stop());

async function isWhole(node: NodeProcess, key: Key): Promise<boolean> {
  const bytes = await bytesOfRecord(node.root, key);
  return bytes !== null && `sha1:${createHash("sha1").update(bytes).digest("hex")}` === key;
}

async function holders(key: Key): Promise<NodeProcess[]> {
  const whole = await Promise.all(cluster.nodes.map((node) => isWhole(node, key)));
  return cluster.nodes.filter((_, i) => whole[i]);
}

async function quarantined(node: NodeProcess, key: Key): Promise<boolean> {
  return (await readdir(join(node.root, "quarantine"))).some((name) => name.startsWith(hexOf(key)));
}

async function store(size: number): Promise<Key> {
  const stored = await post(cluster.node(0), randomBytes(size));
  expect(stored.success).toBe(true);
  return stored.key as Key;
}

test("small blobs are in segments on all nodes, and no file has their names", async () => {
  const key = await store(5_000);
  expect(await holders(key)).toHaveLength(3);
  for (const node of cluster.nodes) expect((await node.storedFiles()).join()).not.toContain(hexOf(key).slice(2));
});

test.each([1, 2])(
  "every kind of damage on %i of three records is healed by the scrub, the corrupt copies are in quarantine",
  async (times) => {
    const damaged: Array<{ key: Key; nodes: NodeProcess[] }> = [];
    for (const damage of Object.values(DAMAGES_OF_RECORDS)) {
      for (const size of [700, 200_000]) {
        const key = await store(size);
        const nodes = (await holders(key)).slice(0, times);
        for (const node of nodes) await damage(node.root, (await findRecord(node.root, key)) as RecordAt);
        damaged.push({ key, nodes });
      }
    }
    const areWhole = async () =>
      (await Promise.all(damaged.map(({ key }) => holders(key)))).every((nodes) => nodes.length === 3);
    await until("all have three whole copies again", areWhole, HEAL_MS);
    for (const { key, nodes } of damaged) for (const node of nodes) expect(await quarantined(node, key)).toBe(true);
  },
  120_000,
);

test("a damaged record is healed within 10 s after a GET; one with a damaged header is written anew", async () => {
  const [key, other] = [await store(2_000), await store(2_000)];
  const [node] = (await holders(key)) as [NodeProcess];
  await DAMAGES_OF_RECORDS["flipped in the middle"]?.(node.root, (await findRecord(node.root, key)) as RecordAt);
  expect((await fetchFile(node, key)).status).toBe(200);
  await until("it is whole again", async () => (await holders(key)).length === 3, 10_000);
  expect(await quarantined(node, key)).toBe(true);

  const [second] = (await holders(other)) as [NodeProcess];
  await damageHeader(second.root, (await findRecord(second.root, other)) as RecordAt);
  expect(await findRecord(second.root, other)).toBeNull();
  expect((await fetchFile(second, other)).status).toBe(200);
  await until("it can be told again", async () => (await holders(other)).length === 3, 10_000);
  expect(await quarantined(second, other)).toBe(false);
}, 60_000);

test("all records of a blob corrupt: 5xx that names it, all are in quarantine, and the others go on", async () => {
  const [key, other] = [await store(900), await store(900)];
  for (const node of await holders(key)) {
    await DAMAGES_OF_RECORDS["flipped in the last byte"]?.(node.root, (await findRecord(node.root, key)) as RecordAt);
  }
  const all = async () => (await Promise.all(cluster.nodes.map((node) => quarantined(node, key)))).filter(Boolean);
  await until("no copy is believed", async () => (await all()).length === 3, HEAL_MS);
  const answer = await fetch(`${cluster.node(3).url}/file/${key}/`);
  expect(answer.status).toBeGreaterThanOrEqual(500);
  expect(await answer.text()).toContain(key);
  expect((await fetchFile(cluster.node(3), other)).status).toBe(200);
}, 90_000);

test("a segment that vanished while the node was down: its word on what is absent counts for nothing until all is back", async () => {
  const keys = await Promise.all(Array.from({ length: 20 }, () => store(3_000)));
  const node = cluster.node(1);
  await node.stop();
  await rm(join(node.root, "segments", "00000001.seg"));
  await node.start();
  await until("it is told", async () => node.output.includes("copies lie in segments that have vanished"));
  const incomplete = async () => (await node.json<{ node: { incomplete: boolean } }>("/status/")).node.incomplete;
  const whole = async () => (await Promise.all(keys.map((key) => holders(key)))).every((nodes) => nodes.length === 3);
  await until("all have three copies again", whole, HEAL_MS);
  await until("its word counts again", async () => !(await incomplete()), HEAL_MS);
}, 120_000);
