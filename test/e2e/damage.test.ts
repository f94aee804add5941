import { randomBytes } from "node:crypto";
import { copyFile, readdir, readFile, truncate, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { hexOf, type Key } from "../../src/core/key.ts";
import { fetchFile, type NodeProcess, ProcessCluster, post } from "../support/processes.ts";

/** Each damages a copy behind the node's back. */
const DAMAGES: Record<string, (path: string, other: string) => Promise<void>> = {
  flipped: async (path) => {
    const bytes = await readFile(path);
    const at = Math.floor(bytes.length / 2);
    bytes[at] = (bytes[at] as number) ^ 0x10;
    await writeFile(path, bytes);
  },
  cut: async (path) => truncate(path, Math.floor((await readFile(path)).length / 2)),
  emptied: async (path) => truncate(path, 0),
  lengthened: async (path) => writeFile(path, Buffer.concat([await readFile(path), Buffer.from("more")])),
  swapped: (path, other) => copyFile(other, path),
};

let cluster: ProcessCluster;
beforeAll(async () => {
  cluster = await ProcessCluster.start(3, { CASK_SEGMENT_THRESHOLD: "0" });
});
afterAll(() => cluster.stop());

async function pathOf(node: NodeProcess, key: string): Promise<string> {
  const name = hexOf(key as Key).slice(2);
  const path = (await node.storedFiles()).find((file) => basename(file) === name);
  if (!path) throw new Error(`${node.name} has no copy of ${key}`);
  return path;
}

/** The status and bytes of a complete answer; null when the connection was cut. */
async function complete(node: NodeProcess, key: string): Promise<{ status: number; bytes: Buffer } | null> {
  try {
    return await fetchFile(node, key);
  } catch (cut) {
    if (cut instanceof TypeError || (cut as Error).name === "TypeError") return null;
    throw cut;
  }
}

async function expectNeverWrong(node: NodeProcess, key: string, bytes: Buffer): Promise<void> {
  const answer = await complete(node, key);
  if (answer?.status === 200) expect(answer.bytes.equals(bytes)).toBe(true);
}

const SIZES = { small: 5_000, large: 3_000_000 };

describe.each(Object.keys(DAMAGES))("C4: a copy that was %s", (damage) => {
  test.each(Object.entries(SIZES))(
    "is never served, and goes to quarantine; the others are served (%s)",
    async (_name, size) => {
      const bytes = randomBytes(size);
      const { key } = await post(cluster.node(0), bytes);
      const other = await post(cluster.node(0), randomBytes(size));
      const [first, second, third] = cluster.nodes as [NodeProcess, NodeProcess, NodeProcess];
      await DAMAGES[damage]?.(await pathOf(first, key), await pathOf(first, other.key));
      await expectNeverWrong(first, key, bytes);
      for (const node of [second, third]) expect((await fetchFile(node, key)).bytes.equals(bytes)).toBe(true);
      // At the latest from the second try on it comes from the others, also at the node that had the damage.
      expect((await complete(first, key))?.bytes.equals(bytes)).toBe(true);
      const quarantined = await readdir(join(first.root, "quarantine"));
      expect(quarantined.some((name) => name.startsWith(hexOf(key as Key)))).toBe(true);
    },
  );

  test("C2: is mended by a re-upload, which is acknowledged only with whole copies", async () => {
    const bytes = randomBytes(4_000);
    const { key } = await post(cluster.node(1), bytes);
    const other = await post(cluster.node(1), randomBytes(4_000));
    for (const node of cluster.nodes) {
      await DAMAGES[damage]?.(await pathOf(node, key), await pathOf(node, other.key));
    }
    for (const node of cluster.nodes) await expectNeverWrong(node, key, bytes);
    expect(await post(cluster.node(2), bytes)).toMatchObject({ status: 200, success: true, copies: 3 });
    for (const node of cluster.nodes) {
      expect((await readFile(await pathOf(node, key))).equals(bytes)).toBe(true);
      expect((await fetchFile(node, key)).bytes.equals(bytes)).toBe(true);
    }
  });
});

test("all copies of a blob damaged: never 404, as it was acknowledged", async () => {
  const { key } = await post(cluster.node(0), Buffer.from("will be lost"));
  for (const node of cluster.nodes) await DAMAGES["emptied"]?.(await pathOf(node, key), "");
  for (let i = 0; i < 3; i++) {
    for (const node of cluster.nodes) expect((await complete(node, key))?.status).toBe(503);
  }
});

test("C4: a range of a damaged copy is not served either", async () => {
  const bytes = randomBytes(3_000_000);
  const { key } = await post(cluster.node(0), bytes);
  await DAMAGES["flipped"]?.(await pathOf(cluster.node(0), key), "");
  const answer = await fetch(`${cluster.node(0).url}/file/${key}/`, { headers: { range: "bytes=1499990-1500010" } });
  expect(answer.status).toBe(206);
  expect(Buffer.from(await answer.arrayBuffer()).equals(bytes.subarray(1_499_990, 1_500_011))).toBe(true);
});

describe("two files with one SHA-1", () => {
  const read = (name: string) => readFile(join("test/fixtures/sha1-collision", name));
  // Any equal suffix still collides: so each order has a pair, and a key, of its own.
  test.each([
    ["good.pdf", "bad.pdf", "1"],
    ["bad.pdf", "good.pdf", "2"],
  ])("%s first: %s is refused with 409, the first stays", async (firstName, secondName, suffix) => {
    const [first, second] = await Promise.all(
      [firstName, secondName].map(async (name) => Buffer.concat([await read(name), Buffer.from(suffix)])),
    );
    if (!first || !second) throw new Error("two files");
    const stored = await post(cluster.node(0), first);
    expect(stored).toMatchObject({ status: 200, success: true });
    for (const node of cluster.nodes) {
      expect(await post(node, second)).toMatchObject({ status: 409, error: { code: "KEY_COLLISION" } });
      expect((await fetchFile(node, stored.key)).bytes.equals(first)).toBe(true);
      expect(await post(node, first)).toMatchObject({ status: 200, success: true });
    }
  });
});
