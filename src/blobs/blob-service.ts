import type { Cluster } from "../cluster/cluster.ts";
import type { ViewNode } from "../cluster/cluster-view.ts";
import type { Identity } from "../cluster/identity.ts";
import type { Clock } from "../core/clock.ts";
import { messageOf } from "../core/errors.ts";
import type { Key } from "../core/key.ts";
import { REPAIR_BATCH_COUNT, REPAIR_RETRY_MS, TRIM_IDLE_MS, WORKER_BACKOFF_MAX_MS } from "../core/limits.ts";
import type { Logger } from "../core/log.ts";
import type { Random } from "../core/random.ts";
import { RateLimit } from "../core/rate-limit.ts";
import { type StepResult, Worker } from "../core/worker.ts";
import type { Compacted } from "../storage/compaction.ts";
import type { Inventory } from "../storage/inventory.ts";
import { BlobCache, type CacheFigures } from "./blob-cache.ts";
import { Drain } from "./drain.ts";
import { ForegroundLoad } from "./foreground-load.ts";
import { Get } from "./get.ts";
import { KeepFetched } from "./keep-fetched.ts";
import { LocalStore } from "./local-store.ts";
import { Put } from "./put.ts";
import { ReadRepair } from "./read-repair.ts";
import { Reconcile } from "./reconcile.ts";
import { Repair, type RepairOutcome } from "./repair.ts";
import { RepairQueue } from "./repair-queue.ts";
import { Scrub, type ScrubPlace } from "./scrub.ts";
import type { SpaceWatch } from "./space-watch.ts";
import { Strangers } from "./strangers.ts";
import { Trim } from "./trim.ts";
import { verify } from "./verified.ts";
import { VerifiedTimes } from "./verified-times.ts";

/** Threads beside this one that answer clients. */
export interface OtherThreads {
  readonly underWay: number;
  /** With those of this thread. */
  cacheFigures(own: CacheFigures): CacheFigures;
}

export interface BlobServiceOptions {
  readonly backend: Inventory;
  /** Gives back the space of deleted copies, a step a call; undefined where the backend needs none. */
  readonly compact?: ((signal: AbortSignal) => Promise<Compacted>) | undefined;
  readonly identity: Pick<Identity, "uuid" | "incomplete" | "drainingSinceMs" | "markComplete" | "markDraining">;
  /** Exists when the first of these is called: the cluster needs this node as a peer first. */
  readonly cluster: () => Pick<Cluster, "view" | "isWriteable" | "inConflict">;
  /** Asks a node whom it knows: they are members from then on. Rejects when it can't be asked. */
  readonly meet: (node: ViewNode) => Promise<unknown>;
  readonly space: SpaceWatch;
  readonly settings: RepairSettings & { readonly maxUploadBytes: number; readonly cacheBytes: number };
  readonly scrubPlace: { load(): Promise<ScrubPlace | null>; save(place: ScrubPlace): Promise<void> };
  readonly counters: RepairCounters;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
}

/** Times in milliseconds, rates in bytes a second. */
export interface RepairSettings {
  readonly reconcileIntervalMs: number;
  readonly repairBytesPerSecond: number;
  readonly scrubBytesPerSecond: number;
  readonly scrubIntervalMs: number;
  readonly trimGraceMs: number;
  readonly trimDryRun: boolean;
}

/** Told each time that one of these happens. */
export interface RepairCounters {
  rebalanced(outcome: RepairOutcome): void;
  deleted(): void;
  quarantined(): void;
}

/** How often nobody woke them, the workers look whether there is something to do. */
const IDLE_LOOK_MS = 5_000;

/** All that a node does with blobs: the doors' side (get, put, the own store) and the work in the background. */
export class BlobService {
  readonly localStore: LocalStore;
  readonly get: Get;
  readonly put: Put;
  readonly keep: KeepFetched;
  readonly drain: Drain;
  readonly trim: Trim;
  readonly reconcile: Reconcile;
  readonly scrub: Scrub;
  readonly foreground: ForegroundLoad;
  readonly cache: BlobCache;
  readonly queue = new RepairQueue();
  readonly workers: readonly Worker[];
  private readonly options: BlobServiceOptions;
  private readonly repair: Repair;
  private readonly readRepair: ReadRepair;
  private readonly failures = new Map<Key, number>();
  private elsewhere: OtherThreads | undefined;
  private sentBytes = 0;
  private quarantined = 0;
  /** Null: not known yet, or the disk does not say. */
  private inQuarantine: number | null = null;

