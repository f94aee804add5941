import { setTimeout as sleep } from "node:timers/promises";
import { fetchFile, type NodeProcess, type NodeSettings, ProcessCluster, post, until } from "./processes.ts";
import { bytesOf } from "./store-blob.ts";

export interface RollingOptions {
  readonly nodes: number;
  readonly replication: number;
  readonly requestsPerSecond: number;
  /** In each round every node is restarted once, with these settings on top. */
  readonly rounds: readonly NodeSettings[];
  readonly onProgress?: (message: string) => void;
}

export interface RollingReport {
  readonly gets: number;
  readonly puts: number;
  readonly restarts: number;
  readonly slowestMs: number;
  readonly failedGets: string[];
  readonly failedPuts: string[];
  /** Acknowledged, and not to be had from some node afterwards. */
  readonly lost: string[];
}

interface Load {
  readonly cluster: ProcessCluster;
  readonly restarting: Set<NodeProcess>;
  readonly acknowledged: Map<string, Buffer>;
  readonly underWay: Set<Promise<void>>;
  readonly report: { gets: number; puts: number; slowestMs: number; failedGets: string[]; failedPuts: string[] };
  count: number;
  stopped: boolean;
}

/** All nodes are restarted, one after the other, while clients store and fetch at the ones that are not being restarted. */
export async function rollingRestart(options: RollingOptions): Promise<RollingReport> {
  const more = { CASK_RECONCILE_INTERVAL: "1", CASK_REPLICATION: String(options.replication) };
  const cluster = await ProcessCluster.start(options.nodes, more);
  const report: Load["report"] = { gets: 0, puts: 0, slowestMs: 0, failedGets: [], failedPuts: [] };
  const load: Load = {
    cluster,
    restarting: new Set(),
    acknowledged: new Map(),
    underWay: new Set(),
    report,
    count: 0,
    stopped: false,
  };
  try {
    const loading = putLoad(load, 1000 / options.requestsPerSecond);
    await sleep(2_000);
    let restarts = 0;
    for (const settings of options.rounds) {
      for (const node of cluster.nodes) {
        load.restarting.add(node);
        const begunMs = performance.now();
        const code = await node.stop();
        if (code !== 0) throw new Error(`${node.name} ended with ${code}: ${node.output.slice(-2_000)}`);
        node.start(settings);
        await cluster.untilMet();
        load.restarting.delete(node);
        restarts++;
        options.onProgress?.(`${node.name} restarted in ${Math.round(performance.now() - begunMs)} ms`);
        await sleep(1_000);
      }
    }
    load.stopped = true;
    await loading;
    await Promise.all(load.underWay);
    return { ...report, restarts, lost: await findLost(load) };
  } finally {
    load.stopped = true;
    await cluster.stop();
  }
}

async function putLoad(load: Load, everyMs: number): Promise<void> {
  for (let nextMs = performance.now(); !load.stopped; nextMs += everyMs) {
    await sleep(Math.max(0, nextMs - performance.now()));
    const able = load.cluster.nodes.filter((node) => !load.restarting.has(node));
    const node = able[load.count++ % able.length] as NodeProcess;
    const work = (load.count % 3 === 0 || load.acknowledged.size === 0 ? store(load, node) : read(load, node)).finally(
      () => load.underWay.delete(work),
    );
    load.underWay.add(work);
  }
}

async function store({ acknowledged, report, count }: Load, node: NodeProcess): Promise<void> {
  const bytes = bytesOf(1_000 + (count % 50_000), count);
  const begunMs = performance.now();
  report.puts++;
  try {
    const { status, success, key, error } = await post(node, bytes);
    if (status === 200 && success) acknowledged.set(key, bytes);
    else report.failedPuts.push(`${node.name}: ${status} ${error?.message}`);
  } catch (error) {
    report.failedPuts.push(`${node.name}: ${describe(error)}`);
  }
  report.slowestMs = Math.max(report.slowestMs, performance.now() - begunMs);
}

async function read({ acknowledged, report, count }: Load, node: NodeProcess): Promise<void> {
  const keys = [...acknowledged.keys()];
  const key = keys[(count * 7919) % keys.length] as string;
  const begunMs = performance.now();
  report.gets++;
  try {
    const { status, bytes } = await fetchFile(node, key);
    if (status !== 200) report.failedGets.push(`${node.name}: ${status} ${bytes.toString().slice(0, 300)}`);
    else if (!bytes.equals(acknowledged.get(key) as Buffer)) report.failedGets.push(`${node.name}: wrong bytes`);
  } catch (error) {
    report.failedGets.push(`${node.name}: ${describe(error)}`);
  }
  report.slowestMs = Math.max(report.slowestMs, performance.now() - begunMs);
}

async function findLost({ cluster, acknowledged }: Load): Promise<string[]> {
  const lost: string[] = [];
  for (const [key, bytes] of acknowledged) {
    const node = cluster.node(lost.length % cluster.nodes.length);
    await until(`${key} from ${node.name}`, async () => (await fetchFile(node, key)).bytes.equals(bytes), 5_000).catch(
      () => lost.push(key),
    );
  }
  return lost;
}

function describe(error: unknown): string {
  const { message, cause } = error as Error;
  return cause instanceof Error ? `${message}: ${cause.message}` : message;
}
