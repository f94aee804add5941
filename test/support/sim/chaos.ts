import type { Random } from "../../../src/core/random.ts";
import { isGood, type KnownBlob } from "./oracle.ts";
import type { Host, SimCluster } from "./sim-cluster.ts";
import { type CopyAt, copyOn, damagesOf, SEGMENT_HEADER_BYTES, SEGMENTS, segmentsOn } from "./sim-copies.ts";
import { SimDisk } from "./sim-disk.ts";
import { simError } from "./sim-errors.ts";
import { NO_FAULTS } from "./sim-network.ts";

/** What is called seldom, and where a death in between matters. */
const SELDOM_CALLS = ["unlink", "rename", "sync", "datasync", "truncate", "mkdir"];

/** Everything that goes wrong while clients store and fetch: what, when and to whom follows from the seed. */
export class Chaos {
  private readonly cluster: SimCluster;
  private readonly random: Random;
  private drained: Host | null = null;
  private healed = false;

  constructor(cluster: SimCluster) {
    this.cluster = cluster;
    this.random = cluster.stream("chaos");
  }

  /** One fault, or the end of one. */
  strike(): void {
    const faults: ReadonlyArray<readonly [number, () => void]> = [
      [5, () => this.kill()],
      [5, () => this.powerCut()],
      [8, () => this.dieSoon()],
      [3, () => this.wipe()],
      [4, () => this.freeze()],
      [5, () => this.partition()],
      [3, () => this.oneWay()],
      [5, () => this.badNetwork()],
      [4, () => this.diskErrors()],
      [2, () => this.diskFull()],
      [2, () => this.diskHangs()],
      [8, () => this.rot()],
      [1, () => this.rotBeforeCompaction()],
      [2, () => this.segmentGone()],
      [1, () => this.segmentHeader()],
      [2, () => this.drain()],
      [2, () => this.wrongSettings()],
      [2, () => this.leave()],
      [2, () => this.readOnly()],
      [2, () => this.twin()],
      [2, () => this.sharedRoot()],
    ];
    let at = this.random.next() * faults.reduce((sum, [weight]) => sum + weight, 0);
    for (const [weight, fault] of faults) {
      at -= weight;
      if (at >= 0) continue;
      fault();
      return;
    }
  }

  /** All trouble ends: links, disks and settings are right again, and machines that are off are started. */
  heal(): void {
    const { cluster } = this;
    this.healed = true;
    cluster.network.healLinks();
    Object.assign(cluster.network.faults, NO_FAULTS);
    for (const twin of cluster.livingTwins()) twin.die();
    for (const host of cluster.hosts) {
      host.diskTrouble = () => undefined;
      host.callsToLive = Number.POSITIVE_INFINITY;
      host.diesAfter = null;
      host.disk.freeBytes = 2 ** 29;
      if (host.retired) continue;
      if (host.settings !== cluster.settings || host.borrows) {
        host.borrows = null;
        host.settings = cluster.settings;
        cluster.kill(host, "restart with the right settings", 0);
      }
      // Also one that ended itself because somebody else had its UUID.
      if (host.run && !host.run.isAlive()) host.run = null;
      if (!host.run) host.startAtMs = cluster.time.nowMs;
    }
    cluster.say("everything is healed");
  }

  private pick<T>(from: readonly T[]): T | undefined {
    return from[Math.floor(this.random.next() * from.length)];
  }

  private running(): Host | undefined {
    return this.pick(this.cluster.hosts.filter((host) => host.run?.ready));
  }

  private downMs(): number {
    // Mostly a restart; now and then longer than CASK_REPAIR_GRACE.
    return this.random.next() < 0.25 ? 60_000 + this.random.next() * 60_000 : 500 + this.random.next() * 15_000;
  }

  private kill(): void {
    const host = this.running();
    if (!host) return;
    this.cluster.count("fault: killed");
    this.cluster.kill(host, "at random", this.downMs());
  }

  private powerCut(): void {
    const host = this.running();
    if (!host) return;
    this.cluster.powerCut(host, "at random", this.downMs());
  }

  /** Between two steps of whatever it does then. */
  private dieSoon(): void {
    const host = this.running();
    if (!host) return;
    if (this.random.next() < 0.7) host.callsToLive = Math.floor(this.random.next() ** 2 * 400);
    else host.diesAfter = this.pick(SELDOM_CALLS) ?? null;
  }

