import { X509Certificate } from "node:crypto";
import { lookup } from "node:dns/promises";
import { readFile } from "node:fs/promises";
import { BlobService } from "./blobs/blob-service.ts";
import { parseScrubPlace, type ScrubPlace } from "./blobs/scrub.ts";
import { SpaceWatch } from "./blobs/space-watch.ts";
import { Cluster } from "./cluster/cluster.ts";
import { Forget } from "./cluster/forget.ts";
import { GoPeer } from "./cluster/go-peer.ts";
import { GossipMembers } from "./cluster/gossip-members.ts";
import { Heartbeat } from "./cluster/heartbeat.ts";
import { HttpPeer } from "./cluster/http-peer.ts";
import { Identity } from "./cluster/identity.ts";
import { Join } from "./cluster/join.ts";
import { KnownMembers } from "./cluster/known-members.ts";
import type { MembershipChange } from "./cluster/membership.ts";
import { NodeClient } from "./cluster/node-client.ts";
import { StateFile } from "./cluster/state-file.ts";
import { type Config, readPair } from "./config.ts";
import { type Clock, SystemClock } from "./core/clock.ts";
import { CaskError, messageOf } from "./core/errors.ts";
import { inTime } from "./core/in-time.ts";
import { CONFLICT_READ_ONLY_MS, LEAVE_TIMEOUT_MS, SPACE_LOOK_EVERY_MS, STOP_TIMEOUT_MS } from "./core/limits.ts";
import type { Logger, LogRing } from "./core/log.ts";
import { Metrics } from "./core/metrics.ts";
import { type Random, SystemRandom } from "./core/random.ts";
import { type StepResult, Worker } from "./core/worker.ts";
import { formatEndpoint } from "./gossip/endpoint.ts";
import type { Gossip } from "./gossip/gossip.ts";
import { NetTransport } from "./gossip/net-transport.ts";
import { openGossip } from "./gossip/open-gossip.ts";
import { ownEndpoint, resolveWith } from "./gossip/own-endpoint.ts";
import { createDoors, laneOf } from "./http/fast-lane.ts";
import { NodeServer } from "./http/node-server.ts";
import { SecretCheck } from "./http/secret-check.ts";
import type { RemotePeer } from "./peer/peer.ts";
import { type Announcement, deriveNodeSecret, isGoNode } from "./peer/protocol.ts";
import { buildThreads, cachePart, furtherThreads } from "./serving.ts";
import { Inventory } from "./storage/inventory.ts";
import { type OpenedBackend, openBackend } from "./storage/open.ts";
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
  /** Reads certificates again (SIGHUP). */
  renew(): Promise<void>;
  /** Says good-bye, finishes what is under way (bounded), releases the data folder. */
  stop(): Promise<void>;
}

/** Composition root: opens the storage and puts all floors together. Nothing listens yet. */
export async function createNode(dependencies: NodeDependencies): Promise<CaskNode> {
  const { config, log, clock = new SystemClock(), random = new SystemRandom() } = dependencies;
  const opened = await openBackend({
    kind: config.backend,
    root: config.diskBackendRoot,
    segmentBlobMaxBytes: config.segmentBlobMaxBytes,
    isShared: furtherThreads(config) > 0,
    compactionBytesPerSecond: config.repair.repairBytesPerSecond,
    stateDir: config.stateDir,
    s3: config.s3,
    uuid: () => Identity.uuidOf({ stateFolder: config.stateDir, configuredUuid: config.uuid, random }),
    clock,
    random,
    onNotice: (message) => log.warn({}, message),
    onLost: dependencies.onFatal,
  });
  try {
    return await assemble({ ...dependencies, clock, random }, opened);
  } catch (error) {
    await opened.backend.close();
    throw error;
  }
}

interface Parts extends Required<NodeDependencies> {
  readonly backend: Inventory;
  readonly s3Figures: OpenedBackend["s3Figures"];
  readonly segments: OpenedBackend["segments"];
  readonly identity: Identity;
  readonly space: SpaceWatch;
  readonly nodeSecret: string;
  readonly authorities: string[] | undefined;
}

