import { rm } from "node:fs/promises";
import { DeleteObjectCommand } from "@aws-sdk/client-s3";
import { fetchFile, type NodeProcess, ProcessCluster, post, type Status, until } from "../support/processes.ts";
import { S3Proxy } from "../support/s3-proxy.ts";
import { BEST_S3, BUCKET, objectNames, type S3Server, s3Settings } from "../support/s3-server.ts";
import { bytesOf } from "../support/store-blob.ts";

const MIB = 1 << 20;
const QUICK = { CASK_RECONCILE_INTERVAL: "1", CASK_REPAIR_GRACE: "0" };

let server: S3Server;
beforeAll(async () => {
  server = await BEST_S3.start();
});
afterAll(() => server.stop());

type S3Status = Status & {
  readonly s3: { readonly requests: Record<string, number>; readonly scrub_pass: object | null } | null;
  readonly repair: { readonly inventory: { readonly keys: number | null } };
};

async function keysOf(node: NodeProcess): Promise<number | null> {
  return ((await node.status()) as S3Status).repair.inventory.keys;
}

test("two disk nodes and an S3 node hold each other's copies; each kind is wiped in turn, and all heals", async () => {
  const cluster = await ProcessCluster.prepare(3, QUICK);
  const [disk, other, inS3] = cluster.nodes as [NodeProcess, NodeProcess, NodeProcess];
  const s3 = { ...s3Settings(server.url), CASK_STATE_DIR: inS3.root, CASK_S3_PREFIX: "mixed/node2" };
  try {
    disk.start();
    other.start();
    inS3.start(s3);
    await cluster.untilMet();
    const blobs = [0, 1, 1000, MIB, 9 * MIB, ...Array.from({ length: 25 }, (_, i) => 2_000 + i)].map((size, i) =>
      bytesOf(size, i + 1),
    );
    const keys: string[] = [];
    for (const [i, bytes] of blobs.entries()) {
      const { status, success, copies, key } = await post(cluster.node(i % 3), bytes);
      expect({ status, success, copies }).toEqual({ status: 200, success: true, copies: 3 });
      keys.push(key);
    }
    const holdsAll = (node: NodeProcess) => async () => (await keysOf(node)) === keys.length;
    const everywhere = async () => {
      for (const [i, key] of keys.entries()) {
        for (const node of cluster.nodes) {
          const { status, bytes } = await fetchFile(node, key);
          expect({ status, same: bytes.equals(blobs[i] as Buffer) }).toEqual({ status: 200, same: true });
        }
      }
    };
    await everywhere();

    await disk.kill();
    await rm(disk.root, { recursive: true });
    disk.start();
    await until("the wiped disk node holds all again", holdsAll(disk), 60_000);

    await inS3.kill();
    for (const name of await objectNames(server.client, "mixed/node2/"))
      await server.client.send(new DeleteObjectCommand({ Bucket: BUCKET, Key: name }));
    inS3.start(s3);
    await until("the wiped S3 node holds all again", holdsAll(inS3), 60_000);
    await cluster.untilMet();
    await everywhere();
    expect(await objectNames(server.client, "mixed/node2/blobs/")).toHaveLength(keys.length);
    const status = (await inS3.status()) as S3Status;
    expect(status.s3?.requests).toMatchObject({ write: expect.any(Number), list: expect.any(Number) });
    expect(((await disk.status()) as S3Status).s3).toBeNull();
    expect(await (await fetch(`${inS3.url}/metrics`)).text()).toMatch(/cask_s3_requests\{kind="write"\} [1-9]/);
    for (const node of cluster.nodes) expect(node.output).not.toContain("hunter22");
    expect(inS3.output).not.toContain("access-key");
  } finally {
    await cluster.stop();
  }
}, 150_000);

test("a node that is killed in the middle of an upload in parts: nothing is visible, and its next start removes the parts", async () => {
  const proxy = await S3Proxy.start(server.url);
  const cluster = await ProcessCluster.prepare(1);
  const node = cluster.node(0);
  const settings = { ...s3Settings(proxy.url), CASK_STATE_DIR: node.root, CASK_S3_PREFIX: "killed" };
  try {
    node.start(settings);
    await cluster.untilMet();
    let parts = 0;
    proxy.fault = ({ method, url }) => {
      if (method !== "PUT" || !url?.includes("partNumber=")) return undefined;
      parts++;
      return parts > 1 ? { kind: "delay", ms: 2_000 } : undefined;
    };
    const bytes = bytesOf(20 * MIB, 3);
    const uploading = post(node, bytes).catch(() => null);
    await until("parts are on their way", async () => parts > 1);
    await node.kill();
    expect(await uploading).toBeNull();
    proxy.fault = () => undefined;
    expect(await objectNames(server.client, "killed/blobs/")).toEqual([]);
    await proxy.settled();

    node.start(settings); // at once: its claim is its own
    await cluster.untilMet();
    expect(node.output).toMatch(/removed what 1 uploads of a former life/);
    expect(await objectNames(server.client, "killed/blobs/")).toEqual([]);
    expect(await node.staged()).toEqual([]);
    const { success, key } = await post(node, bytes);
    expect(success).toBe(true);
    expect((await fetchFile(node, key)).bytes.equals(bytes)).toBe(true);
    expect(await node.stop()).toBe(0);
  } finally {
    await cluster.stop();
    await proxy.stop();
  }
}, 60_000);

test("C14: a second node on the prefix of another ends with a message that names it; wrong settings are told in their words", async () => {
  const cluster = await ProcessCluster.prepare(3);
  const [first, second, third] = cluster.nodes as [NodeProcess, NodeProcess, NodeProcess];
  const shared = { ...s3Settings(server.url), CASK_S3_PREFIX: "shared" };
  try {
    first.start({ ...shared, CASK_STATE_DIR: first.root });
    await until("the first serves", async () => (await fetch(`${first.url}/healthz`)).ok);
    second.start({ ...shared, CASK_STATE_DIR: second.root });
    expect(await second.ended()).toBe(1);
    expect(second.output).toContain(
      'the prefix "shared" of the bucket blobs belongs to node node0, and this is node node1',
    );
    third.start({ ...shared, CASK_STATE_DIR: third.root, CASK_S3_BUCKET: "nowhere" });
    expect(await third.ended()).toBe(1);
    expect(third.output).toContain("can't use the bucket nowhere");
  } finally {
    await cluster.stop();
  }
}, 60_000);