  private wipe(): void {
    const { cluster } = this;
    const host = this.pick(cluster.hosts.filter((each) => !each.retired));
    if (!host || cluster.hosts.some(({ borrows }) => borrows === host)) return;
    const lost = [...cluster.oracle.blobs.values()].filter((blob) => isGood(host.disk, blob)).map(({ key }) => key);
    if (!cluster.oracle.survives(host.uuid, lost) || !this.isRemembered(host)) return;
    cluster.count("fault: wiped");
    cluster.say(`the disk of ${host.uuid} is replaced`);
    cluster.kill(host, "its disk is replaced", this.downMs());
    for (const key of lost) cluster.oracle.noteDestroyed(key);
    host.wasReplaced = true;
    host.disk = new SimDisk({ totalBytes: 2 ** 30 });
    if (host.startAtMs === Number.POSITIVE_INFINITY) host.startAtMs = cluster.time.nowMs + this.downMs();
  }

  /** Does somebody who runs know the members? With the last such disk the cluster forgets whom to ask (decision 054). */
  private isRemembered(except: Host): boolean {
    return this.cluster.hosts.some(
      ({ run }) => run?.ready && run !== except.run && !run.identity.incomplete && run.cluster.members().length >= 2,
    );
  }

  private freeze(): void {
    const host = this.running();
    if (!host?.run) return;
    this.cluster.count("fault: frozen");
    const ms = 500 + this.random.next() ** 2 * 25_000;
    this.cluster.say(`${host.uuid} is frozen for ${Math.round(ms)} ms`);
    host.run.freeze(ms);
  }

  private partition(): void {
    const { cluster } = this;
    cluster.count("fault: partition");
    const side = new Set(cluster.hosts.filter(() => this.random.next() < 0.5).map(({ url }) => url));
    cluster.say(`partition: ${[...side].join(" ")} | the others`);
    for (const a of cluster.hosts) {
      for (const b of cluster.hosts) {
        if (side.has(a.url) !== side.has(b.url)) cluster.network.block(a.url, b.url);
      }
    }
    this.later(3_000 + this.random.next() * 40_000, () => cluster.network.healLinks());
  }

  private oneWay(): void {
    const { cluster } = this;
    const [a, b] = [this.pick(cluster.hosts), this.pick(cluster.hosts)];
    if (!a || !b || a === b) return;
    cluster.count("fault: one-way link");
    cluster.say(`nothing passes from ${a.uuid} to ${b.uuid}`);
    cluster.network.block(a.url, b.url);
    this.later(3_000 + this.random.next() * 30_000, () => cluster.network.healLinks());
  }

  private badNetwork(): void {
    const { network, say } = { network: this.cluster.network, say: (line: string) => this.cluster.say(line) };
    this.cluster.count("fault: bad network");
    Object.assign(network.faults, {
      loss: this.random.next() * 0.2,
      duplication: this.random.next() * 0.1,
      slowMs: this.random.next() < 0.5 ? 4_000 : 0,
      cut: this.random.next() * 0.1,
      flip: this.random.next() * 0.05,
    });
    say("the network is bad");
    this.later(5_000 + this.random.next() * 20_000, () => Object.assign(network.faults, NO_FAULTS));
  }

  private diskErrors(): void {
    const host = this.pick(this.cluster.hosts);
    if (!host) return;
    this.cluster.count("fault: disk errors");
    this.cluster.say(`the disk of ${host.uuid} has errors`);
    const share = this.random.next() < 0.5 ? 0.02 : 0.3;
    host.diskTrouble = (call) => {
      if (this.random.next() >= share || call.name === "close") return undefined;
      this.cluster.count(`EIO at ${call.name}`);
      return simError("EIO", call.name, call.path);
    };
    this.later(2_000 + this.random.next() * 15_000, () => this.mend(host));
  }

  private diskFull(): void {
    const host = this.pick(this.cluster.hosts);
    if (!host) return;
    this.cluster.count("fault: disk full");
    this.cluster.say(`the disk of ${host.uuid} is full`);
    host.disk.freeBytes = Math.floor(this.random.next() * 120_000);
    this.later(10_000 + this.random.next() * 30_000, () => {
      host.disk.freeBytes = 2 ** 29;
    });
  }

  private diskHangs(): void {
    const host = this.running();
    if (!host) return;
    this.cluster.count("fault: disk hangs");
    this.cluster.say(`the disk of ${host.uuid} hangs`);
    const until = this.cluster.time.nowMs + 1_000 + this.random.next() * 12_000;
    host.diskTrouble = () => new Promise<undefined>((resolve) => this.cluster.time.at(until, () => resolve(undefined)));
    this.later(until - this.cluster.time.nowMs, () => this.mend(host));
  }

  private mend(host: Host): void {
    host.diskTrouble = () => undefined;
  }

  /** One copy, or two of one blob. */
  private rot(): void {
    const blob = this.pick([...this.cluster.oracle.blobs.values()]);
    if (!blob) return;
    const times = this.random.next() < 0.3 ? 2 : 1;
    for (let i = 0; i < times; i++) this.rotOne(blob);
  }