async function assemble(
  dependencies: Required<NodeDependencies>,
  { backend, s3Figures, segments }: OpenedBackend,
): Promise<CaskNode> {
  const { config, log, clock, random } = dependencies;
  const parts: Parts = {
    ...dependencies,
    backend: new Inventory({ inner: backend, known: segments?.known }),
    s3Figures,
    segments,
    identity: await Identity.load({
      stateFolder: config.stateDir,
      configuredUuid: config.uuid,
      store: backend.store,
      random,
    }),
    space: new SpaceWatch({ backend, keepFreeBytes: config.keepFreeBytes, writeable: config.writeable, clock, log }),
    // Without a secret no other node is to be spoken to; something nobody knows keeps the code in one piece.
    nodeSecret: deriveNodeSecret(config.clusterSecret ?? random.hex(32)),
    authorities: await readAuthorities(config.sslCa),
  };
  // A key that is not here says nothing until the others have been asked.
  if (segments?.hasLost) await parts.identity.markIncomplete();
  await parts.space.look(); // what is told of this node from the start must be true
  const members = await buildMembers(parts);
  const gossip = config.clusterSecret === undefined ? null : await openGossipOf(parts, members);
  const { cluster } = members;
  const { blobs } = members;
  const workers = buildWorkers(parts, gossip);
  const server = buildServer(parts, members, { workers: [...workers, ...blobs.workers], gossip });
  return {
    uuid: parts.identity.uuid,
    async start() {
      const port = await server.start();
      gossip?.gossip.start();
      for (const worker of workers) worker.start();
      blobs.start();
      log.info({ uuid: cluster.uuid, port, store: backend.store }, `node ${cluster.uuid} serves ${config.baseUrl}`);
      return port;
    },
    renew: () => renewCertificates(parts, server),
    async stop() {
      // A disk that hangs must not keep a node from saying good-bye, nor from ending.
      const bounded = (what: string, work: Promise<unknown>) =>
        inTime(clock, STOP_TIMEOUT_MS, work, () => new CaskError("STOPPING", `not within ${STOP_TIMEOUT_MS} ms`)).catch(
          (error: unknown) => log.warn({ err: error }, `${what} did not end; stopping all the same`),
        );
      await bounded("the work in the background", Promise.all([...workers, blobs].map((each) => each.stop())));
      await gossip?.gossip.leave(LEAVE_TIMEOUT_MS);
      await server.stop();
      await bounded("keeping fetched blobs", blobs.keep.settled());
      await gossip?.gossip.stop();
      await members.close();
      await bounded("the storage", backend.close());
      log.info({}, "stopped");
    },
  };
}

interface Members {
  readonly cluster: Cluster;
  readonly heartbeat: Heartbeat;
  readonly forget: Forget;
  readonly blobs: BlobService;
  readonly metrics: Metrics;
  /** What is there once the gossip port is bound. */
  readonly later: { gossipAddress: string; gossip: Gossip | undefined };
  close(): Promise<void>;
}

async function buildMembers(parts: Parts): Promise<Members> {
  const { config, backend, identity, space, nodeSecret, authorities, clock, random, log } = parts;
  const knownMembers = new KnownMembers(config.stateDir);
  const later: Members["later"] = { gossipAddress: "", gossip: undefined };
  const isIncomplete = () => identity.incomplete;
  const blobs: BlobService = buildBlobs(parts, {
    cluster: () => cluster,
    metrics: () => metrics,
    heartbeat: () => heartbeat,
  });
  const cluster: Cluster = new Cluster({
    uuid: identity.uuid,
    baseUrl: config.baseUrl,
    store: backend.store,
    version: VERSION,
    startNonce: random.hex(8),
    startedMs: clock.wallMs(),
    points: config.vnodes,
    settings: config.replicationSettings,
    hasNeighbors: config.neighbors.length > 0,
    conflictMs: CONFLICT_READ_ONLY_MS,
    gossipAddress: () => later.gossipAddress,
    ownPeer: blobs.localStore,
    isWriteable: () => space.isWriteable,
    isIncomplete,
    isDraining: () => identity.drainingSinceMs !== null,
    repairGraceMs: config.repair.graceMs,
    makePeer: (announcement) => makePeer(announcement, parts),
    onViewChange: () => blobs.clusterChanged(),
    freeBytes: () => space.freeBytes,
    known: await knownMembers.load(),
    forgotten: knownMembers.forgotten,
    save: (known, forgotten) => knownMembers.save(known, forgotten),
    onChange: (change) => countChange(metrics, change),
    clock,
    log,
  });
  const metrics: Metrics = new Metrics({
    clusterSize: () => cluster.view().nodes.filter((node) => node.live).length,
    diskFreeBytes: () => space.freeBytes,
    gossip: () => later.gossip?.status() ?? null,
    repair: () => blobs.status(),
    cache: () => blobs.cacheFigures(),
    s3: parts.s3Figures,
  });
  const client = new NodeClient({ nodeSecret, authorities, clock });
  const heartbeat: Heartbeat = new Heartbeat({ cluster, client, identity, onRefused: parts.onFatal, log });
  const forget = new Forget({ cluster, client, log });
  const close = async () => {
    await cluster.stop();
    await client.close();
  };
  return { cluster, heartbeat, forget, blobs, metrics, later, close };
}

