/**
 * `npm run partition-cluster [-- --seconds=30]`: five real nodes, each in a network namespace of its own (root, iptables), cut into two and three, with
 * writes on both sides. Afterwards everything must be where it belongs, by itself, within 60 s. Ends with code 1 if not.
 */
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import type { Key } from "../src/core/key.ts";
import { Ring } from "../src/placement/ring.ts";
import { Namespaces, whyNoNamespaces } from "../test/support/namespaces.ts";
import { NodeProcess, post, SECRET, until } from "../test/support/processes.ts";

const { values } = parseArgs({ options: { seconds: { type: "string", default: "30" } } });
const reason = whyNoNamespaces();
if (reason) throw new Error(`partition-cluster: ${reason}`);
const COUNT = 5;
const COPIES = 2;
const spaces = Namespaces.make(COUNT);
const folder = await mkdtemp(path.join(tmpdir(), "cask-partition-"));
const nodes = Array.from({ length: COUNT }, (_, i) => nodeAt(i));
const keys: Key[] = [];
let refused = 0;
try {
  for (const node of nodes) node.start();
  await until("all have met", () => allMet(), 30_000);
  await write(40);
  spaces.partition([0, 1], [2, 3, 4]);
  const begun = performance.now();
  console.log(`cut into node0 node1 | node2 node3 node4 for ${values.seconds} s`);
  while (performance.now() - begun < Number(values.seconds) * 1_000) {
    await write(5);
    await sleep(1_000);
  }
  const lacked = await missing();
  if (lacked === 0) throw new Error("no owner lacks a copy: there is nothing to heal");
  spaces.heal();
  const healed = performance.now();
  await until("all have met again", () => allMet(), 60_000);
  const met = (performance.now() - healed) / 1_000;
  await until("everything is where it belongs", async () => (await missing()) === 0, 120_000);
  const placed = (performance.now() - healed) / 1_000;
  console.log(
    `${keys.length} blobs acknowledged, ${refused} not; owners lacked ${lacked} copies; all have met after ${met.toFixed(1)} s, all is in place after ${placed.toFixed(1)} s`,
  );
  if (placed > 60) process.exitCode = 1;
} finally {
  await Promise.all(nodes.map((node) => node.kill().catch(() => undefined)));
  spaces.remove();
  await rm(folder, { recursive: true, force: true });
}

function nodeAt(i: number): NodeProcess {
  const url = `http://${spaces.address(i)}:8080`;
  const others = Array.from({ length: COUNT }, (_, j) => j).filter((j) => j !== i);
  const settings = {
    CASK_PORT: "8080",
    CASK_HOST: spaces.address(i),
    CASK_BASE_URL: url,
    CASK_UUID: `node${i}`,
    CASK_DISK_BACKEND_ROOT: path.join(folder, `node${i}`),
    CASK_NEIGHBORS: others.map((j) => `http://${spaces.address(j)}:8080`).join(","),
    CASK_CLUSTER_SECRET: SECRET,
    CASK_REPLICATION: String(COPIES),
    CASK_MAX_REPLICATION: "3",
    CASK_KEEP_FREE: "1MiB",
  };
  return new NodeProcess(`node${i}`, settings, spaces.prefix(i));
}

async function allMet(): Promise<boolean> {
  const all = await Promise.all(nodes.map((node) => node.status()));
  return all.every(({ members }) => members.filter(({ state }) => state === "alive").length === COUNT - 1);
}

/** At all nodes in turn. */
async function write(count: number): Promise<void> {
  const work = Array.from({ length: count }, async (_, i) => {
    const stored = await post(nodes[i % COUNT] as NodeProcess, randomBytes(10_000));
    if (stored.success) keys.push(stored.key as Key);
    else refused++;
  });
  await Promise.all(work);
}

/** Copies that owners lack. */
async function missing(): Promise<number> {
  const ring = new Ring(nodes.map(({ name }) => ({ uuid: name, points: 128 })));
  const held = new Map<string, Set<Key>>();
  for (const node of nodes) {
    held.set(node.name, await node.copies.keys());
  }
  return keys.reduce((sum, key) => {
    const owners = ring.order(key).slice(0, COPIES);
    return sum + owners.filter((owner) => !held.get(owner)?.has(key)).length;
  }, 0);
}
