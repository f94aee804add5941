import { randomBytes } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { fetchFile, type NodeProcess, ProcessCluster, post, SECRET, until } from "../support/processes.ts";

interface CacheStatus {
  readonly cache: { readonly blobs: number; readonly hits: number; readonly misses: number };
}

let cluster: ProcessCluster;
let node: NodeProcess;
beforeAll(async () => {
  const settings = { CASK_CACHE_BYTES: "1MiB", CASK_SEGMENT_THRESHOLD: "0", CASK_CLUSTER_SECRET: SECRET };
  cluster = await ProcessCluster.start(1, settings);
  node = cluster.node(0);
});
afterAll(() => cluster.stop());

const HEADS: Record<string, RequestInit> = {
  GET: {},
  HEAD: { method: "HEAD" },
  "GET of a range": { headers: { range: "bytes=3-9" } },
  "GET of a range behind the end": { headers: { range: "bytes=30000-" } },
  "GET with another entity tag": { headers: { "if-none-match": '"other"' } },
  "GET without the secret": { headers: { "x-cask-cluster-secret": "" } },
  "GET meant for another node": { headers: { "x-cask-node": "other" } },
  DELETE: { method: "DELETE" },
};

async function answerTo(path: string, init: RequestInit) {
  const headers = { "x-cask-cluster-secret": SECRET, ...init.headers };
  const answer = await fetch(node.url + path, { ...init, headers });
  // Express's errors can come before the parser has seen the end of the request: then the connection is closed.
  const kept = [...answer.headers].filter(([name]) => !["date", "connection", "keep-alive"].includes(name));
  return { status: answer.status, headers: kept, bytes: Buffer.from(await answer.arrayBuffer()) };
}

describe.each(["file", "local"])("what goes past express is answered as by express: /%s/", (door) => {
  test.each(Object.entries(HEADS))("%s", async (_name, init) => {
    for (const bytes of [randomBytes(1_000), null]) {
      const key = bytes ? (await post(node, bytes)).key : `sha1:${"0".repeat(40)}`;
      const fast = await answerTo(`/${door}/${key}/`, init);
      const slow = await answerTo(`/${door}/${key.replace(":", "%3A")}/`, init);
      expect({ ...fast, bytes: fast.bytes.toString() }).toEqual({
        ...slow,
        // the message of a wrong method shows the path
        bytes: slow.bytes.toString().replace("%3A", ":"),
        headers: slow.headers.map(([name, value]) =>
          name === "content-length" && init.method === "DELETE" ? [name, String(Number(value) - 2)] : [name, value],
        ),
      });
    }
  });
});

test.each(["batch", "fetch"])("POST /local/%s/ past express wants the secret as well", async (door) => {
  for (const spelling of [`/local/${door}/`, `/local/${door}`]) {
    const post = (secret: string) =>
      fetch(node.url + spelling, { method: "POST", headers: { "x-cask-cluster-secret": secret }, body: "x" });
    expect([(await post("")).status, (await post(SECRET)).status]).toEqual([403, 400]);
  }
});

test("a blob in memory is served without its copy, and says nothing of that copy", async () => {
  const bytes = randomBytes(2_000);
  const { key } = await post(node, bytes);
  const [path] = (await node.storedFiles()).filter((file) => file.endsWith(key.slice(7))) as [string];
  const flipped = await readFile(path);
  flipped[7] = (flipped[7] as number) ^ 1;
  await writeFile(path, flipped);
  expect((await fetchFile(node, key)).bytes.equals(bytes)).toBe(true);
  expect((await answerTo(`/local/${key}/`, {})).status).not.toBe(200); // a copy is what this door is about
  await until("the damage was found", async () => (await answerTo(`/file/${key}/`, { method: "HEAD" })).status === 503);
  expect((await fetchFile(node, key)).bytes.equals(bytes)).toBe(true);
  const { cache } = (await node.status()) as unknown as CacheStatus;
  expect(cache.hits).toBeGreaterThanOrEqual(2);
  expect(await (await fetch(`${node.url}/metrics`)).text()).toMatch(/^cask_cache_hits [1-9]/m);
});