/** `later`: they exist by the time that blobs are stored. */
function buildBlobs(
  parts: Parts,
  later: { cluster: () => Cluster; metrics: () => Metrics; heartbeat: () => Heartbeat },
): BlobService {
  const { config, backend, segments, identity, space, clock, random, log } = parts;
  const scrubFile = new StateFile(config.stateDir, "scrub.json");
  return new BlobService({
    backend,
    compact: segments ? (signal) => segments.compact(signal) : undefined,
    identity,
    cluster: later.cluster,
    meet: ({ baseUrl }) => later.heartbeat().meet(baseUrl),
    space,
    settings: { ...config.repair, maxUploadBytes: config.maxUploadBytes, cacheBytes: cachePart(config) },
    scrubPlace: {
      load: async () => parseScrubPlace(await scrubFile.read()),
      save: (place: ScrubPlace) => scrubFile.write(place),
    },
    counters: {
      rebalanced: ({ result }) => {
        later.metrics().rebalances.inc();
        if (result === "failed") later.metrics().rebalanceFailures.inc();
        if (result === "whole") later.metrics().rebalanceNoops.inc();
      },
      deleted: () => later.metrics().rebalanceDeletes.inc(),
      quarantined: () => later.metrics().quarantines.inc(),
    },
    clock,
    random,
    log,
  });
}

function makePeer(announcement: Announcement, parts: Parts): RemotePeer {
  const { uuid, base_url: baseUrl } = announcement;
  const { config, nodeSecret, authorities, clock, random } = parts;
  if (!isGoNode(announcement)) return new HttpPeer({ uuid, baseUrl, nodeSecret, authorities, clock });
  // The secret itself goes only where each member has shown in gossip that it knows it; elsewhere nobody need be a Go node.
  const secret = config.gossip.encryption === "false" ? config.clusterSecret : undefined;
  return new GoPeer({ uuid, baseUrl, secret, authorities, clock, random });
}

interface GossipParts {
  readonly gossip: Gossip;
  readonly gossipMembers: GossipMembers;
  readonly join: Join;
}

/** Binds the gossip port. What comes in before all is put together is dropped: nothing is used before it exists. */
async function openGossipOf(parts: Parts, { cluster, heartbeat, later }: Members): Promise<GossipParts> {
  const { config, clock, random, log } = parts;
  const { port, advertise, encryption, profile } = config.gossip;
  const { secrets } = config;
  let gossip: Gossip | undefined;
  const transport = new NetTransport({ host: config.host, port });
  const bound = await transport.start({
    packet: (bytes, from) => gossip?.packet(bytes, from),
    stream: (stream) => (gossip ? gossip.stream(stream) : stream.destroy()),
  });
  try {
    const resolve = resolveWith(lookup);
    const endpoint = await ownEndpoint({ advertise, host: config.host, port: bound, baseUrl: config.baseUrl, resolve });
    later.gossipAddress = formatEndpoint(endpoint);
    const gossipMembers = new GossipMembers({
      cluster,
      heartbeat,
      updateMeta: (meta) => gossip?.updateMeta(meta),
      secretInClear: encryption === "true" ? undefined : config.clusterSecret,
      wantsSecretInClear: encryption === "false",
      clock,
      log,
    });
    gossip = openGossip({
      name: cluster.uuid,
      transport,
      endpoint,
      profile,
      encryption,
      secrets,
      metadata: () => gossipMembers.metadata(),
      onEvent: (event) => gossipMembers.onEvent(event),
      clock,
      random,
      log,
    });
    later.gossip = gossip;
    const join = new Join({ seeds: config.neighbors, cluster, heartbeat, gossip, gossipMembers, resolve, clock, log });
    return { gossip, gossipMembers, join };
  } catch (error) {
    await transport.stop();
    throw error;
  }
}

