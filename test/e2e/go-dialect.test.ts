import { keyOfBytes } from "../../src/core/key.ts";
import { fetchFile, type NodeProcess, ProcessCluster, SECRET } from "../support/processes.ts";

/** What a Go Cask node or client sends, as it is: the plain secret, multipart, no UUID that it means, HEAD before GET. */
let cluster: ProcessCluster;
let node: NodeProcess;
beforeAll(async () => {
  cluster = await ProcessCluster.start(1, { CASK_CLUSTER_SECRET: SECRET });
  node = cluster.node(0);
});
afterAll(() => cluster.stop());

const BYTES = Buffer.from("sent by a Go node");
const KEY = keyOfBytes(BYTES);
const headers = { "x-cask-cluster-secret": SECRET };

function local(path: string, init: RequestInit = {}): Promise<Response> {
  return fetch(`${node.url}/local/${path}`, { ...init, headers });
}

test("POST /local/ stores the field file on this node and answers the key as text", async () => {
  const body = new FormData();
  body.append("file", new Blob([BYTES]), "file");
  const answer = await local("", { method: "POST", body });
  expect([answer.status, await answer.text()]).toEqual([200, KEY]);
  expect((await fetchFile(node, KEY)).bytes.equals(BYTES)).toBe(true);
});

test("HEAD and GET /local/<key>/ tell whether this node has it", async () => {
  expect((await local(`${KEY}/`, { method: "HEAD" })).status).toBe(200);
  expect(Buffer.from(await (await local(`${KEY}/`)).arrayBuffer()).equals(BYTES)).toBe(true);
  const absent = keyOfBytes(Buffer.from("never sent"));
  for (const method of ["HEAD", "GET"]) expect((await local(`${absent}/`, { method })).status).toBe(404);
});

test("POST /heartbeat/ takes its JSON, which lacks our additions, and changes nothing: who lives is gossip's to say", async () => {
  const theirs = { uuid: "go-node", base_url: "http://127.0.0.1:1", writeable: true, neighbors: [] };
  const answer = await fetch(`${node.url}/heartbeat/`, { method: "POST", headers, body: JSON.stringify(theirs) });
  expect(await answer.json()).toMatchObject({ uuid: "node0", base_url: node.url, writeable: true });
  expect((await node.status()).members).toEqual([]);
});
