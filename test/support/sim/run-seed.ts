import { ownersOf } from "../../../src/blobs/repair-plan.ts";
import { CaskError } from "../../../src/core/errors.ts";
import { type Key, keyOfBytes } from "../../../src/core/key.ts";
import type { Random } from "../../../src/core/random.ts";
import { Chaos } from "./chaos.ts";
import type { SimSettings } from "./node-run.ts";
import type { KnownBlob } from "./oracle.ts";
import { isLeftover, SimCluster } from "./sim-cluster.ts";

export interface SeedOptions {
  readonly seed: number;
  readonly nodes?: number;
  readonly blobs?: number;
  /** To look at the cluster as it is at the end. */
  readonly onEnd?: (cluster: SimCluster) => void;
}

export interface SeedResult {
  readonly seed: number;
  readonly breaches: readonly string[];
  readonly events: ReadonlyMap<string, number>;
  readonly history: readonly string[];
  /** Of everything that happened, with its time. */
  readonly digest: string;
  readonly simulatedSeconds: number;
  readonly acknowledged: number;
}

const CHAOS_MS = 90_000;
const CLIENT_EVERY_MS = 700;
const STRIKE_EVERY_MS = 5_000;
const HEAL_MAX_MS = 900_000;
const LOOK_EVERY_MS = 5_000;
const LAST_READS_MAX_MS = 20_000;
const NEVER_STORED_MAX_MS = 60_000;

/** Files only; all small blobs in segments that are soon full; the smallest in segments, the others as files. */
const TIERS: ReadonlyArray<SimSettings["segments"]> = [
  { segmentBlobMaxBytes: 0, maxSegmentBytes: 30_000, checkpointEveryBytes: 30_000 },
  { segmentBlobMaxBytes: 8_000, maxSegmentBytes: 30_000, checkpointEveryBytes: 60_000 },
  { segmentBlobMaxBytes: 1_000, maxSegmentBytes: 8_000, checkpointEveryBytes: 20_000 },
];

/** One cluster, one seed: chaos, then peace, and what the oracle says of both. */
export async function runSeed({ seed, nodes = 5, blobs = 200, onEnd }: SeedOptions): Promise<SeedResult> {
  const settings = settingsOf(seed);
  const cluster = new SimCluster({ seed, nodes, settings });
  const chaos = new Chaos(cluster);
  const random = cluster.stream("clients");
  for (const host of cluster.hosts) host.startAtMs = random.next() * 2_000;
  // The last one joins later, in a cluster that holds blobs already.
  (cluster.hosts.at(-1) as { startAtMs: number }).startAtMs = 20_000 + random.next() * 60_000;
  await cluster.pass(8_000);
  const uploads = new Uploads(cluster, random, blobs);
  await uploads.some(blobs >> 1);
  await runChaos(cluster, chaos, uploads, random);
  chaos.heal();
  await settleDown(cluster, chaos);
  await lastReads(cluster);
  onEnd?.(cluster);
  return {
    seed,
    breaches: cluster.oracle.breaches,
    events: cluster.events,
    history: cluster.history,
    digest: cluster.digest,
    simulatedSeconds: cluster.time.nowMs / 1_000,
    acknowledged: [...cluster.oracle.blobs.values()].filter((blob) => blob.acknowledged > 0).length,
  };
}

/** Copies kept beyond the replication, or none; graces short or shorter. */
function settingsOf(seed: number): SimSettings {
  return {
    replication: 3,
    maxReplication: seed % 3 === 0 ? 4 : 3,
    repairGraceMs: seed % 2 === 0 ? 30_000 : 60_000,
    trimGraceMs: seed % 5 === 0 ? 5_000 : 15_000,
    writeable: true,
    segments: TIERS[Math.floor(seed / 2) % TIERS.length] as SimSettings["segments"],
  };
}

/** What clients do. */
export class Uploads {
  private readonly cluster: SimCluster;
  private readonly random: Random;
  private readonly max: number;
  private made = 0;

  constructor(cluster: SimCluster, random: Random, max: number) {
    this.cluster = cluster;
    this.random = random;
    this.max = max;
  }

  async some(count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      this.upload();
      if (i % 10 === 9) await this.cluster.pass(100);
    }
  }

  /** A new blob, or one that is there already, at any node. */
  upload(): void {
    const runs = this.cluster.running();
    const run = runs[Math.floor(this.random.next() * runs.length)];
    if (!run) return;
    const known = [...this.cluster.oracle.blobs.values()];
    const again = this.made >= this.max || (known.length > 0 && this.random.next() < 0.15);
    if (this.random.next() < 0.05) void this.cluster.breakOff(run, this.newBytes());
    const bytes = again ? (known[Math.floor(this.random.next() * known.length)]?.bytes as Buffer) : this.newBytes();
    void this.cluster.upload(run, bytes);
  }

  download(): void {
    const runs = this.cluster.running();
    const run = runs[Math.floor(this.random.next() * runs.length)];
    const keys = [...this.cluster.oracle.blobs.keys()];
    const key = keys[Math.floor(this.random.next() * keys.length)];
    if (run && key) void this.cluster.download(run, key);
  }

  private newBytes(): Buffer {
    this.made++;
    const kind = this.random.next();
    const size = kind < 0.02 ? 0 : kind < 0.025 ? 1_100_000 : Math.floor(this.random.next() ** 3 * 6_000) + 1;
    const bytes = Buffer.alloc(size, `blob ${this.made} `);
    if (size >= 8) bytes.writeDoubleLE(this.random.next(), 0);
    return bytes;
  }
}

