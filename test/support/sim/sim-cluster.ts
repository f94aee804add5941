import { createHash } from "node:crypto";
import { CaskError, hasCode, messageOf } from "../../../src/core/errors.ts";
import { type Key, keyOfBytes } from "../../../src/core/key.ts";
import { type Random, SeededRandom } from "../../../src/core/random.ts";
import type { Backend, Stage } from "../../../src/storage/backend.ts";
import { type Detector, watchEachOther } from "./failure-detector.ts";
import { NodeRun, type SimSettings } from "./node-run.ts";
import { isGood, type KnownBlob, Oracle } from "./oracle.ts";
import { SimClock, SimTime } from "./sim-clock.ts";
import { copyOn, damagesOf, pathOf } from "./sim-copies.ts";
import { SimDisk, type Verdict } from "./sim-disk.ts";
import { SimNetwork } from "./sim-network.ts";
import type { SimProcess } from "./sim-process.ts";

/** A machine: its disk outlives its processes. */
export interface Host {
  readonly uuid: string;
  readonly url: string;
  disk: SimDisk;
  run: NodeRun | null;
  /** When somebody starts it again; infinite: nobody does. */
  startAtMs: number;
  /** Settings of its next start. */
  settings: SimSettings;
  /** Switched off for good, and forgotten by the others. */
  retired: boolean;
  /** The host whose disk it uses by mistake. */
  borrows: Host | null;
  wallOffsetMs: number;
  /** The last calls to its disk: what it was doing when it died. */
  lastCall: string;
  /** Dies when so many more calls to its disk were made. */
  callsToLive: number;
  /** After the next call of this name it dies; null: it need not. */
  diesAfter: string | null;
  beforeCompaction: () => void;
  /** Its disk was, once. */
  wasReplaced: boolean;
  diskTrouble: (call: { name: string; path: string }) => Verdict;
}

export interface SimOptions {
  readonly seed: number;
  readonly nodes: number;
  readonly settings: SimSettings;
}

/** A whole cluster of production code in one process, from one seed. What happens is written down, and hashed. */
export class SimCluster {
  readonly time = new SimTime();
  readonly network: SimNetwork;
  readonly hosts: Host[] = [];
  readonly oracle: Oracle;
  readonly events = new Map<string, number>();
  readonly history: string[] = [];
  readonly settings: SimSettings;
  private readonly hash = createHash("sha1");
  private readonly random: (stream: string) => Random;
  private readonly detector: Detector;
  private readonly twins: NodeRun[] = [];
  /** A process comes to a point at which it could be killed. Answers whether it was. */
  onPoint: (host: Host, point: string) => boolean = () => false;

  constructor({ seed, nodes, settings }: SimOptions) {
    this.settings = settings;
    this.random = (stream) => new SeededRandom(seedOf(seed, stream));
    this.network = new SimNetwork(this.time, this.random("network"));
    for (let i = 0; i < nodes; i++) this.hosts.push(this.host(i));
    this.oracle = new Oracle({
      disks: this.hosts.map((host) => ({
        name: host.uuid,
        disk: () => host.disk,
        isLeftover: (blob) => isLeftover(host, blob),
      })),
      replication: settings.replication,
      say: (line) => this.say(line),
    });
    this.detector = watchEachOther(this, this.random("detector"));
  }

  stream(name: string): Random {
    return this.random(name);
  }

  /** One line of the history. */
  say(line: string): void {
    const text = `${(this.time.nowMs / 1000).toFixed(3)} ${line}`;
    this.history.push(text);
    this.hash.update(`${text}\n`);
  }

  count(event: string): void {
    this.events.set(event, (this.events.get(event) ?? 0) + 1);
  }

  /** The same for two runs in which the same happened at the same times. */
  get digest(): string {
    return this.hash.copy().digest("hex");
  }

  running(): NodeRun[] {
    return this.hosts.flatMap(({ run }) => (run?.ready ? [run] : []));
  }

  at(url: string): NodeRun | null {
    const twin = this.twins.find((each) => each.url === url && each.isAlive());
    return twin ?? this.hosts.find((host) => host.url === url)?.run ?? null;
  }

  /** Twins that were not refused. */
  livingTwins(): NodeRun[] {
    return this.twins.filter((twin) => twin.isAlive() && twin.ready);
  }

  /** Lets time pass; machines whose time has come are started. */
  async pass(ms: number): Promise<void> {
    const end = this.time.nowMs + ms;
    while (this.time.nowMs < end) {
      this.startDue();
      this.detector.tick();
      await this.time.runUntil(Math.min(end, this.time.nowMs + 500));
    }
  }

