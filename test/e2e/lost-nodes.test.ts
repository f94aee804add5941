import { randomBytes } from "node:crypto";
import { rm } from "node:fs/promises";
import { keyOfBytes } from "../../src/core/key.ts";
import { fetchFile, type NodeProcess, ProcessCluster, post, until } from "../support/processes.ts";

const GET_LIMIT_MS = 2_000;
const PUT_LIMIT_MS = 5_000;

let cluster: ProcessCluster;
afterEach(() => cluster.stop());

async function timed<T>(work: Promise<T>): Promise<{ result: T; ms: number }> {
  const startedMs = performance.now();
  const result = await work;
  return { result, ms: performance.now() - startedMs };
}

async function storeSome(node: NodeProcess, count = 12): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>();
  for (let i = 0; i < count; i++) {
    const bytes = randomBytes(i % 4 === 0 ? 1_500_000 : 1 + i * 977);
    files.set((await post(node, bytes)).key, bytes);
  }
  return files;
}

async function expectAll(node: NodeProcess, files: ReadonlyMap<string, Buffer>): Promise<number> {
  let slowestMs = 0;
  for (const [key, bytes] of files) {
    const { result, ms } = await timed(fetchFile(node, key));
    expect(result.status).toBe(200);
    expect(result.bytes.equals(bytes)).toBe(true);
    slowestMs = Math.max(slowestMs, ms);
  }
  return slowestMs;
}

test("C20: one of three killed: all files stay readable, uploads of 3 copies are refused with counts", async () => {
  cluster = await ProcessCluster.start(3);
  const [first, second, third] = cluster.nodes as [NodeProcess, NodeProcess, NodeProcess];
  const files = await storeSome(first);
  await third.kill();
  for (const node of [first, second]) await expectAll(node, files);
  const refused = await post(first, Buffer.from("too few nodes are left"));
  expect(refused).toMatchObject({
    status: 503,
    success: false,
    copies: 2,
    wanted: 3,
    error: { code: "TOO_FEW_COPIES" },
  });
  // The copies that were made stay, and can be read.
  expect((await fetchFile(second, refused.key)).status).toBe(200);
}, 60_000);

test("with CASK_REPLICATION=2 uploads go on, and keep two copies", async () => {
  cluster = await ProcessCluster.start(3, { CASK_REPLICATION: "2" });
  const [first, second, third] = cluster.nodes as [NodeProcess, NodeProcess, NodeProcess];
  await third.kill();
  for (let i = 0; i < 10; i++) {
    const bytes = Buffer.from(`file ${i}`);
    const stored = await post(i % 2 ? first : second, bytes);
    expect(stored).toMatchObject({ status: 200, success: true, copies: 2 });
    for (const node of [first, second]) expect((await fetchFile(node, stored.key)).bytes.equals(bytes)).toBe(true);
  }
}, 60_000);

test("C32, C33: one frozen: no GET takes above 2 s, no PUT above 5 s, absent or not", async () => {
  cluster = await ProcessCluster.start(3, { CASK_REPLICATION: "2" });
  const [first, second, third] = cluster.nodes as [NodeProcess, NodeProcess, NodeProcess];
  const files = await storeSome(first);
  third.signal("SIGSTOP");
  for (const node of [first, second]) expect(await expectAll(node, files)).toBeLessThan(GET_LIMIT_MS);
  // Fewer silent nodes than copies wanted: "absent" is certain, one frozen node or not.
  const absent = await timed(fetchFile(first, keyOfBytes(Buffer.from("never stored"))));
  expect(absent.result.status).toBe(404);
  expect(absent.ms).toBeLessThan(GET_LIMIT_MS);
  for (let i = 0; i < 8; i++) {
    const { result, ms } = await timed(post(i % 2 ? first : second, Buffer.from(`while one is frozen ${i}`)));
    expect(result).toMatchObject({ status: 200, success: true });
    expect(ms).toBeLessThan(PUT_LIMIT_MS);
  }
}, 60_000);

test("C33: two of three silent: an unknown key is 503, not 404; with all back it is 404", async () => {
  cluster = await ProcessCluster.start(3, { CASK_REPLICATION: "2" });
  const [first, second, third] = cluster.nodes as [NodeProcess, NodeProcess, NodeProcess];
  for (const node of [second, third]) node.signal("SIGSTOP");
  const key = keyOfBytes(Buffer.from("never stored"));
  const { result, ms } = await timed(fetch(`${first.url}/file/${key}/`, { headers: { accept: "application/json" } }));
  expect(result.status).toBe(503);
  expect(result.headers.get("retry-after")).toBe("2");
  expect(await result.json()).toMatchObject({ error: { code: "DONT_KNOW" } });
  expect(ms).toBeLessThan(GET_LIMIT_MS);
  for (const node of [second, third]) node.signal("SIGCONT");
  await until("all answer again", async () => (await fetchFile(first, key)).status === 404);
}, 60_000);

test("a node that starts while its neighbors are down says neither present nor absent of what it lacks", async () => {
  cluster = await ProcessCluster.prepare(2, { CASK_REPLICATION: "1" });
  const alone = cluster.node(0);
  alone.start();
  await until("it listens", async () => (await fetch(`${alone.url}/healthz`)).ok);
  expect((await fetch(`${alone.url}/readyz`)).status).toBe(503);
  const key = keyOfBytes(Buffer.from("never stored"));
  expect((await fetchFile(alone, key)).status).toBe(503);
  cluster.node(1).start();
  await cluster.untilMet();
  expect((await fetchFile(alone, key)).status).toBe(404);
}, 60_000);

test("a restarted node keeps its UUID and the members that it ever met: one that is down still counts", async () => {
  cluster = await ProcessCluster.start(2, { CASK_REPLICATION: "1", CASK_UUID: "" });
  const [first, second] = cluster.nodes as [NodeProcess, NodeProcess];
  const before = (await first.status()).node;
  await Promise.all([first.kill(), second.kill()]);
  first.start({ CASK_NEIGHBORS: "" });
  await until("it listens", async () => (await fetch(`${first.url}/healthz`)).ok);
  const { node, members } = await first.status();
  expect([node.uuid, node.store]).toEqual([before.uuid, before.store]);
  expect(members.map(({ state }) => state)).toEqual(["dead"]);
  expect((await fetchFile(first, keyOfBytes(Buffer.from("never stored")))).status).toBe(503);
}, 60_000);

test("a wiped disk under a known UUID is told as one: that it lacks a blob says nothing", async () => {
  cluster = await ProcessCluster.start(3, { CASK_REPLICATION: "2" });
  const [first, second, third] = cluster.nodes as [NodeProcess, NodeProcess, NodeProcess];
  await third.kill(); // while one is missing, the wiped one can't find out all that it should hold
  const key = keyOfBytes(Buffer.from("never stored"));
  expect((await fetchFile(first, key)).status).toBe(404);
  await second.kill();
  await rm(second.root, { recursive: true });
  second.start();
  await until("it found out", async () => (await second.status()).node.incomplete);
  await cluster.untilMet([first, second]);
  expect((await fetchFile(first, key)).status).toBe(503);
  await second.kill();
  second.start();
  await until("it still knows after a restart", async () => (await second.status()).node.incomplete);
  third.start();
  await until("it has compared with all others", async () => !(await second.status()).node.incomplete, 30_000);
  expect((await fetchFile(first, key)).status).toBe(404);
}, 60_000);
