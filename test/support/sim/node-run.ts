import { BlobService } from "../../../src/blobs/blob-service.ts";
import { parseScrubPlace } from "../../../src/blobs/scrub.ts";
import { SpaceWatch } from "../../../src/blobs/space-watch.ts";
import { Cluster } from "../../../src/cluster/cluster.ts";
import { Heartbeat } from "../../../src/cluster/heartbeat.ts";
import { Identity } from "../../../src/cluster/identity.ts";
import { KnownMembers } from "../../../src/cluster/known-members.ts";
import { UuidConflict } from "../../../src/cluster/node-client.ts";
import { StateFile } from "../../../src/cluster/state-file.ts";
import { CaskError, hasCode } from "../../../src/core/errors.ts";
import type { Key } from "../../../src/core/key.ts";
import { silentLogger } from "../../../src/core/log.ts";
import type { Random } from "../../../src/core/random.ts";
import { RateLimit } from "../../../src/core/rate-limit.ts";
import { Worker } from "../../../src/core/worker.ts";
import type { Announcement } from "../../../src/peer/protocol.ts";
import type { Backend } from "../../../src/storage/backend.ts";
import type { Compacted } from "../../../src/storage/compaction.ts";
import { Inventory } from "../../../src/storage/inventory.ts";
import type { KeySet } from "../../../src/storage/key-set.ts";
import { TieredBackend } from "../../../src/storage/tiered.ts";
import type { SimClock, SimTime } from "./sim-clock.ts";
import type { SimNetwork } from "./sim-network.ts";
import { type ServingNode, SimPeer } from "./sim-peer.ts";
import type { SimProcess } from "./sim-process.ts";

export const ROOT = "/disk";

/** What is told of segments, as events. */
const NOTICES: ReadonlyArray<readonly [RegExp, string]> = [
  [/when the process died: cut off/, "torn tail cut off"],
  [/is damaged in \d+ places/, "damage found at a start"],
  [/has vanished|have vanished/, "segment missed at a start"],
  [/was damaged, and has been written anew/, "header of a segment mended"],
  [/has no readable header/, "segment without a header at a start"],
];

export interface SimSettings {
  readonly replication: number;
  readonly maxReplication: number;
  readonly repairGraceMs: number;
  readonly trimGraceMs: number;
  readonly writeable: boolean;
  readonly segments: {
    readonly segmentBlobMaxBytes: number;
    readonly maxSegmentBytes: number;
    readonly checkpointEveryBytes: number;
  };
}

export interface NodeOptions {
  readonly uuid: string;
  readonly url: string;
  /** Base URLs of all others, as CASK_NEIGHBORS. */
  readonly neighbors: readonly string[];
  readonly settings: SimSettings;
  /** This life's hold of its disk. */
  readonly disk: SimProcess;
  readonly clock: SimClock;
  readonly time: SimTime;
  readonly random: Random;
  readonly network: SimNetwork;
  readonly at: (url: string) => NodeRun | null;
  /** Wraps the disk, so that what happens to it is seen. */
  readonly watch: (backend: Backend, node: NodeRun) => Backend;
  readonly onEvent: (what: string) => void;
  /** Answers whether this process was killed here. */
  readonly onPoint: (point: string) => boolean;
  /** A key is about to be trimmed here. */
  readonly beforeCompaction: () => void;
  readonly onMarked: (key: Key) => void;
}

/** One run of a node's process: the production code above the operating system, the network's sockets and gossip. */
export class NodeRun implements ServingNode {
  readonly uuid: string;
  readonly url: string;
  readonly clock: SimClock;
  readonly startNonce: string;
  private readonly options: NodeOptions;
  private alive = true;
  /** Everything below exists from then on. */
  ready = false;
  cluster!: Cluster;
  heartbeat!: Heartbeat;
  blobs!: BlobService;
  identity!: Identity;
  /** The keys that it has, as it knows. */
  known!: Pick<KeySet, "has">;
  store = "";
  private backend!: Inventory;
  private sleeping: Array<() => void> = [];
  private workers: Worker[] = [];

  constructor(options: NodeOptions) {
    this.options = options;
    this.uuid = options.uuid;
    this.url = options.url;
    this.clock = options.clock;
    this.startNonce = options.random.hex(8);
  }

  get settings(): SimSettings {
    return this.options.settings;
  }

  get localStore() {
    return this.blobs.localStore;
  }