  startDue(): void {
    for (const host of this.hosts) {
      if (!host.run && host.startAtMs <= this.time.nowMs && !host.retired) this.start(host);
    }
  }

  start(host: Host): void {
    host.startAtMs = Number.POSITIVE_INFINITY;
    host.callsToLive = Number.POSITIVE_INFINITY;
    host.diesAfter = null;
    const disk = (host.borrows ?? host).disk.start();
    if (!host.borrows) host.disk.beforeCall = (call, by) => this.beforeCall(host, call, by === disk);
    const run = this.newRun(host, host.url, disk);
    host.run = run;
    this.count("start");
    this.say(`${host.uuid} starts`);
    run.start().catch((error: unknown) => {
      if (!(error instanceof CaskError))
        this.oracle.breach(`${host.uuid} can't start: ${String((error as Error).stack)}`);
      if (!run.isAlive()) return;
      this.say(`${host.uuid} does not start: ${messageOf(error)}`);
      this.kill(host, "could not start", 5_000);
    });
  }

  /** Another process with the UUID of a host, elsewhere, on an empty disk. */
  startTwin(host: Host): NodeRun {
    const disk = new SimDisk({ totalBytes: 2 ** 30 });
    const url = `${host.url}-twin${this.twins.length}`;
    const twin = this.newRun({ ...host, settings: this.settings }, url, disk.start());
    this.twins.push(twin);
    this.oracle.addDisk({ name: url, disk: () => disk });
    twin.start().catch((error: unknown) => this.say(`the twin of ${host.uuid} does not start: ${messageOf(error)}`));
    return twin;
  }

  private newRun(host: Host, url: string, disk: SimProcess): NodeRun {
    const run: NodeRun = new NodeRun({
      uuid: host.uuid,
      url,
      neighbors: this.hosts.filter((other) => other !== host && !other.retired).map(({ url }) => url),
      settings: host.settings,
      disk,
      clock: new SimClock(this.time, host.wallOffsetMs),
      time: this.time,
      random: this.random(`${host.uuid} ${this.time.nowMs}`),
      network: this.network,
      at: (url) => this.at(url),
      watch: (backend, of) => this.watched(backend, host, of),
      onPoint: (point) => this.onPoint(host, point),
      beforeCompaction: () => host.beforeCompaction(),
      onMarked: (key) => this.oracle.noteMarked(host.uuid, key),
      onEvent: (what) => {
        this.count(what);
        if (what !== "repair whole") this.say(`${host.uuid} ${what}`);
      },
    });
    return run;
  }

  /** The process ends; what the kernel has taken over stays. */
  kill(host: Host, why: string, startAfterMs: number): void {
    if (!host.run) return;
    this.say(`${host.uuid} is killed: ${why}`);
    host.run.die();
    host.run = null;
    host.startAtMs = this.time.nowMs + startAfterMs;
  }

  /** The process ends, and what was not synced is lost, or not. */
  powerCut(host: Host, why: string, startAfterMs: number): void {
    if (!host.run) return;
    this.kill(host, `power cut, ${why}`, startAfterMs);
    // Whoever uses that disk by mistake is on the same machine.
    for (const guest of this.hosts)
      if (guest.borrows === host) this.kill(guest, "power cut of the machine", startAfterMs);
    host.disk = host.disk.crash(this.random(`cut ${host.uuid} ${this.time.nowMs}`));
    this.count("power cut");
  }

  /** One byte of a copy changes. */
  rot(host: Host, key: Key): void {
    const copy = copyOn(host.disk, { key, path: pathOf(key) });
    if (copy) damagesOf(host.disk, copy)["middle"]?.();
    this.say(`${host.uuid}: ${key.slice(5, 13)} rots`);
  }

  private host(i: number): Host {
    const random = this.random(`host ${i}`);
    return {
      uuid: `n${i}`,
      url: `http://n${i}`,
      disk: new SimDisk({ totalBytes: 2 ** 30 }),
      run: null,
      startAtMs: Number.POSITIVE_INFINITY,
      settings: this.settings,
      retired: false,
      borrows: null,
      wallOffsetMs: Math.round((random.next() - 0.5) * 3_600_000),
      lastCall: "",
      callsToLive: Number.POSITIVE_INFINITY,
      diesAfter: null,
      wasReplaced: false,
      beforeCompaction: () => undefined,
      diskTrouble: () => undefined,
    };
  }

