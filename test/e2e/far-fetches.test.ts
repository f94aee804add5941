import { randomBytes } from "node:crypto";
import { type Key, keyOfBytes } from "../../src/core/key.ts";
import { fetchFile, type NodeProcess, ProcessCluster, post } from "../support/processes.ts";
import { DAMAGES_OF_RECORDS, findRecord } from "../support/segment-records.ts";

/** Many clients at a time, through a node that has none of what they want, as of its small cache. */
const CLIENTS = 48;
const SETTINGS = { CASK_CACHE_BYTES: "0", CASK_REPLICATION: "1", CASK_MAX_REPLICATION: "1" };

let cluster: ProcessCluster;
afterEach(() => cluster.stop());

async function storeMany(count: number): Promise<Map<Key, Buffer>> {
  const blobs = new Map<Key, Buffer>();
  for (let i = 0; i < count; i++) {
    const bytes = randomBytes(i % 20 === 0 ? 40_000 * (1 + (i % 3)) : 1 + i * 23);
    blobs.set((await post(cluster.node(0), bytes)).key as Key, bytes);
  }
  return blobs;
}

async function fetchAll(node: NodeProcess, keys: readonly Key[], clients = CLIENTS) {
  const answers = new Map<Key, { status: number; bytes: Buffer; ms: number }>();
  const left = [...keys];
  const client = async () => {
    for (let key = left.pop(); key !== undefined; key = left.pop()) {
      const begunMs = performance.now();
      answers.set(key, { ...(await fetchFile(node, key)), ms: performance.now() - begunMs });
    }
  };
  await Promise.all(Array.from({ length: clients }, client));
  return answers;
}

async function batchesAskedOf(node: NodeProcess): Promise<number> {
  const metrics = await (await fetch(`${node.url}/metrics`)).text();
  return Number(/^cask_http_request_duration_seconds_count\{door="batch".*\} (\d+)/m.exec(metrics)?.[1] ?? 0);
}

test("small copies come together and right; large, absent and damaged ones are answered as ever", async () => {
  cluster = await ProcessCluster.start(3, SETTINGS);
  const blobs = await storeMany(400);
  const absent = Array.from({ length: 20 }, (_, i) => keyOfBytes(Buffer.from(`absent ${i}`)));
  const owner = cluster.node(1);
  let damaged: Key | undefined;
  for (const key of blobs.keys()) {
    const record = await findRecord(owner.root, key);
    if (!record || (blobs.get(key) as Buffer).length < 100) continue;
    await DAMAGES_OF_RECORDS["flipped in the middle"]?.(owner.root, record);
    damaged = key;
    break;
  }
  const answers = await fetchAll(cluster.node(0), [...blobs.keys(), ...absent]);
  for (const [key, bytes] of blobs) {
    if (key === damaged) expect(answers.get(key)?.status).toBe(503);
    else expect(answers.get(key)?.bytes.equals(bytes)).toBe(true);
  }
  expect(absent.map((key) => answers.get(key)?.status)).toEqual(absent.map(() => 404));
  expect(damaged).toBeDefined();
  expect(await batchesAskedOf(owner)).toBeGreaterThan(0);
}, 60_000);

test("C32, C33: with one owner of two frozen no fetch takes above 2 s, however many there are", async () => {
  cluster = await ProcessCluster.start(4, { ...SETTINGS, CASK_REPLICATION: "2", CASK_MAX_REPLICATION: "2" });
  const blobs = await storeMany(200);
  await fetchAll(cluster.node(0), [...blobs.keys()]);
  cluster.node(3).signal("SIGSTOP");
  const answers = await fetchAll(cluster.node(0), [...blobs.keys()]);
  for (const [key, bytes] of blobs) expect(answers.get(key)?.bytes.equals(bytes)).toBe(true);
  expect(Math.max(...[...answers.values()].map(({ ms }) => ms))).toBeLessThan(2_000);
}, 60_000);