  get isWriteable(): boolean {
    return this.cluster.isWriteable;
  }

  isAlive(): boolean {
    return this.alive;
  }

  whenAwake(then: () => void): void {
    if (this.clock.isFrozen) this.sleeping.push(then);
    else then();
  }

  freeze(ms: number): void {
    this.clock.freeze(ms);
    this.options.time.at(this.options.time.nowMs + ms, () => {
      if (this.clock.isFrozen || !this.alive) return;
      for (const then of this.sleeping.splice(0)) then();
    });
  }

  /** The process ends here, whatever it was doing. */
  die(): void {
    this.alive = false;
    this.ready = false;
    this.clock.kill();
    this.sleeping = [];
    this.options.disk.kill();
  }

  /** A step before and after which the process can be killed: then the rest of it never happens. */
  async through<T>(step: string, work: () => Promise<T>): Promise<T> {
    const { onPoint } = this.options;
    if (this.alive && onPoint(`before ${step}`)) return new Promise<T>(() => undefined);
    const result = await work();
    if (step === "segments.checkpoint" && this.alive) this.options.onEvent("checkpoint written");
    if (this.alive && onPoint(`after ${step}`)) return new Promise<T>(() => undefined);
    return result;
  }

  /** The named methods of an object are steps. */
  private instrument(of: string, target: object, names: readonly string[]): void {
    const methods = target as Record<string, (...args: unknown[]) => Promise<unknown>>;
    for (const name of names) {
      const method = (methods[name] as (...args: unknown[]) => Promise<unknown>).bind(target);
      methods[name] = (...args) => this.through(`${of}.${name}`, () => method(...args));
    }
  }

  /** As SIGTERM does it: work under way is finished, and the data folder is given back. */
  async stop(): Promise<void> {
    await this.blobs.stop();
    await this.backend.close();
  }

  private async compact(disk: TieredBackend, signal: AbortSignal): Promise<Compacted> {
    this.options.beforeCompaction();
    const compacted = await disk.compact(signal);
    if (compacted.segment !== null)
      this.options.onEvent(compacted.corrupt.length > 0 ? "compaction stuck" : "compacted");
    return compacted;
  }

  private noticed(message: string): void {
    for (const [pattern, event] of NOTICES) if (pattern.test(message)) this.options.onEvent(event);
  }

  /** As node.ts does. Rejects when the disk does not let it. */
  async start(): Promise<void> {
    const { uuid, clock, random, settings } = this.options;
    const { files, takeLock } = this.options.disk;
    const log = silentLogger();
    const disk = await TieredBackend.open({
      root: ROOT,
      random,
      onNotice: (message) => this.noticed(message),
      files,
      takeLock,
      clock,
      ...settings.segments,
      compactionRate: new RateLimit(20_000_000, clock),
    });
    const inner = this.options.watch(disk, this);
    const backend = new Inventory({ inner, known: disk.known, pause: () => Promise.resolve() });
    this.store = backend.store;
    this.known = disk.known.table;
    this.identity = await Identity.load({
      stateFolder: ROOT,
      configuredUuid: uuid,
      store: backend.store,
      random,
      files,
    });
    if (disk.hasLost) {
      this.options.onEvent("segments have lost copies");
      await this.identity.markIncomplete();
    }
    const known = new KnownMembers(ROOT, files);
    const scrubFile = new StateFile(ROOT, "scrub.json", files);
    const space = new SpaceWatch({ backend, keepFreeBytes: 100_000, writeable: settings.writeable, clock, log });
    await space.look();
    this.instrument("segments", disk["segments"], ["move", "deleteAgain", "drop", "checkpoint"]);
    this.backend = backend;
    this.blobs = new BlobService({
      backend,
      compact: (signal) => this.compact(disk, signal),
      identity: this.identity,
      cluster: () => this.cluster,
      meet: ({ baseUrl }) => this.heartbeat.meet(baseUrl),
      space,
      settings: {
        maxUploadBytes: 2 ** 31,
        cacheBytes: 0,
        reconcileIntervalMs: 10_000,
        repairBytesPerSecond: 20_000_000,
        scrubBytesPerSecond: 20_000_000,
        scrubIntervalMs: 500,
        trimGraceMs: settings.trimGraceMs,
        trimDryRun: false,
      },
      scrubPlace: {
        load: async () => parseScrubPlace(await scrubFile.read()),
        save: (place) => this.through("scrub.save", () => scrubFile.write(place)),
      },
      counters: {
        rebalanced: ({ result }) => this.options.onEvent(`repair ${result}`),
        deleted: () => this.options.onEvent("trimmed"),
        quarantined: () => this.options.onEvent("quarantined"),
      },
      clock,
      random,
      log,
    });
    const { localStore } = this.blobs;
    this.instrument("store", localStore, ["beginTrim", "finishTrim", "cancelTrim"]);
    this.instrument("identity", this.identity, ["markDraining", "markComplete"]);
    const beginTrim = localStore.beginTrim.bind(localStore);
    localStore.beginTrim = (key, nonce) => {
      this.options.onMarked(key);
      return beginTrim(key, nonce);
    };
    this.cluster = await this.buildCluster(known, space);
    this.heartbeat = new Heartbeat({
      cluster: this.cluster,
      client: { exchange: (to, own) => this.exchange(to, own) },
      identity: this.identity,
      onRefused: () => {
        this.options.onEvent("refused: its UUID is in use");
        this.die();
      },
      log,
    });
    this.run(space);
  }

