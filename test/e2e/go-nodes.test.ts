import { type Key, keyOfBytes } from "../../src/core/key.ts";
import { FakeGoNode } from "../support/fake-go-node.ts";
import { MemberlistPeer, whyNoMemberlist } from "../support/memberlist-peer.ts";
import { fetchFile, type NodeProcess, ProcessCluster, post, SECRET, until } from "../support/processes.ts";
import { bytesOf } from "../support/store-blob.ts";

const reason = whyNoMemberlist();
if (reason) console.log(`go-nodes.test: skipped, ${reason}`);
const withGo = reason ? describe.skip : describe;

/** A node of ours beside one that gossips as Go's memberlist does, and answers over HTTP as a Go Cask node does. */
withGo("beside a Go Cask node", () => {
  let cluster: ProcessCluster;
  let ours: NodeProcess;
  let gossip: MemberlistPeer;
  let go: FakeGoNode;

  beforeAll(async () => {
    go = await FakeGoNode.start(SECRET);
    cluster = await ProcessCluster.prepare(1, {
      CASK_GOSSIP_ENCRYPTION: "false",
      CASK_VNODES: "16",
      CASK_CLUSTER_SECRET: SECRET,
      CASK_REPLICATION: "2",
      CASK_MAX_REPLICATION: "2",
      CASK_TRIM_GRACE: "0",
      CASK_SCRUB_RATE: "1GB",
    });
    ours = cluster.node(0);
    const meta = JSON.stringify({ uuid: "go-1", base_url: go.url, writeable: true, secret: SECRET, neighbors: null });
    gossip = await MemberlistPeer.start({ name: "go-1", profile: "local", meta });
    ours.start({ CASK_NEIGHBORS: gossip.address as string });
    await until("it has met the Go node", async () =>
      (await ours.status()).members.some(({ state }) => state === "alive"),
    );
  }, 30_000);
  afterAll(async () => {
    await gossip.kill();
    await cluster.stop();
    await go.stop();
  });

  test.each([0, 20, 100_000, 3_000_000])(
    "an upload of %i bytes has a copy on each; it is told the secret itself",
    async (sizeBytes) => {
      const bytes = bytesOf(sizeBytes, 8);
      const { key, ...stored } = await post(ours, bytes);
      expect(stored).toMatchObject({ status: 200, success: true, copies: 2 });
      expect(go.blobs.get(key)?.equals(bytes)).toBe(true);
      expect(go.requests.at(-1)?.headers["x-cask-cluster-secret"]).toBe(SECRET);
    },
  );

  test.each([1_000, 50_000, 2_000_000])("what only the Go node holds is served, %i bytes", async (sizeBytes) => {
    const bytes = bytesOf(sizeBytes, 9);
    const key = keyOfBytes(bytes);
    go.blobs.set(key, bytes);
    const head = await fetch(`${ours.url}/file/${key}/`, { method: "HEAD" });
    expect([head.status, head.headers.get("content-length")]).toEqual([200, String(sizeBytes)]);
    const part = await fetch(`${ours.url}/file/${key}/`, { headers: { range: "bytes=10-19" } });
    expect(Buffer.from(await part.arrayBuffer()).equals(bytes.subarray(10, 20))).toBe(true);
    expect((await fetchFile(ours, key)).bytes.equals(bytes)).toBe(true);
  });

  test("what nobody has is 404, and 503 while the Go node can't be asked", async () => {
    const absent = keyOfBytes(Buffer.from("never sent"));
    expect((await fetchFile(ours, absent)).status).toBe(404);
    go.override = (_req, res) => void res.writeHead(500).end();
    expect((await fetchFile(ours, absent)).status).toBe(503);
    go.override = undefined;
  });

  test("C21: a copy that it has lost is found by the scrub and sent again; ours is never trimmed on its word", async () => {
    const { key } = await post(ours, Buffer.from("lost by the Go node"));
    go.blobs.delete(key);
    await until("it has it again", async () => go.blobs.has(key), 30_000);
    const [copy] = await ours
      .json<{ copies: { state: string }[] }>(`/file/${key as Key}/copies/`)
      .then(({ copies }) => copies);
    expect(copy?.state).toBe("present");
    const { trim } = (
      await ours.json<{ repair: { trim: { deleted: number; blockedBecause: string | null } } }>("/status/")
    ).repair;
    expect(trim).toMatchObject({ deleted: 0, blockedBecause: null });
  }, 40_000);

  test("this node can't be emptied: nobody could vouch", async () => {
    const drain = await fetch(`${ours.url}/drain/`, { method: "POST", body: new URLSearchParams({ secret: SECRET }) });
    expect([drain.status, await drain.text()]).toEqual([400, expect.stringContaining("Go Cask node")]);
  });
});