function buildWorkers({ config, space, clock, random, log }: Parts, gossip: GossipParts | null): Worker[] {
  const worker = (name: string, intervalMs: number, step: (signal: AbortSignal) => Promise<StepResult>) =>
    new Worker({ name, intervalMs, step, clock, random, log });
  const workers = [
    worker("space", SPACE_LOOK_EVERY_MS, async () => {
      await space.look(0);
      return "idle";
    }),
  ];
  if (!gossip) return workers;
  const { gossipMembers, join } = gossip;
  const announce = worker("announce", config.heartbeatIntervalMs, async () => {
    gossipMembers.announce();
    return "idle";
  });
  return [...workers, announce, worker("join", config.heartbeatIntervalMs, (signal) => join.step(signal))];
}

function buildServer(
  parts: Parts,
  members: Members,
  { workers, gossip }: { workers: readonly Worker[]; gossip: GossipParts | null },
): NodeServer {
  const { config, backend, identity, space, clock, log, logRing } = parts;
  const { host, port, tls, readTimeoutMs, writeTimeoutMs, maxUploadBytes } = config;
  const context = {
    version: VERSION,
    backendKind: config.backend,
    settings: config.shown,
    startedWallMs: clock.wallMs(),
    readTimeoutMs,
    writeTimeoutMs,
    maxUploadBytes,
    isIncomplete: () => identity.incomplete,
    cluster: members.cluster,
    heartbeat: members.heartbeat,
    forget: members.forget,
    join: gossip?.join ?? null,
    gossip: () => gossip?.gossip.status() ?? null,
    blobs: members.blobs,
    get: members.blobs.get,
    put: members.blobs.put,
    localStore: members.blobs.localStore,
    backend,
    s3Figures: parts.s3Figures,
    space,
    secrets: new SecretCheck(config.secrets),
    metrics: members.metrics,
    workers,
    logRing,
    clock,
    log,
  };
  const doors = { handler: createDoors(context), lane: laneOf(context), headTimeoutMs: readTimeoutMs };
  return new NodeServer({ ...doors, host, port, tls, clock, others: buildThreads({ ...parts, ...members }) });
}

function countChange(metrics: Metrics, change: MembershipChange): void {
  if (change.to === "alive" && change.from !== "suspect") metrics.joins.inc();
  if (change.to === "left" || change.to === "dead") metrics.leaves.inc();
}

/** Reads the files of CASK_SSL_* again. What can't be used is told, and the former stays in use. */
async function renewCertificates({ config, authorities, log }: Parts, server: NodeServer): Promise<void> {
  try {
    if (config.tls) server.renew(readPair(config.tls));
    const read = await readAuthorities(config.sslCa);
    // In place: each new connection to a node reads the list.
    if (read && authorities) authorities.splice(0, authorities.length, ...read);
    log.info({}, config.tls || read ? "read the certificates again" : "there are no certificates to read again");
  } catch (error) {
    log.error({ err: error }, `the certificates could not be read again, the former stay in use: ${messageOf(error)}`);
  }
}

async function readAuthorities(file: string | undefined): Promise<string[] | undefined> {
  if (file === undefined) return undefined;
  const { rootCertificates } = await import("node:tls");
  const own = await readFile(file, "utf8");
  new X509Certificate(own); // TLS passes over a file without certificates in silence
  return [...rootCertificates, own];
}
