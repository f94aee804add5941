import { readdir } from "node:fs/promises";
import path from "node:path";
import { hexOf, isKey, type Key } from "../../src/core/key.ts";
import { S3Layout } from "../../src/storage/s3-layout.ts";
import { HEAL_MS, type HealingCluster, healsDamage } from "../conformance/healing.ts";
import { filePlace } from "../support/copy-places.ts";
import { type NodeProcess, ProcessCluster, until } from "../support/processes.ts";
import { BEST_S3, objectNames, putObject, type S3Server, s3Settings } from "../support/s3-server.ts";

let server: S3Server;
let cluster: ProcessCluster;
/** Two of the nodes have their blobs in one bucket, each below a prefix of its own; the last has files. */
const layouts = new Map<NodeProcess, S3Layout>();
beforeAll(async () => {
  server = await BEST_S3.start();
  cluster = await ProcessCluster.prepare(3, {
    CASK_REPLICATION: "3",
    CASK_MAX_REPLICATION: "3",
    CASK_TRIM_GRACE: "2",
    CASK_SEGMENT_THRESHOLD: "0",
    CASK_RECONCILE_INTERVAL: "2",
    CASK_SCRUB_RATE: "200MB",
  });
  for (const node of cluster.nodes.slice(0, 2)) {
    const prefix = `damaged/${node.name}`;
    layouts.set(node, new S3Layout(prefix));
    node.start({ ...s3Settings(server.url), CASK_STATE_DIR: node.root, CASK_S3_PREFIX: prefix });
  }
  cluster.node(2).start();
  await cluster.untilMet();
}, 60_000);
afterAll(async () => {
  await cluster.stop();
  await server.stop();
});

function fileOf(node: NodeProcess, key: Key): string {
  const hex = hexOf(key);
  return path.join(node.root, "sha1", hex.slice(0, 2), hex.slice(2));
}

function made(): HealingCluster {
  return {
    cluster,
    copyOf: (node, key) => {
      const layout = layouts.get(node);
      return layout ? server.place(layout.blob(key)) : filePlace(fileOf(node, key));
    },
    isQuarantined: async (node, key) => {
      const layout = layouts.get(node);
      const names = layout
        ? (await objectNames(server.client, layout.quarantine)).map((name) => name.slice(layout.quarantine.length))
        : await readdir(path.join(node.root, "quarantine"));
      return names.some((name) => name.startsWith(hexOf(key)));
    },
    copiesOn: async (node) => {
      const layout = layouts.get(node);
      const names = layout
        ? (await objectNames(server.client, layout.blobs)).map((name) => layout.keyOf(name))
        : (await node.storedFiles()).map((file) => `sha1:${path.basename(path.dirname(file))}${path.basename(file)}`);
      return names
        .filter((key): key is Key => key !== null && isKey(key))
        .map((key) => [key, made().copyOf(node, key)]);
    },
  };
}

healsDamage(made);

test("foreign objects are left alone, counted, and no obstacle", async () => {
  const [node] = cluster.nodes as [NodeProcess];
  const blobs = layouts.get(node)?.blobs ?? "";
  const strange = [`${blobs}not a blob`, `${blobs}${"f".repeat(41)}`, `${blobs}ab/${"c".repeat(38)}`];
  for (const name of strange) await putObject(server.client, name, Buffer.from("mine"));
  type Told = { s3: { foreign_objects: number }; repair: { scrub: { passes: number } } };
  const before = (await node.json<Told>("/status/")).repair.scrub.passes;
  const told = async () => node.json<Told>("/status/");
  await until("a pass went over them", async () => (await told()).repair.scrub.passes > before + 1, HEAL_MS);
  expect((await told()).s3.foreign_objects).toBe(strange.length);
  for (const name of strange) expect((await server.place(name).read())?.toString()).toBe("mine");
}, 90_000);
