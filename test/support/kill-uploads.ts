import { setTimeout as sleep } from "node:timers/promises";
import { keyOfBytes } from "../../src/core/key.ts";
import type { SeededRandom } from "../../src/core/random.ts";
import { fetchFile, type NodeProcess, ProcessCluster, post, until } from "./processes.ts";
import { bytesOf } from "./store-blob.ts";

const CLIENTS_COUNT = 6;
const LARGEST_BYTES = 4_000_000;

export interface KillResult {
  readonly kills: number;
  readonly acknowledged: number;
  /** Uploads without an acknowledgement: their node died, or too few copies could be made. */
  readonly unacknowledged: number;
  /** On all disks. */
  readonly copies: number;
  readonly faults: readonly string[];
}

/**
 * Three nodes, two copies of each blob, clients that upload without pause; again and again a node is killed in the middle of it and
 * started anew. Afterwards every acknowledged blob must come from every node, and every copy on every disk must be what its name says.
 */
export async function killDuringUploads(
  kills: number,
  random: SeededRandom,
  onKill: (count: number) => void = () => undefined,
): Promise<KillResult> {
  const cluster = await ProcessCluster.start(3, { CASK_REPLICATION: "2" });
  const clients = new Clients(cluster, random);
  try {
    const uploading = clients.run();
    for (let i = 1; i <= kills; i++) {
      await sleep(100 + 600 * random.next());
      const victim = cluster.node(Math.floor(random.next() * 3));
      await victim.kill();
      victim.start();
      await cluster.untilMet();
      onKill(i);
    }
    clients.stop();
    await uploading;
    const faults = [...(await lost(cluster, clients.acknowledged)), ...(await wrongCopies(cluster))];
    const copies = (await Promise.all(cluster.nodes.map(async (node) => (await node.copies.keys()).size))).reduce(
      (sum, count) => sum + count,
    );
    const { acknowledged, unacknowledged } = clients;
    return { kills, acknowledged: acknowledged.size, unacknowledged, copies, faults };
  } finally {
    clients.stop();
    await cluster.stop();
  }
}

class Clients {
  /** Key of each acknowledged upload, and from what its bytes can be made again. */
  readonly acknowledged = new Map<string, { readonly size: number; readonly seed: number }>();
  unacknowledged = 0;
  private readonly cluster: ProcessCluster;
  private readonly random: SeededRandom;
  private seed = 1;
  private stopped = false;

  constructor(cluster: ProcessCluster, random: SeededRandom) {
    this.cluster = cluster;
    this.random = random;
  }

  async run(): Promise<void> {
    await Promise.all(Array.from({ length: CLIENTS_COUNT }, () => this.upload()));
  }

  stop(): void {
    this.stopped = true;
  }

  private async upload(): Promise<void> {
    while (!this.stopped) {
      const seed = this.seed++;
      // Most are small; some are streamed through a file.
      const size = Math.floor(LARGEST_BYTES * this.random.next() ** 8);
      const bytes = bytesOf(size, seed);
      const stored = await post(this.cluster.node(seed % 3), bytes).catch((died: unknown) => {
        if ((died as Error).name === "TypeError" || died instanceof SyntaxError) return null;
        throw died;
      });
      if (stored?.success) this.acknowledged.set(keyOfBytes(bytes), { size, seed });
      else this.unacknowledged++;
    }
  }
}

async function lost(cluster: ProcessCluster, acknowledged: Clients["acknowledged"]): Promise<string[]> {
  const faults: string[] = [];
  for (const node of cluster.nodes) {
    for (const [key, { size, seed }] of acknowledged) {
      const { status, bytes } = await fetchFile(node, key);
      if (status !== 200) faults.push(`${key} was acknowledged, and ${node.name} answers ${status}`);
      else if (!bytes.equals(bytesOf(size, seed))) faults.push(`${key} from ${node.name} has wrong bytes`);
    }
  }
  return faults;
}

async function wrongCopies(cluster: ProcessCluster): Promise<string[]> {
  const faults: string[] = [];
  for (const node of cluster.nodes) {
    const { wrong } = await node.copies.verify();
    if (wrong > 0) faults.push(`${wrong} copies of ${node.name} don't hash to their names`);
    faults.push(...(await leftovers(node)));
  }
  return faults;
}

async function leftovers(node: NodeProcess): Promise<string[]> {
  try {
    await until("stages are gone", async () => (await node.staged()).length === 0, 5_000);
    return [];
  } catch (left) {
    return [`${node.name}: ${String(left)}`];
  }
}
