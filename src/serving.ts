import type { BlobService } from "./blobs/blob-service.ts";
import type { Upload } from "./blobs/put.ts";
import type { Config } from "./config.ts";
import type { Clock } from "./core/clock.ts";
import type { Key } from "./core/key.ts";
import type { Logger } from "./core/log.ts";
import type { Metrics } from "./core/metrics.ts";
import type { Random } from "./core/random.ts";
import { storeUpload } from "./http/public.ts";
import { ServingThreads, type SharedData } from "./http/serving-threads.ts";

export interface ServingParts {
  readonly config: Config;
  /** Null where copies can't be read by several threads. */
  readonly segments: SharedData | null;
  readonly identity: { readonly uuid: string };
  readonly backend: { readonly store: string };
  readonly blobs: BlobService;
  readonly metrics: Metrics;
  readonly random: Random;
  readonly clock: Clock;
  readonly log: Logger;
}

/** The threads that serve beside the one that owns the data. Null: that one serves alone. */
export function buildThreads({
  config,
  segments,
  identity,
  backend,
  blobs,
  metrics,
  random,
  clock,
  log,
}: ServingParts) {
  const count = furtherThreads(config);
  if (count === 0 || !segments) return null;
  const ownerPath = `\0cask-${process.pid}-${random.hex(8)}`;
  const { host, secrets, readTimeoutMs, writeTimeoutMs } = config;
  const threads = new ServingThreads({
    count,
    data: segments,
    settings: {
      root: config.diskBackendRoot,
      host,
      uuid: identity.uuid,
      store: backend.store,
      secrets,
      cacheBytes: cachePart(config),
      readTimeoutMs,
      writeTimeoutMs,
      ownerPath,
    },
    tls: config.tls,
    onPut: (bytes, expected) => storeUpload({ put: blobs.put, metrics, log }, uploadOfBytes(bytes, expected)),
    onServed: ({ requests, fetched }) => {
      for (const { seconds, ...labels } of requests) for (const each of seconds) metrics.requests.observe(labels, each);
      blobs.fetchedElsewhere(fetched);
    },
    onCorrupt: (key) => void blobs.lookAt(key),
    clock,
    log,
  });
  blobs.servedElsewhere(threads);
  return { threads, ownerPath };
}

/** Beside the one that owns the data. Abstract sockets and shared ports are Linux's, and only a disk can be read by several. */
export function furtherThreads({ backend, threads }: Pick<Config, "backend" | "threads">): number {
  return backend === "disk" && process.platform === "linux" ? threads - 1 : 0;
}

/** Each thread has a cache of its own. */
export function cachePart(config: Config): number {
  return Math.floor(config.cacheBytes / (1 + furtherThreads(config)));
}

function uploadOfBytes(bytes: Uint8Array, expected: Key | undefined): Upload {
  return { whole: async () => bytes, sizeBytes: bytes.length, expected, complete: async () => undefined };
}