  constructor(options: BlobServiceOptions) {
    this.options = options;
    const { backend, space, settings, clock, log, cluster } = options;
    const view = () => cluster().view();
    this.cache = new BlobCache(settings.cacheBytes);
    this.foreground = new ForegroundLoad(clock);
    this.localStore = this.buildLocalStore();
    this.keep = new KeepFetched({
      backend,
      localStore: this.localStore,
      isWriteable: () => cluster().isWriteable,
      clock,
      log,
    });
    this.readRepair = new ReadRepair(this.queue, clock);
    const { cache, keep } = this;
    const readOwn = (key: Key, ms: number) => this.localStore.readAtOnce(key, ms);
    const mayBeHere = (key: Key) => backend.mayBeHere(key);
    const onFetched = (key: Key) => this.readRepair.fetched(key);
    const strangers = new Strangers({ view, meet: options.meet });
    this.get = new Get({ view, keep, cache, readOwn, mayBeHere, strangers, onFetched, clock, log });
    this.put = new Put({ view, backend, space, cache, maxUploadBytes: settings.maxUploadBytes, clock });
    const { trim, repair, reconcile, scrub, drain } = this.buildRepair();
    this.trim = trim;
    this.repair = repair;
    this.reconcile = reconcile;
    this.scrub = scrub;
    this.drain = drain;
    this.workers = this.buildWorkers();
  }

  /** Other threads serve, too. */
  servedElsewhere(threads: OtherThreads): void {
    this.elsewhere = threads;
    this.foreground.elsewhere = () => threads.underWay;
  }

  /** They answered clients with these blobs. */
  fetchedElsewhere(keys: readonly Key[]): void {
    for (const key of keys) this.readRepair.fetched(key);
  }

  /** One of them found this copy to be corrupt: it is read once more, which puts it into quarantine. */
  async lookAt(key: Key): Promise<void> {
    try {
      const body = await this.localStore.get(key);
      if (body) await verify(body, key);
    } catch (error) {
      this.options.log.warn(
        { key, err: error },
        `a copy that was found corrupt can't be read again: ${messageOf(error)}`,
      );
    }
  }

  /** Of all threads that serve. */
  cacheFigures(): CacheFigures {
    const own = this.cache.figures();
    return this.elsewhere?.cacheFigures(own) ?? own;
  }

  /** The ring, or what is known of its nodes, is another one. */
  clusterChanged(): void {
    this.worker("reconcile")?.wake();
  }

  worker(name: string): Worker | undefined {
    return this.workers.find((worker) => worker.name === name);
  }

  start(): void {
    for (const worker of this.workers) worker.start();
  }

  async stop(): Promise<void> {
    await Promise.all(this.workers.map((worker) => worker.stop()));
    await this.scrub
      .save()
      .catch((error: unknown) => this.options.log.warn({ err: error }, "the scrub's place is lost"));
  }

  /** What repair is at, for `/status/` and the metrics. */
  status() {
    const { backend } = this.options;
    return {
      inventory: { ready: backend.ready, keys: backend.ready ? backend.count : null },
      repair: { waiting: this.queue.size, retries: this.queue.waitingForRetry, sent_bytes: this.sentBytes },
      quarantined: this.inQuarantine,
      quarantined_since_start: this.quarantined,
      reconcile: this.reconcile.status(),
      scrub: this.scrub.status(),
      trim: this.trim.status(),
      drain: this.drain.status(),
    };
  }

  private buildLocalStore(): LocalStore {
    const { backend, identity, space, settings, clock, log, cluster, counters } = this.options;
    return new LocalStore({
      uuid: identity.uuid,
      backend,
      verifiedTimes: new VerifiedTimes(),
      isWriteable: () => cluster().isWriteable,
      isIncomplete: () => identity.incomplete,
      isDraining: () => identity.drainingSinceMs !== null,
      onDiskAnswer: (answered) => space.noteDiskAnswer(answered),
      onQuarantined: (key) => {
        this.quarantined++;
        this.worker("inventory")?.wake();
        counters.quarantined();
        this.queue.add(key, 1); // how many good copies are left is not known: few, perhaps
      },
      view: () => cluster().view(),
      vouchRefusal: () => {
        if (identity.drainingSinceMs !== null) return "is being emptied";
        return cluster().inConflict ? "another live node has its UUID" : null;
      },
      trimGraceMs: settings.trimGraceMs,
      clock,
      log,
    });
  }

