import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  fetchFile,
  NodeProcess,
  type NodeSettings,
  ProcessCluster,
  post,
  SECRET,
  until,
} from "../support/processes.ts";

let cluster: ProcessCluster;
const others: NodeProcess[] = [];
afterEach(async () => {
  await Promise.all(others.splice(0).map((node) => node.kill()));
  await cluster.stop();
});

function more(like: NodeProcess, settings: NodeSettings): NodeProcess {
  const node = new NodeProcess("another", { ...like.settings, ...settings });
  others.push(node);
  node.start();
  return node;
}

test("a second process on the same data folder is refused, and says why; the first goes on", async () => {
  cluster = await ProcessCluster.start(1);
  const second = more(cluster.node(0), { CASK_PORT: "0", CASK_UUID: "second" });
  expect(await second.ended()).toBe(1);
  expect(second.output).toContain("another process uses the data folder");
  expect((await post(cluster.node(0), Buffer.from("still here"))).success).toBe(true);
});

test("C24: a process with a live node's UUID is refused: it ends with code 3 and says why; the cluster goes on", async () => {
  cluster = await ProcessCluster.start(2);
  const folder = await mkdtemp(join(tmpdir(), "cask-twin-"));
  try {
    const twin = more(cluster.node(1), {
      CASK_PORT: "0",
      CASK_GOSSIP_PORT: "0",
      CASK_BASE_URL: "http://127.0.0.1:1",
      CASK_NEIGHBORS: cluster.node(0).url,
      CASK_DISK_BACKEND_ROOT: folder,
    });
    expect(await twin.ended()).toBe(3);
    expect(twin.output).toMatch(/node1.*CASK_UUID/);
  } finally {
    await rm(folder, { recursive: true });
  }
  await cluster.untilMet();
  expect((await cluster.node(1).status()).node.writeable).toBe(true);
});

test("C27: POST /join/ brings a node into a running cluster, by a form or by JSON, with the secret alone", async () => {
  cluster = await ProcessCluster.prepare(3, { CASK_NEIGHBORS: "", CASK_REPLICATION: "3" });
  for (const node of cluster.nodes) node.start();
  const [first, second, third] = cluster.nodes as [NodeProcess, NodeProcess, NodeProcess];
  for (const node of cluster.nodes) await until("it listens", async () => (await fetch(`${node.url}/healthz`)).ok);
  const join = (url: string, secret: string) =>
    fetch(`${first.url}/join/`, { method: "POST", body: new URLSearchParams({ url, secret }) });
  expect((await join(second.url, "wrong secret")).status).toBe(403);
  expect((await join("no url", SECRET)).status).toBe(400);
  expect((await join("http://127.0.0.1:1", SECRET)).status).toBe(503);
  expect((await join(first.url, SECRET)).status).toBe(400);
  const joined = await join(second.url, SECRET);
  expect([joined.status, await joined.text()]).toEqual([200, `joined ${second.url}\n`]);
  const byJson = await fetch(`${third.url}/join/`, {
    method: "POST",
    headers: { "content-type": "application/json", "x-cask-cluster-secret": SECRET },
    body: JSON.stringify({ url: first.url }),
  });
  expect(byJson.status).toBe(200);
  await cluster.untilMet();
  expect(await post(third, Buffer.from("in three copies"))).toMatchObject({ success: true, copies: 3 });
});

test("a member that never returns is forgotten on an operator's word, a live one is not", async () => {
  cluster = await ProcessCluster.start(3, { CASK_REPLICATION: "1" });
  const [first, second, third] = cluster.nodes as [NodeProcess, NodeProcess, NodeProcess];
  const forget = (node: NodeProcess, uuid: string) =>
    fetch(`${node.url}/forget/`, { method: "POST", body: new URLSearchParams({ uuid, secret: SECRET }) });
  expect((await forget(first, "node2")).status).toBe(400);
  expect((await forget(first, "nobody")).status).toBe(400);
  await third.kill();
  const absent = `sha1:${"0".repeat(40)}`;
  expect((await fetchFile(first, absent)).status).toBe(503);
  for (const node of [first, second]) {
    await until("it is dead", async () => (await node.status()).members.some(({ state }) => state === "dead"));
  }
  const answer = await forget(first, "node2");
  expect([answer.status, await answer.text()]).toEqual([200, "forgotten node2 on 2 nodes\n"]);
  for (const [node, other] of [
    [first, "node1"],
    [second, "node0"],
  ] as const) {
    await until("404 is certain again", async () => (await fetchFile(node, absent)).status === 404);
    expect((await node.status()).members.map(({ uuid }) => uuid)).toEqual([other]);
  }
  // Not brought back by a node that starts anew and meets the others, nor by a restart of one that forgot it.
  await second.stop();
  second.start();
  await cluster.untilMet([first, second]);
  expect((await second.status()).members.map(({ uuid }) => uuid)).toEqual(["node0"]);
  // But by itself.
  third.start();
  await cluster.untilMet();
});

test("wrong settings: exit code 2, every problem named, nothing opened", async () => {
  cluster = await ProcessCluster.prepare(1, {
    CASK_PORT: "many",
    CASK_REPLICATION: "5",
    CASK_MAX_REPLICATION: "2",
    CASK_CLUSTER_SECRET: "short",
    CASK_LOG_LEVEL: "loud",
  });
  const node = cluster.node(0);
  node.start();
  expect(await node.ended()).toBe(2);
  for (const name of ["CASK_PORT", "CASK_CLUSTER_SECRET", "CASK_LOG_LEVEL"]) expect(node.output).toContain(name);
  expect(node.output).not.toContain('short"');
  await expect(readdir(node.root)).rejects.toMatchObject({ code: "ENOENT" });
});

test("a port that is taken: exit code 1, and what to set", async () => {
  cluster = await ProcessCluster.start(1);
  const folder = await mkdtemp(join(tmpdir(), "cask-port-"));
  try {
    const second = more(cluster.node(0), { CASK_DISK_BACKEND_ROOT: folder, CASK_GOSSIP_PORT: "0" });
    expect(await second.ended()).toBe(1);
    expect(second.output).toContain("set CASK_PORT");
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("C12: CASK_WRITEABLE=false: takes no blobs, serves those it has", async () => {
  cluster = await ProcessCluster.start(1);
  const node = cluster.node(0);
  const { key } = await post(node, Buffer.from("stored before"));
  await node.stop();
  node.start({ CASK_WRITEABLE: "false" });
  await until("it listens", async () => (await fetch(`${node.url}/healthz`)).ok);
  const answer = await fetch(`${node.url}/`, { method: "POST", body: "new", headers: { accept: "application/json" } });
  expect(answer.status).toBe(503);
  expect(await answer.json()).toMatchObject({ error: { code: "READ_ONLY" } });
  expect((await fetchFile(node, key)).status).toBe(200);
  expect((await node.status()).node.read_only_because).toBe("CASK_WRITEABLE is false");
});

test("C11: a node that starts below CASK_KEEP_FREE says so and what to set, and answers 507", async () => {
  cluster = await ProcessCluster.prepare(1, { CASK_KEEP_FREE: "1000TiB" });
  const node = cluster.node(0);
  node.start();
  await until("it listens", async () => (await fetch(`${node.url}/healthz`)).ok);
  expect(node.output).toMatch(/CASK_KEEP_FREE.*set CASK_KEEP_FREE lower/);
  const answer = await fetch(`${node.url}/`, { method: "POST", body: "new", headers: { accept: "application/json" } });
  expect(answer.status).toBe(507);
  expect(await answer.json()).toMatchObject({ error: { code: "NO_SPACE" } });
});
