/**
 * `npm run flapping-node [-- --minutes=5]`: four real nodes with default graces, one of which is killed and started again every five seconds. A node
 * that flaps must not move data: ends with code 1 if more than 5 % of what it holds was sent.
 */
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { type NodeProcess, ProcessCluster, post, until } from "../test/support/processes.ts";

const { values } = parseArgs({
  options: { minutes: { type: "string", default: "5" }, blobs: { type: "string", default: "1000" } },
});
const SIZE = 16_384;
const HALF_PERIOD_MS = 5_000;
const cluster = await ProcessCluster.start(4, { CASK_REPLICATION: "3", CASK_MAX_REPLICATION: "3" });
try {
  for (let i = 0; i < Number(values.blobs); i++) {
    const stored = await post(cluster.node(i % 4), randomBytes(SIZE));
    if (!stored.success) throw new Error(`upload answered ${stored.status}`);
  }
  const flapping = cluster.node(1);
  const held = (await flapping.copies.keys()).size * SIZE;
  const others = cluster.nodes.filter((node) => node !== flapping);
  const before = await sent(others);
  const end = performance.now() + Number(values.minutes) * 60_000;
  let times = 0;
  let ownSent = 0;
  while (performance.now() < end) {
    ownSent += await sentOnceUp(flapping);
    await flapping.kill();
    await sleep(HALF_PERIOD_MS);
    flapping.start();
    await sleep(HALF_PERIOD_MS);
    times++;
  }
  ownSent += await sentOnceUp(flapping);
  const moved = (await sent(others)) - before + ownSent;
  const share = ((100 * moved) / held).toFixed(2);
  console.log(`${times} times down and up; it holds ${held} bytes, ${moved} were sent by repair: ${share} %`);
  if (moved > 0.05 * held) process.exitCode = 1;
} finally {
  await cluster.stop();
}

/** A machine that is busy with other work may take longer to start a node. */
async function sentOnceUp(node: NodeProcess): Promise<number> {
  await until("it is up", async () => (await node.status()).node.uuid !== "");
  return sent([node]);
}

async function sent(nodes: readonly NodeProcess[]): Promise<number> {
  type Sent = { readonly repair: { readonly repair: { readonly sent_bytes: number } } };
  const all = await Promise.all(nodes.map((node) => node.json<Sent>("/status/")));
  return all.reduce((sum, { repair }) => sum + repair.repair.sent_bytes, 0);
}
