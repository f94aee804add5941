import { readFile } from "node:fs/promises";
import { Get } from "./blobs/get.ts";
import { KeepFetched } from "./blobs/keep-fetched.ts";
import { LocalStore } from "./blobs/local-store.ts";
import { Put } from "./blobs/put.ts";
import { SpaceWatch } from "./blobs/space-watch.ts";
import { VerifiedTimes } from "./blobs/verified-times.ts";
import { Cluster } from "./cluster/cluster.ts";
import { Heartbeat } from "./cluster/heartbeat.ts";
import { Identity } from "./cluster/identity.ts";
import { Join } from "./cluster/join.ts";
import { KnownMembers } from "./cluster/known-members.ts";
import type { MembershipChange } from "./cluster/membership.ts";
import { NodeClient } from "./cluster/node-client.ts";
import type { Config } from "./config.ts";
import { type Clock, SystemClock } from "./core/clock.ts";
import type { CaskError } from "./core/errors.ts";
import { LEAVE_TIMEOUT_MS, SPACE_LOOK_EVERY_MS } from "./core/limits.ts";
import type { Logger, LogRing } from "./core/log.ts";
import { Metrics } from "./core/metrics.ts";
import { type Random, SystemRandom } from "./core/random.ts";
import { Worker } from "./core/worker.ts";
import { createApp } from "./http/app.ts";
import { SecretCheck } from "./http/secret-check.ts";
import { HttpServer } from "./http/server.ts";
import { deriveNodeSecret } from "./peer/protocol.ts";
import type { Backend } from "./storage/backend.ts";
import { openBackend } from "./storage/open.ts";
import { VERSION } from "./version.ts";

export interface NodeDependencies {
  readonly config: Config;
  readonly log: Logger;
  readonly logRing: LogRing;
  /** Something ended this node's right to run (its UUID belongs to another one): stop the process and say why. */
  readonly onFatal: (error: CaskError) => void;
  readonly clock?: Clock;
  readonly random?: Random;
}

/** One running node. */
export interface CaskNode {
  readonly uuid: string;
  /** Starts listening and joining. Resolves with the port. */
  start(): Promise<number>;
  /** Says good-bye, finishes what is under way (bounded), releases the data folder. */
  stop(): Promise<void>;
}

/** Composition root: opens the storage and puts all floors together. Nothing listens yet. */
export async function createNode(dependencies: NodeDependencies): Promise<CaskNode> {
  const { config, log, logRing, clock = new SystemClock(), random = new SystemRandom() } = dependencies;
  const backend = await openBackend({
    kind: config.backend,
    root: config.diskBackendRoot,
    random,
    onNotice: (message) => log.warn({}, message),
  });
  try {
    return await assemble({ ...dependencies, config, log, logRing, clock, random }, backend);
  } catch (error) {
    await backend.close();
    throw error;
  }
}

type Parts = Required<NodeDependencies>;

