/**
 * `npm run heal-cluster [-- --blobs=20000]`: four real nodes, three copies of each blob. One disk is replaced by an empty one, then a fifth node joins:
 * how fast all is whole again, what it moves, and what clients notice meanwhile. Ends with code 1 if anything is missing or too much.
 */
import { randomBytes } from "node:crypto";
import { rm } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import type { Key } from "../src/core/key.ts";
import { Ring } from "../src/placement/ring.ts";
import { type NodeProcess, ProcessCluster, post } from "../test/support/processes.ts";

const { values } = parseArgs({
  options: { blobs: { type: "string", default: "20000" }, median: { type: "string", default: "16384" } },
});
const COUNT = Number(values.blobs);
const COPIES = 3;
const POINTS = 128;
const sizes = new Map<Key, number>();

const cluster = await ProcessCluster.prepare(5, {
  CASK_REPLICATION: String(COPIES),
  CASK_MAX_REPLICATION: String(COPIES),
  CASK_TRIM_GRACE: "10",
  CASK_RECONCILE_INTERVAL: "5",
  CASK_GOSSIP_PROFILE: "lan",
});
const [wiped, fifth] = [cluster.node(1), cluster.node(4)];
const four = cluster.nodes.slice(0, 4);
let faults = 0;
try {
  for (const node of four) node.start();
  await cluster.untilMet(four);
  await store(four);
  await report("stored", four);
  console.log(`foreground GET, quiet: ${await latency(four, 5_000)}`);

  await wiped.kill();
  const lost = await bytesOn(wiped);
  await rm(wiped.root, { recursive: true });
  wiped.start();
  const during = latency([four[0] as NodeProcess, four[2] as NodeProcess, four[3] as NodeProcess], 15_000);
  const healed = await timeUntil(async () => (await copies(four)).fewest >= COPIES, 600_000);
  console.log(
    `disk replaced: ${lost.count} blobs, ${mb(lost.bytes)} MB lost; whole again after ${healed.toFixed(1)} s ` +
      `(${Math.round(lost.count / healed)} blobs/s, ${(lost.bytes / healed / 1e6).toFixed(1)} MB/s)`,
  );
  console.log(`foreground GET, meanwhile: ${await during}`);
  await report("healed", four);

  const sentBefore = await sentBytes(four);
  fifth.start();
  await cluster.untilMet(cluster.nodes);
  const least = leastBytes(cluster.nodes, fifth);
  const watched = watchFewest(cluster.nodes);
  const placed = await timeUntil(
    async () => (await copies(cluster.nodes)).surplus === 0 && (await isPlaced(fifth)),
    600_000,
  );
  const fewest = await watched.stop();
  const moved = (await sentBytes(four)) + (await sentBytes([fifth])) - sentBefore;
  console.log(
    `a fifth node joined: in place after ${placed.toFixed(1)} s, ${mb(moved)} MB sent, ${mb(least)} MB is the least: ${(moved / least).toFixed(2)} times`,
  );
  console.log(`fewest copies of any blob at any look: ${fewest}`);
  if (fewest < COPIES || moved > 1.3 * least) faults++;
  await report("joined", cluster.nodes);
  faults += await verifyAll(cluster.nodes);
} finally {
  await cluster.stop();
}
console.log(faults === 0 ? "no faults" : `${faults} FAULTS`);
process.exitCode = faults === 0 ? 0 : 1;

async function store(nodes: readonly NodeProcess[]): Promise<void> {
  const begun = performance.now();
  let next = 0;
  const work = async () => {
    while (next < COUNT) {
      const node = nodes[next++ % nodes.length] as NodeProcess;
      // Log-normal: half of them below the median, a few many times larger.
      const normal = Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
      const bytes = randomBytes(Math.max(1, Math.round(Number(values.median) * Math.exp(normal))));
      const stored = await post(node, bytes);
      if (stored.status !== 200) throw new Error(`upload answered ${stored.status}`);
      sizes.set(stored.key as Key, bytes.length);
    }
  };
  await Promise.all(Array.from({ length: 16 }, work));
  const seconds = (performance.now() - begun) / 1_000;
  const total = [...sizes.values()].reduce((sum, size) => sum + size, 0);
  console.log(`${COUNT} blobs, ${mb(total)} MB, stored in ${seconds.toFixed(1)} s`);
}