  private beforeCall(host: Host, call: { name: string; path: string }, current: boolean): Verdict {
    if (!current) return undefined;
    if (--host.callsToLive < 0) {
      const between = `between ${host.lastCall} and ${call.name}`;
      this.count(`death ${between}`);
      host.callsToLive = Number.POSITIVE_INFINITY;
      const random = this.random(`death ${host.uuid} ${this.time.nowMs}`);
      const startAfterMs = 500 + random.next() * 8_000;
      // After this call: a process can't be taken from under its own feet.
      const run = host.run;
      this.time.at(this.time.nowMs, () => {
        if (host.run !== run) return;
        if (random.next() < 0.6) this.powerCut(host, between, startAfterMs);
        else this.kill(host, between, startAfterMs);
      });
      return new Promise<undefined>(() => undefined);
    }
    host.lastCall = call.name;
    if (host.diesAfter === call.name) {
      host.diesAfter = null;
      host.callsToLive = 0;
    }
    return host.diskTrouble(call);
  }

  /** What the oracle must see of a backend. */
  private watched(backend: Backend, host: Host, run: NodeRun): Backend {
    const { oracle } = this;
    return new Proxy(backend, {
      get: (target, name) => {
        if (name === "delete") {
          return async (key: Key, seen: never) => {
            const deleted = await run.through("disk.delete", () => target.delete(key, seen));
            if (deleted && run.isAlive()) {
              this.say(`${host.uuid} deleted ${key.slice(5, 13)}`);
              oracle.deleted(host.uuid, key);
            }
            return deleted;
          };
        }
        if (name === "stage") {
          return async (sizeHint?: number) => this.watchedStage(await target.stage(sizeHint), host, run);
        }
        if (name === "quarantine") {
          return (key: Key, seen: never) => run.through("disk.quarantine", () => target.quarantine(key, seen));
        }
        const value: unknown = Reflect.get(target, name);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  }

  /** I7: a node that its operator made read-only takes nothing. */
  private watchedStage(stage: Stage, host: Host, run: NodeRun): Stage {
    const commit = stage.commit.bind(stage);
    stage.commit = async (key: Key) => {
      const outcome = await run.through("disk.commit", () => commit(key));
      if (outcome === "stored" && run.isAlive() && !run.settings.writeable) {
        this.oracle.breach(`I7: ${host.uuid} took ${key}, though it was started with CASK_WRITEABLE=false`);
      }
      return outcome;
    };
    return stage;
  }

  // ---- clients ----

  async upload(run: NodeRun, bytes: Buffer): Promise<void> {
    const key = keyOfBytes(bytes);
    const blob = this.oracle.uploaded(key, bytes);
    const name = key.slice(5, 13);
    const begun = this.oracle.moment();
    try {
      const upload = { chunks: inPieces(bytes), sizeBytes: bytes.length, expected: undefined };
      const result = await run.blobs.put.put({ ...upload, complete: async () => undefined });
      if (!run.isAlive()) return;
      this.say(
        `put ${name} at ${run.uuid}: ${result.copies.length} of ${result.wanted} copies (${result.copies.map((copy) => copy.node).join(" ")})`,
      );
      this.count(result.success ? "put acknowledged" : "put not acknowledged");
      if (!result.success) return;
      this.oracle.acknowledgedBy(run.uuid, blob, { begun, promised: run.settings.replication });
      // Where faults took every copy before the answer, as I8 has found, it was lost before anybody could count on it.
      if (this.oracle.mayBeThere(blob)) blob.acknowledged = Math.max(blob.acknowledged, result.copies.length);
    } catch (error) {
      if (!(error instanceof CaskError)) throw error;
      this.say(`put ${name} at ${run.uuid}: ${error.code}`);
      this.count(`put ${error.code}`);
    }
  }

  /** A client that goes away half-way: nothing may be left of it. */
  async breakOff(run: NodeRun, bytes: Buffer): Promise<void> {
    const chunks = (async function* () {
      yield bytes.subarray(0, bytes.length >> 1);
      throw new CaskError("BAD_REQUEST", "the client went away");
    })();
    const upload = { chunks, sizeBytes: bytes.length, expected: undefined, complete: async () => undefined };
    this.count("put broken off");
    await run.blobs.put.put(upload).catch((error: unknown) => {
      if (!(error instanceof CaskError)) throw error;
    });
  }

  /**
   * Three limits (decision 054). Who has an empty disk, and reaches nobody who remembers the holders, knows of none to ask. A node whose disk was
   * replaced does not know it as long as it reaches nobody who remembers the old one. And nobody knows that a node out of reach promises, or once
   * promised, less than before.
   */
  private couldNotKnow(run: NodeRun, blob: KnownBlob): boolean {
    const holders = this.hosts.filter(({ uuid, disk }) => uuid !== run.uuid && isGood(disk, blob));
    const reached = this.running().filter(({ url, clock }) => {
      return !clock.isFrozen && this.network.isOpen(run.url, url) && this.network.isOpen(url, run.url);
    });
    // A process that was given another node's folder by mistake does not see what lies on its own disk.
    const isHolder = (uuid: string) => holders.some((holder) => holder.uuid === uuid && !holder.borrows);
    if (reached.some(({ uuid }) => isHolder(uuid))) return false;
    if (blob.acknowledged < this.settings.replication) return true;
    const isReplaced = this.hosts.some(({ uuid, wasReplaced }) => uuid === run.uuid && wasReplaced);
    const remembersOldDisk = ({ cluster }: NodeRun) => {
      const member = cluster.member(run.uuid);
      return member !== undefined && member.knownStore !== "" && member.knownStore !== run.store;
    };
    if (isReplaced && !run.identity.incomplete && !reached.some(remembersOldDisk)) return true;
    const strangers = this.hosts.filter(({ uuid, retired }) => {
      return (
        !retired && uuid !== run.uuid && ![run, ...reached].some(({ cluster }) => cluster.member(uuid) !== undefined)
      );
    });
    if (strangers.some((stranger) => holders.includes(stranger))) return true;
    // Had it known them, it would have counted them among those that are silent, or know nothing: so many may have had all copies.
    const isSilent = ({ uuid }: Host) => {
      const answering = reached.find((each) => each.uuid === uuid);
      return uuid !== run.uuid && (!answering || answering.identity.incomplete);
    };
    const silent = this.hosts.filter((host) => run.cluster.member(host.uuid) !== undefined && isSilent(host));
    return strangers.length > 0 && strangers.length + silent.length >= this.settings.replication;
  }

  /**
   * Was it acknowledged with fewer copies than are promised now, so that one lost answer is enough for a 404? Not where a holder itself says that it
   * has none.
   */
  private async promisedLess(blob: KnownBlob): Promise<boolean> {
    if (blob.acknowledged >= this.settings.replication) return false;
    for (const { run, disk } of this.hosts) {
      if (!run?.ready || !isGood(disk, blob)) continue;
      const [holding] = await run.blobs.localStore.has([blob.key]);
      if (holding?.state === "absent") return false;
    }
    return true;
  }

  /** I2 and I5. Answers whether the bytes came. */
  async download(run: NodeRun, key: Key): Promise<boolean> {
    const blob = this.oracle.blobs.get(key);
    const acknowledged = (blob?.acknowledged ?? 0) > 0;
    const name = key.slice(5, 13);
    const excused = blob !== undefined && this.couldNotKnow(run, blob); // then, or when it answers
    try {
      const opened = await run.blobs.get.open(key);
      const parts: Uint8Array[] = [];
      if (opened.kind === "whole") parts.push(opened.bytes);
      else for await (const chunk of opened.chunks) parts.push(Buffer.from(chunk));
      if (!blob || !Buffer.concat(parts).equals(blob.bytes)) {
        this.oracle.breach(`I2: ${run.uuid} answered ${key} with wrong bytes`);
      }
      this.count("get answered");
      return true;
    } catch (error) {
      if (!(error instanceof CaskError)) throw error;
      this.count(`get ${error.code}`);
      this.say(`get ${name} at ${run.uuid}: ${error.code}`);
      const isWrong = blob && acknowledged && hasCode(error, "NOT_FOUND") && !excused && !this.couldNotKnow(run, blob);
      if (isWrong && !(await this.promisedLess(blob))) {
        this.oracle.breach(`I5: ${run.uuid} answered 404 for ${key}, which was acknowledged`);
      }
      return false;
    }
  }
}

/** A record of which the process that runs there does not know: its upload failed, or its deletion. */
export function isLeftover({ run, disk, borrows }: Host, blob: KnownBlob): boolean {
  return run?.ready === true && !borrows && copyOn(disk, blob)?.isRecord === true && !run.known.has(blob.key);
}

async function* inPieces(bytes: Buffer): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536);
}

function seedOf(seed: number, stream: string): number {
  return createHash("sha1").update(`${seed} ${stream}`).digest().readUInt32BE(0);
}
