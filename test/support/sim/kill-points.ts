import { Chaos } from "./chaos.ts";
import { isGood } from "./oracle.ts";
import { settleDown, Uploads } from "./run-seed.ts";
import { SimCluster } from "./sim-cluster.ts";
import { SimDisk } from "./sim-disk.ts";

/** Where a process can be killed: before and after each of these steps of repair, reconcile, trim, quarantine, drain, scrub, compaction and checkpoint. */
const STEPS = [
  "peer.has",
  "peer.get",
  "peer.put",
  "peer.vouch",
  "peer.digests",
  "peer.keysIn",
  "store.beginTrim",
  "store.finishTrim",
  "store.cancelTrim",
  "disk.commit",
  "disk.delete",
  "disk.quarantine",
  "identity.markDraining",
  "identity.markComplete",
  "scrub.save",
  "segments.move",
  "segments.deleteAgain",
  "segments.drop",
  "segments.checkpoint",
] as const;

export const KILL_POINTS: readonly string[] = STEPS.flatMap((step) => [`before ${step}`, `after ${step}`]);

/** Steps that come once or a few times in a run. */
const SELDOM = /identity|segments/;

export interface KillResult {
  readonly breaches: readonly string[];
  /** Was the point ever reached? */
  readonly killed: boolean;
}

/**
 * A cluster in which all of that happens (a disk replaced, copies that rot, a node that joins, one that is emptied), and one process that is killed
 * when it reaches the point. Afterwards everything must come to its place, as if nothing had happened.
 */
export async function killAt(point: string, seed: number): Promise<KillResult> {
  // About half of the blobs in segments, each soon full and soon half empty.
  const segments = { segmentBlobMaxBytes: 1_000, maxSegmentBytes: 3_000, checkpointEveryBytes: 4_000 };
  const graces = { repairGraceMs: 20_000, trimGraceMs: 5_000 };
  const settings = { replication: 3, maxReplication: 3, ...graces, writeable: true, segments };
  const cluster = new SimCluster({ seed, nodes: 5, settings });
  const random = cluster.stream("kill");
  const chaos = new Chaos(cluster);
  let left = SELDOM.test(point) ? 1 : 1 + Math.floor(random.next() * 12);
  let killed = false;
  let armed = false;
  cluster.onPoint = (host, at) => {
    if (!armed || killed || at !== point || --left > 0) return false;
    killed = true;
    if (random.next() < 0.5) cluster.powerCut(host, point, 2_000);
    else cluster.kill(host, point, 2_000);
    return true;
  };
  for (const host of cluster.hosts.slice(0, 4)) host.startAtMs = 0;
  await cluster.pass(6_000);
  await new Uploads(cluster, random, 60).some(60);
  await cluster.pass(3_000);
  armed = true;
  rotSome(cluster);
  replaceDisk(cluster);
  (cluster.hosts[4] as { startAtMs: number }).startAtMs = cluster.time.nowMs + 1_000;
  await cluster.pass(25_000);
  chaos.drainNow();
  await cluster.pass(40_000);
  await settleDown(cluster, chaos);
  return { breaches: cluster.oracle.breaches, killed };
}

function rotSome(cluster: SimCluster): void {
  const blobs = [...cluster.oracle.blobs.values()].filter(({ bytes }) => bytes.length > 0);
  for (const [i, blob] of blobs.entries()) {
    const host = cluster.hosts.slice(0, 3).find((each) => isGood(each.disk, blob));
    if (i % 6 === 0 && host) {
      cluster.oracle.noteDestroyed(blob.key);
      cluster.rot(host, blob.key);
    }
  }
}

function replaceDisk(cluster: SimCluster): void {
  const host = cluster.hosts[3];
  if (!host) return;
  for (const blob of cluster.oracle.blobs.values()) if (isGood(host.disk, blob)) cluster.oracle.noteDestroyed(blob.key);
  cluster.kill(host, "its disk is replaced", 500);
  host.disk = new SimDisk({ totalBytes: 2 ** 30 });
}