async function runChaos(cluster: SimCluster, chaos: Chaos, uploads: Uploads, random: Random): Promise<void> {
  const end = cluster.time.nowMs + CHAOS_MS;
  let strikeAt = cluster.time.nowMs;
  while (cluster.time.nowMs < end) {
    if (random.next() < 0.5) uploads.upload();
    else uploads.download();
    if (cluster.time.nowMs >= strikeAt) {
      chaos.strike();
      chaos.retireDrained();
      strikeAt += STRIKE_EVERY_MS * (0.3 + random.next());
      cluster.oracle.nothingLost();
      noTwins(cluster);
    }
    await cluster.pass(CLIENT_EVERY_MS * (0.3 + random.next()));
  }
}

/** I9: of two processes with one UUID that reach each other, one is refused. */
function noTwins(cluster: SimCluster): void {
  for (const twin of cluster.livingTwins()) {
    const host = cluster.hosts.find(({ uuid }) => uuid === twin.uuid);
    const other = host?.run;
    if (!other?.ready || !twin.cluster.joined || !other.cluster.joined) continue;
    if (!twin.isWriteable || !other.isWriteable || cluster.time.nowMs - twin.clock.startedMs < 30_000) continue;
    if (cluster.time.nowMs - other.clock.startedMs < 30_000) continue;
    cluster.oracle.breach(`I9: two processes take blobs under the UUID ${twin.uuid}`);
  }
}

/** Until everything is where it belongs. */
export async function settleDown(cluster: SimCluster, chaos: Chaos): Promise<void> {
  const begun = cluster.time.nowMs;
  const end = begun + HEAL_MAX_MS;
  let wrong: string[] = [];
  while (cluster.time.nowMs < end) {
    await cluster.pass(LOOK_EVERY_MS);
    chaos.retireDrained();
    await chaos.forgetRetired();
    wrong = outOfPlace(cluster);
    if (wrong.length === 0) {
      cluster.say(`in place after ${(cluster.time.nowMs - begun) / 1_000} s`);
      return;
    }
  }
  for (const what of wrong.slice(0, 5)) cluster.oracle.breach(`I4: ${what}`);
}

/** I4: every blob has its copies, and none too many. */
function outOfPlace(cluster: SimCluster): string[] {
  cluster.oracle.nothingLost();
  cluster.oracle.noGarbage();
  const [run] = cluster.running();
  const members = cluster.hosts.filter(({ retired }) => !retired);
  if (!run || cluster.running().length < members.length) return ["not every node runs"];
  const view = run.cluster.view();
  const wrong: string[] = [];
  for (const blob of cluster.oracle.blobs.values()) {
    const good = new Set(cluster.oracle.goodCopies(blob).filter((uuid) => !isExcusedLeftover(cluster, uuid, blob)));
    // Never acknowledged, and gone. Of others nothingLost() says it, and here a copy is known to somebody.
    if (good.size === 0 && blob.acknowledged === 0) continue;
    const name = blob.key.slice(5, 13);
    const order = view.order(blob.key);
    const holders = order.filter((node) => good.has(node.uuid) && !node.draining);
    if (holders.length < view.replication) wrong.push(`${name} has ${holders.length} copies`);
    for (const owner of ownersOf(order, view.replication)) {
      if (owner.writeable && !good.has(owner.uuid)) wrong.push(`${name} is not at ${owner.uuid}`);
    }
    for (const [i, node] of holders.entries()) {
      if (i >= view.maxReplication) wrong.push(`${name} has a surplus copy at ${node.uuid}`);
    }
  }
  return wrong;
}

/**
 * A copy of which whoever runs can't know: its upload failed, and the segment could not be cut; or the record that deletes it failed in the same way, or
 * was taken by a fault.
 */
function isExcusedLeftover(cluster: SimCluster, uuid: string, blob: KnownBlob): boolean {
  const host = cluster.hosts.find((each) => each.uuid === uuid);
  return host !== undefined && isLeftover(host, blob) && (host.disk.hasLostSegment || host.disk.uncut.size > 0);
}

/** I1: every acknowledged blob is read from every node. */
async function lastReads(cluster: SimCluster): Promise<void> {
  const { oracle } = cluster;
  const keys: Key[] = [...oracle.blobs.values()].filter((blob) => blob.acknowledged > 0).map(({ key }) => key);
  let done = 0;
  let asked = 0;
  for (const [i, run] of cluster.running().entries()) {
    for (const [j, key] of keys.entries()) {
      if (j % 5 !== i % 5) continue;
      asked++;
      void cluster.download(run, key).then((ok) => {
        done++;
        if (!ok) oracle.breach(`I1: ${run.uuid} can't answer ${key}, and nothing is wrong any more`);
      });
    }
    await cluster.pass(500);
  }
  const end = cluster.time.nowMs + LAST_READS_MAX_MS;
  while (done < asked && cluster.time.nowMs < end) await cluster.pass(500);
  if (done < asked) oracle.breach(`I1: ${asked - done} fetches never ended`);
  await neverStored(cluster);
}

/** I10: what nobody ever stored is 404 again soon after nothing is wrong any more. */
async function neverStored(cluster: SimCluster): Promise<void> {
  const key = keyOfBytes(Buffer.from("never stored"));
  const end = cluster.time.nowMs + NEVER_STORED_MAX_MS;
  for (const run of cluster.running()) {
    for (let code = ""; code !== "NOT_FOUND"; ) {
      void run.blobs.get.open(key).catch((error: unknown) => {
        code = error instanceof CaskError ? error.code : String(error);
      });
      await cluster.pass(1_000);
      if (code === "NOT_FOUND" || cluster.time.nowMs < end) continue;
      cluster.oracle.breach(`I10: ${run.uuid} answered ${code} for what was never stored`);
      break;
    }
  }
}
