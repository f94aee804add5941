import type { BlobService } from "../blobs/blob-service.ts";
import type { Get } from "../blobs/get.ts";
import type { LocalStore } from "../blobs/local-store.ts";
import type { Put } from "../blobs/put.ts";
import type { SpaceWatch } from "../blobs/space-watch.ts";
import type { Cluster } from "../cluster/cluster.ts";
import type { Forget } from "../cluster/forget.ts";
import type { Heartbeat } from "../cluster/heartbeat.ts";
import type { Join } from "../cluster/join.ts";
import type { Clock } from "../core/clock.ts";
import type { Logger, LogRing } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import type { Worker } from "../core/worker.ts";
import type { GossipStatus } from "../gossip/gossip.ts";
import type { Backend } from "../storage/backend.ts";
import type { S3Figures } from "../storage/s3-traffic.ts";
import type { SecretCheck } from "./secret-check.ts";

/** One row of the settings in use, as /config/ shows it. Secrets come as "set" or "not set". */
export interface ShownSetting {
  readonly name: string;
  readonly value: string;
  readonly meaning: string;
}

/** What the doors work with. */
export interface HttpContext {
  readonly version: string;
  readonly backendKind: string;
  readonly settings: readonly ShownSetting[];
  readonly startedWallMs: number;
  readonly readTimeoutMs: number;
  readonly writeTimeoutMs: number;
  readonly maxUploadBytes: number;
  readonly isIncomplete: () => boolean;
  readonly cluster: Cluster;
  readonly heartbeat: Pick<Heartbeat, "receive">;
  readonly forget: Pick<Forget, "forget">;
  /** Null on a node that can be in no cluster: it has no secret. */
  readonly join: Pick<Join, "joinNow"> | null;
  readonly gossip: () => GossipStatus | null;
  readonly blobs: Pick<BlobService, "status" | "drain" | "foreground" | "cacheFigures">;
  readonly get: Get;
  readonly put: Put;
  readonly localStore: LocalStore;
  readonly backend: Pick<Backend, "stage" | "store">;
  /** What was asked of S3 since the start; null with another backend. */
  readonly s3Figures: () => S3Figures | null;
  readonly space: SpaceWatch;
  readonly secrets: SecretCheck;
  readonly metrics: Metrics;
  readonly workers: readonly Worker[];
  readonly logRing: Pick<LogRing, "lines">;
  readonly clock: Clock;
  readonly log: Logger;
}