  /** Another process answers at that URL: over the network, as POST /heartbeat/. Answers whether it did. */
  meet(url: string): Promise<boolean> {
    return this.heartbeat.meet(url).then(
      (answer) => {
        if (answer) this.cluster.noteMeeting();
        return true;
      },
      () => false, // tried again later
    );
  }

  private run(space: SpaceWatch): void {
    const { clock, random } = this.options;
    const log = silentLogger();
    const worker = (name: string, intervalMs: number, step: () => Promise<"idle">) =>
      new Worker({ name, intervalMs, step, clock, random, log });
    this.workers = [
      worker("space", 5_000, async () => {
        await space.look(0);
        return "idle";
      }),
      worker("join", 2_000, async () => {
        if (!this.cluster.joined) await Promise.all(this.options.neighbors.map((url) => this.meet(url)));
        return "idle";
      }),
    ];
    this.ready = true;
    for (const each of this.workers) each.start();
    this.blobs.start();
  }

  private async buildCluster(known: KnownMembers, space: SpaceWatch): Promise<Cluster> {
    const { uuid, url, neighbors, settings, clock, network } = this.options;
    return new Cluster({
      uuid,
      baseUrl: url,
      store: this.store,
      version: "simulated",
      startNonce: this.startNonce,
      startedMs: clock.wallMs(),
      points: 16,
      settings: { replication: settings.replication, maxReplication: settings.maxReplication },
      hasNeighbors: neighbors.length > 0,
      conflictMs: 30_000,
      gossipAddress: () => "",
      ownPeer: this.blobs.localStore,
      isWriteable: () => space.isWriteable,
      isIncomplete: () => this.identity.incomplete,
      isDraining: () => this.identity.drainingSinceMs !== null,
      repairGraceMs: settings.repairGraceMs,
      makePeer: (announcement) => {
        const peer = new SimPeer({
          uuid: announcement.uuid,
          baseUrl: announcement.base_url,
          from: url,
          caller: this,
          network,
          target: () => this.serving(announcement.base_url, announcement.uuid),
        });
        this.instrument("peer", peer, ["has", "get", "put", "vouch", "digests", "keysIn"]);
        return peer;
      },
      onViewChange: () => this.blobs.clusterChanged(),
      freeBytes: () => null,
      known: await known.load(),
      forgotten: known.forgotten,
      save: (members, forgotten) => known.save(members, forgotten),
      clock,
      log: silentLogger(),
    });
  }

  private serving(url: string, uuid: string): NodeRun | null {
    const process = this.options.at(url);
    return process?.ready && process.uuid === uuid ? process : null;
  }

  private async exchange(to: string, own: Announcement): Promise<Announcement> {
    const { network, at } = this.options;
    const target = at(to);
    const serving = target?.ready ? target : null;
    const dead = { isAlive: () => false, whenAwake: () => undefined };
    const ends = { from: this.url, to, caller: this, target: serving ?? dead, patienceMs: 1_500 };
    return network.call(ends, async () => {
      const process = serving as NodeRun;
      try {
        return await process.heartbeat.receive(own);
      } catch (error) {
        if (!hasCode(error, "UUID_IN_USE")) throw error;
        throw new UuidConflict(error.message, process.uuid === own.uuid ? process.cluster.announcement() : null);
      }
    });
  }
}

export function isExpected(error: unknown): boolean {
  return error instanceof CaskError;
}