async function copies(nodes: readonly NodeProcess[]): Promise<{ fewest: number; surplus: number; total: number }> {
  const counts = new Map<Key, number>();
  for (const node of nodes) for (const key of await node.copies.keys()) counts.set(key, (counts.get(key) ?? 0) + 1);
  let fewest = Number.POSITIVE_INFINITY;
  let [surplus, total] = [0, 0];
  for (const key of sizes.keys()) {
    const count = counts.get(key) ?? 0;
    fewest = Math.min(fewest, count);
    surplus += Math.max(0, count - COPIES);
    total += count;
  }
  return { fewest, surplus, total };
}

async function report(what: string, nodes: readonly NodeProcess[]): Promise<void> {
  const { fewest, surplus, total } = await copies(nodes);
  console.log(`${what}: ${total} copies, ${fewest} of the rarest blob, ${surplus} surplus`);
  if (fewest < COPIES) faults++;
}

async function bytesOn(node: NodeProcess): Promise<{ count: number; bytes: number }> {
  const held = await node.copies.sizes();
  return { count: held.size, bytes: [...held.values()].reduce((sum, size) => sum + size, 0) };
}

function owners(nodes: readonly NodeProcess[]): (key: Key) => readonly string[] {
  const ring = new Ring(nodes.map(({ name }) => ({ uuid: name, points: POINTS })));
  return (key) => ring.order(key).slice(0, COPIES);
}

/** What must move to a node that joins: the blobs of which it is an owner. */
function leastBytes(nodes: readonly NodeProcess[], joined: NodeProcess): number {
  const ownersOf = owners(nodes);
  return [...sizes].reduce((sum, [key, size]) => sum + (ownersOf(key).includes(joined.name) ? size : 0), 0);
}

async function isPlaced(node: NodeProcess): Promise<boolean> {
  const ownersOf = owners(cluster.nodes);
  const held = await node.copies.keys();
  return [...sizes.keys()].every((key) => !ownersOf(key).includes(node.name) || held.has(key));
}

function watchFewest(nodes: readonly NodeProcess[]): { stop(): Promise<number> } {
  let stopped = false;
  let fewest = Number.POSITIVE_INFINITY;
  const loop = (async () => {
    while (!stopped) {
      fewest = Math.min(fewest, (await copies(nodes)).fewest);
      await sleep(500);
    }
  })();
  return {
    async stop() {
      stopped = true;
      await loop;
      return fewest;
    },
  };
}

async function sentBytes(nodes: readonly NodeProcess[]): Promise<number> {
  type Sent = { readonly repair: { readonly repair: { readonly sent_bytes: number } } };
  const statuses = await Promise.all(nodes.map((node) => node.json<Sent>("/status/")));
  return statuses.reduce((sum, { repair }) => sum + repair.repair.sent_bytes, 0);
}

/** Twenty fetches a second. */
async function latency(nodes: readonly NodeProcess[], ms: number): Promise<string> {
  const keys = [...sizes.keys()];
  const times: number[] = [];
  let failed = 0;
  const end = performance.now() + ms;
  for (let i = 0; performance.now() < end; i++) {
    const node = nodes[i % nodes.length] as NodeProcess;
    const begun = performance.now();
    const answer = await fetch(`${node.url}/file/${keys[(i * 7_919) % keys.length]}/`);
    await answer.arrayBuffer();
    if (answer.status !== 200) failed++;
    times.push(performance.now() - begun);
    await sleep(50);
  }
  faults += failed;
  const sorted = times.sort((a, b) => a - b);
  const at = (share: number) => (sorted[Math.floor(sorted.length * share)] ?? 0).toFixed(1);
  return `p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, ${failed} of ${times.length} failed`;
}

async function timeUntil(condition: () => Promise<boolean>, maxMs: number): Promise<number> {
  const begun = performance.now();
  while (!(await condition())) {
    if (performance.now() - begun > maxMs) throw new Error(`not within ${maxMs / 1_000} s`);
    await sleep(250);
  }
  return (performance.now() - begun) / 1_000;
}

/** Every copy on every disk hashes to its name, and there are as many as there must be: what was not found was not read. */
async function verifyAll(nodes: readonly NodeProcess[]): Promise<number> {
  let [read, wrong] = [0, 0];
  for (const node of nodes) {
    const verified = await node.copies.verify();
    read += verified.copies;
    wrong += verified.wrong;
  }
  console.log(`${read} copies read and hashed: ${wrong} wrong`);
  return wrong + (read === COPIES * COUNT ? 0 : 1);
}

function mb(bytes: number): string {
  return (bytes / 1e6).toFixed(1);
}