async function assemble(parts: Parts, backend: Backend): Promise<CaskNode> {
  const { config, log, clock, random } = parts;
  const identity = await Identity.load({
    stateFolder: config.stateDir,
    configuredUuid: config.uuid,
    store: backend.store,
    random,
  });
  const knownMembers = new KnownMembers(config.stateDir);
  const known = await knownMembers.load();
  const space = new SpaceWatch({
    backend,
    keepFreeBytes: config.keepFreeBytes,
    writeable: config.writeable,
    clock,
    log,
  });
  const authorities = await readAuthorities(config.sslCa);
  const nodeSecret = deriveNodeSecret(config.clusterSecret ?? random.hex(32));
  const verifiedTimes = new VerifiedTimes();
  const isIncomplete = () => identity.incomplete;
  const localStore = new LocalStore({
    uuid: identity.uuid,
    backend,
    verifiedTimes,
    isWriteable: () => cluster.isWriteable,
    isIncomplete,
    onDiskAnswer: (answered) => space.noteDiskAnswer(answered),
    clock,
    log,
  });
  const cluster: Cluster = new Cluster({
    uuid: identity.uuid,
    baseUrl: config.baseUrl,
    store: backend.store,
    version: VERSION,
    startNonce: random.hex(16),
    startedMs: clock.wallMs(),
    points: config.vnodes,
    settings: config.replicationSettings,
    hasNeighbors: config.neighbors.length > 0,
    heartbeatIntervalMs: config.heartbeatIntervalMs,
    ownPeer: localStore,
    isWriteable: () => space.isWriteable,
    isIncomplete,
    freeBytes: () => space.freeBytes,
    known,
    save: (members) => knownMembers.save(members),
    nodeSecret,
    authorities,
    onChange: (change) => countChange(metrics, change),
    clock,
    log,
  });
  const metrics = new Metrics({
    clusterSize: () => cluster.view().nodes.filter((node) => node.live).length,
    diskFreeBytes: () => space.freeBytes,
  });
  const client = new NodeClient({ nodeSecret, authorities });
  const heartbeat = new Heartbeat({ cluster, client, identity, onRefused: parts.onFatal, log });
  const seeds = config.neighbors.flatMap((neighbor) => (neighbor.kind === "url" ? [neighbor.url] : []));
  const join = new Join({ seeds, cluster, heartbeat, clock, log });
  const view = () => cluster.view();
  const keep = new KeepFetched({ backend, isWriteable: () => cluster.isWriteable, log });
  const get = new Get({ view, keep, clock, log });
  const put = new Put({ view, backend, space, maxUploadBytes: config.maxUploadBytes, clock });
  const worker = (name: string, intervalMs: number, step: Worker["options"]["step"]) =>
    new Worker({ name, intervalMs, step, clock, random, log });
  const workers = [
    worker("space", SPACE_LOOK_EVERY_MS, async () => {
      await space.look(0);
      return "idle";
    }),
    worker("heartbeat", config.heartbeatIntervalMs, (signal) => heartbeat.step(signal)),
    ...(seeds.length > 0
      ? [worker("join", config.heartbeatIntervalMs, (signal: AbortSignal) => join.step(signal))]
      : []),
  ];
  const app = createApp({
    version: VERSION,
    backendKind: config.backend,
    settings: config.shown,
    startedWallMs: clock.wallMs(),
    readTimeoutMs: config.readTimeoutMs,
    writeTimeoutMs: config.writeTimeoutMs,
    maxUploadBytes: config.maxUploadBytes,
    isIncomplete,
    cluster,
    heartbeat,
    join,
    get,
    put,
    localStore,
    backend,
    space,
    secrets: new SecretCheck([config.clusterSecret, config.clusterSecretOld].filter((secret) => secret !== undefined)),
    metrics,
    workers: () => workers.map((each) => each.status()),
    logRing: parts.logRing,
    clock,
    log,
  });
  const { host, port, tls, readTimeoutMs } = config;
  const server = new HttpServer({ handler: app, host, port, tls, headTimeoutMs: readTimeoutMs, clock });
  return {
    uuid: identity.uuid,
    async start() {
      await space.look();
      const listening = await server.start();
      for (const each of workers) each.start();
      log.info(
        { uuid: identity.uuid, port: listening, store: backend.store },
        `node ${identity.uuid} serves ${config.baseUrl}`,
      );
      return listening;
    },
    async stop() {
      await Promise.all(workers.map((each) => each.stop()));
      await heartbeat.sayLeaving(AbortSignal.timeout(LEAVE_TIMEOUT_MS));
      await server.stop();
      await keep.settled();
      await cluster.stop();
      await client.close();
      await backend.close();
      log.info({}, "stopped");
    },
  };
}

function countChange(metrics: Metrics, change: MembershipChange): void {
  if (change.to === "alive" && change.from !== "suspect") metrics.joins.inc();
  if (change.to === "left" || change.to === "dead") metrics.leaves.inc();
}

async function readAuthorities(file: string | undefined): Promise<string[] | undefined> {
  if (file === undefined) return undefined;
  const { rootCertificates } = await import("node:tls");
  return [...rootCertificates, await readFile(file, "utf8")];
}