  private rotOne(blob: KnownBlob): void {
    const { cluster } = this;
    const { oracle } = cluster;
    const host = this.pick(cluster.hosts.filter((each) => isGood(each.disk, blob)));
    if (!host || !oracle.survives(host.uuid, [blob.key])) return;
    const kinds = damagesOf(host.disk, copyOn(host.disk, blob) as CopyAt);
    const kind = this.pick(Object.keys(kinds)) as string;
    oracle.noteDestroyed(blob.key);
    kinds[kind]?.();
    cluster.count(`fault: rot, ${kind}`);
    cluster.say(`${host.uuid}: ${blob.key.slice(5, 13)} rots: ${kind}`);
    // Now and then somebody uploads it again before anybody else has looked at it.
    const run = this.running()?.run;
    if (run && this.random.next() < 0.4) void cluster.upload(run, blob.bytes);
  }

  /** A copy in a segment that is half empty, just when that is to be compacted: mostly only when all is healed, and surplus is trimmed. */
  private rotBeforeCompaction(): void {
    const host = this.running();
    if (!host) return;
    const { cluster } = this;
    host.beforeCompaction = () => {
      const blob = inHalfEmptySegment(host.disk, [...cluster.oracle.blobs.values()]);
      if (!blob || !cluster.oracle.survives(host.uuid, [blob.key], 2)) return;
      host.beforeCompaction = () => undefined;
      cluster.oracle.noteDestroyed(blob.key);
      damagesOf(host.disk, copyOn(host.disk, blob) as CopyAt)["first byte"]?.();
      cluster.count("fault: rot before a compaction");
      cluster.say(`${host.uuid}: ${blob.key.slice(5, 13)} rots before a compaction`);
    };
  }

  /** A whole segment is gone when its node comes back. Not the newest one: no checkpoint may speak of it yet (decision 072). */
  private segmentGone(): void {
    const { cluster } = this;
    const { oracle } = cluster;
    const host = this.pick(cluster.hosts.filter((each) => !each.retired && segmentsOn(each.disk).length > 1));
    const [name] = this.pick(host ? segmentsOn(host.disk).slice(0, -1) : []) ?? [];
    if (!host || name === undefined || cluster.hosts.some(({ borrows }) => borrows === host)) return;
    const path = `${SEGMENTS}/${name}`;
    const lost = [...oracle.blobs.values()].filter(
      (blob) => isGood(host.disk, blob) && copyOn(host.disk, blob)?.path === path,
    );
    const keys = lost.map(({ key }) => key);
    if (!oracle.survives(host.uuid, keys)) return;
    cluster.count("fault: segment gone");
    cluster.say(`${host.uuid} loses ${name}, with ${keys.length} copies`);
    cluster.kill(host, "one of its segments vanishes", this.downMs());
    for (const key of keys) oracle.noteDestroyed(key);
    host.disk.remove(path);
    host.disk.hasLostSegment = true;
  }

  /** Bits flip in a segment's own header, once or in both places. */
  private segmentHeader(): void {
    const { cluster } = this;
    const { oracle } = cluster;
    const isWhole = this.random.next() < 0.3;
    // What is written into the newest one afterwards, while nobody knows, is lost with it: that is no defect.
    const rotting = (host: Host) => (isWhole ? segmentsOn(host.disk).slice(0, -1) : segmentsOn(host.disk));
    const host = this.pick(cluster.hosts.filter((each) => rotting(each).length > 0));
    const [name, file] = this.pick(host ? rotting(host) : []) ?? [];
    if (!host || !file || file.size < SEGMENT_HEADER_BYTES) return;
    const path = `${SEGMENTS}/${name}`;
    const keys = [...oracle.blobs.values()]
      .filter((blob) => copyOn(host.disk, blob)?.path === path)
      .map(({ key }) => key);
    if (isWhole && !oracle.survives(host.uuid, keys)) return;
    if (isWhole) for (const key of keys) oracle.noteDestroyed(key);
    const zeros = Buffer.alloc(isWhole ? SEGMENT_HEADER_BYTES : SEGMENT_HEADER_BYTES / 2);
    file.damage(isWhole ? 0 : (this.pick([0, SEGMENT_HEADER_BYTES / 2]) as number), zeros);
    cluster.count(`fault: rot, ${isWhole ? "header" : "half the header"} of a segment`);
    cluster.say(`${host.uuid}: the header of ${name} rots`);
  }

  private drain(): void {
    const host = this.running();
    if (host && !this.drained) this.beginDrain(host);
  }

  private beginDrain(host: Host): void {
    this.drained = host;
    this.cluster.say(`${host.uuid} is asked to drain`);
    host.run?.blobs.drain.begin().then(
      () => this.cluster.count("fault: drain"),
      () => {
        this.drained = null;
      },
    );
  }