  private buildRepair() {
    const { backend, identity, settings, scrubPlace, counters, clock, random, log, cluster } = this.options;
    const { localStore: own, foreground, queue } = this;
    const view = () => cluster().view();
    const trim: Trim = new Trim({
      view,
      localStore: own,
      graceMs: settings.trimGraceMs,
      dryRun: settings.trimDryRun,
      onDeleted: () => counters.deleted(),
      clock,
      random,
      log,
    });
    const onSurplus = (key: Key) => trim.add(key);
    const rate = new RateLimit(settings.repairBytesPerSecond, clock);
    const repair = new Repair({ view, rate, foreground, onSurplus, clock, log });
    const reconcile = new Reconcile({
      view,
      own,
      isReady: () => backend.ready,
      queue,
      onSurplus,
      onComplete: () => this.complete(),
      clock,
      random,
      log,
    });
    const scrub = new Scrub({
      backend,
      own,
      count: () => (backend.ready ? backend.count : null),
      rate: new RateLimit(settings.scrubBytesPerSecond, clock),
      foreground,
      intervalMs: settings.scrubIntervalMs,
      load: scrubPlace.load,
      save: scrubPlace.save,
      audit: (signal) => backend.load(signal),
      onVerified: (key) => this.askGoNodes(key),
      clock,
      log,
    });
    const drain = new Drain({
      view,
      inventory: backend,
      own,
      store: backend.store,
      repair,
      sinceMs: () => identity.drainingSinceMs,
      begin: (sinceMs) => identity.markDraining(sinceMs),
      clock,
      random,
      log,
    });
    return { trim, repair, reconcile, scrub, drain };
  }

  private buildWorkers(): Worker[] {
    const { settings, clock, random, log, backend, compact } = this.options;
    const worker = (name: string, intervalMs: number, step: (signal: AbortSignal) => Promise<StepResult>) =>
      new Worker({ name, intervalMs, step, clock, random, log });
    const repair = worker("repair", IDLE_LOOK_MS, (signal) => this.repairSome(signal));
    this.queue.onAdd = () => repair.wake();
    return [
      worker("inventory", IDLE_LOOK_MS, async (signal) => {
        // Listed once; afterwards only when something could not be told.
        if (!backend.ready || backend.uncertainCount > 0) await backend.load(signal);
        await this.countQuarantined();
        return "idle";
      }),
      repair,
      worker("reconcile", settings.reconcileIntervalMs, (signal) => this.reconcile.step(signal)),
      worker("scrub", settings.scrubIntervalMs, (signal) => this.scrub.step(signal)),
      worker("trim", TRIM_IDLE_MS, (signal) => this.trim.step(signal)),
      worker("drain", IDLE_LOOK_MS, (signal) => this.drain.step(signal)),
      ...(compact ? [worker("compaction", IDLE_LOOK_MS, (signal) => this.compactSome(compact, signal))] : []),
    ];
  }

  private async compactSome(
    compact: (signal: AbortSignal) => Promise<Compacted>,
    signal: AbortSignal,
  ): Promise<StepResult> {
    const { segment, corrupt } = await compact(signal);
    for (const key of corrupt) this.queue.add(key, 1); // its repair reads it, and puts it into quarantine
    return segment === null ? "idle" : "busy";
  }

  private async countQuarantined(): Promise<void> {
    try {
      this.inQuarantine = await this.options.backend.quarantinedCount();
    } catch (error) {
      this.inQuarantine = null;
      throw error;
    }
  }

  private async repairSome(signal: AbortSignal): Promise<StepResult> {
    const { clock, counters } = this.options;
    const keys = this.queue.take(REPAIR_BATCH_COUNT, clock.nowMs());
    if (keys.length === 0) return "idle";
    for (const outcome of await this.repair.repair(keys, signal)) {
      counters.rebalanced(outcome);
      this.sentBytes += outcome.sentBytes;
      if (outcome.result === "failed") this.again(outcome);
      else this.failures.delete(outcome.key);
    }
    return "busy";
  }

  private again({ key, copies, error }: RepairOutcome): void {
    const failures = (this.failures.get(key) ?? 0) + 1;
    const waitMs = Math.min(WORKER_BACKOFF_MAX_MS, REPAIR_RETRY_MS * 2 ** Math.min(failures - 1, 8));
    if (failures > 5) {
      // Reconcile finds it again, if it is worth it.
      this.failures.delete(key);
      this.options.log.info({ key }, `${key} could not be repaired: ${error}`);
      return;
    }
    this.failures.set(key, failures);
    this.queue.retry(key, copies, this.options.clock.nowMs() + waitMs);
  }

  /** Go nodes have no digests: whether they hold what they should is asked for each key, at the pace of the scrub. */
  private askGoNodes(key: Key): void {
    const view = this.options.cluster().view();
    if (!view.nodes.some((node) => node.live && node.peer.isGo)) return;
    if (
      view
        .order(key)
        .slice(0, view.replication)
        .some((node) => node.peer.isGo)
    )
      this.queue.add(key, view.replication);
  }

  private async complete(): Promise<void> {
    const { identity, log } = this.options;
    if (!identity.incomplete) return;
    await identity.markComplete();
    log.info({}, "this node holds again all that the others say it should: its word counts again");
  }
}