  /** The first node that may, is emptied. */
  drainNow(): void {
    const host = this.cluster.hosts.find(({ run }) => run?.ready);
    if (host?.run && !this.drained) this.beginDrain(host);
  }

  /** An emptied node is switched off and forgotten, and its disk with it. */
  retireDrained(): void {
    const { drained: host, cluster } = this;
    if (!host || host.retired || host.run?.blobs?.drain.status().state !== "done") return;
    if (cluster.hosts.some(({ borrows }) => borrows === host)) return;
    host.retired = true;
    cluster.count("drained");
    cluster.kill(host, "drained, switched off for good", Number.POSITIVE_INFINITY);
    for (const blob of cluster.oracle.blobs.values())
      if (isGood(host.disk, blob)) cluster.oracle.noteDestroyed(blob.key);
    host.disk = new SimDisk();
    cluster.oracle.nothingLost();
  }

  /** Others forget it, as an operator tells them to. */
  async forgetRetired(): Promise<void> {
    for (const host of this.cluster.hosts.filter(({ retired }) => retired)) {
      for (const run of this.cluster.running()) {
        const member = run.cluster.member(host.uuid);
        if (member && member.state !== "alive" && member.state !== "suspect") await run.cluster.forget(host.uuid);
      }
    }
  }

  /** An operator starts a node with other numbers of copies. */
  private wrongSettings(): void {
    const host = this.running();
    if (!host || host.settings !== this.cluster.settings) return;
    this.cluster.count("fault: other settings");
    host.settings = { ...this.cluster.settings, replication: 1, maxReplication: 1 };
    this.cluster.kill(host, "restart with other settings", 500);
    this.later(30_000 + this.random.next() * 40_000, () => {
      host.settings = this.cluster.settings;
      this.cluster.kill(host, "restart with the right settings", 500);
    });
  }

  /** An operator starts a node with CASK_WRITEABLE=false. */
  private readOnly(): void {
    const host = this.running();
    if (!host || host.settings !== this.cluster.settings) return;
    this.cluster.count("fault: read-only");
    host.settings = { ...this.cluster.settings, writeable: false };
    this.cluster.kill(host, "restart, read-only", 500);
    this.later(20_000 + this.random.next() * 30_000, () => {
      host.settings = this.cluster.settings;
      this.cluster.kill(host, "restart, writeable", 500);
    });
  }

  /** Somebody copies a node's settings, UUID and all, to another machine with an empty disk. */
  private twin(): void {
    const { cluster } = this;
    const host = this.running();
    if (!host) return;
    cluster.count("fault: UUID twice");
    cluster.say(`a second process has the UUID ${host.uuid}`);
    const twin = cluster.startTwin(host);
    this.later(60_000, () => twin.isAlive() && twin.die());
  }

  /** Somebody gives two nodes one data folder. */
  private sharedRoot(): void {
    const { cluster } = this;
    const [host, owner] = [this.running(), this.running()];
    if (!host || !owner || host === owner || cluster.hosts.some(({ borrows }) => borrows)) return;
    cluster.count("fault: one root for two");
    cluster.kill(host, `restart on the root of ${owner.uuid}`, 500);
    host.borrows = owner;
    const giveBack = () => {
      host.borrows = null;
      if (host.run) cluster.kill(host, "restart on its own root", 500);
    };
    this.later(30_000, giveBack);
  }

  /** SIGTERM: work under way is finished, and the others are told. */
  private leave(): void {
    const host = this.running();
    const run = host?.run;
    if (!host || !run) return;
    this.cluster.count("fault: stopped by SIGTERM");
    this.cluster.say(`${host.uuid} stops`);
    const downMs = this.downMs();
    const ended = () => {
      if (host.run === run) this.cluster.kill(host, "has stopped", downMs);
    };
    run.stop().then(ended, ended);
    this.later(10_000, ended);
  }

  private later(ms: number, then: () => void): void {
    this.cluster.time.at(this.cluster.time.nowMs + ms, () => {
      if (!this.healed) then();
    });
  }
}

/** A good copy in a segment that is compacted next; null: there is none. */
function inHalfEmptySegment(disk: SimDisk, blobs: readonly KnownBlob[]): KnownBlob | null {
  const copies = blobs.flatMap((blob) => {
    const copy = copyOn(disk, blob);
    return copy?.isRecord && copy.sizeBytes > 0 && isGood(disk, blob) ? [{ blob, copy }] : [];
  });
  for (const [, file] of segmentsOn(disk).slice(0, -1)) {
    const here = copies.filter(({ copy }) => copy.file === file);
    if (here[0] && here.reduce((sum, { copy }) => sum + copy.sizeBytes, 0) < 0.4 * file.size) return here[0].blob;
  }
  return null;
}
