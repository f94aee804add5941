import type { Clock } from "../core/clock.ts";
import { CaskError } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import { RateLimit } from "../core/rate-limit.ts";
import type { Backend } from "./backend.ts";
import { MemoryBackend } from "./memory.ts";
import type { S3Place } from "./s3-client.ts";
import type { S3Figures } from "./s3-traffic.ts";
import { TieredBackend } from "./tiered.ts";

export interface OpenBackendOptions {
  readonly kind: "disk" | "memory" | "s3";
  /** The data folder of a disk backend. */
  readonly root: string;
  /** Blobs up to this size go to segments; 0: none. */
  readonly segmentBlobMaxBytes: number;
  /** Other threads are to read copies of a disk. */
  readonly isShared: boolean;
  /** How fast segments are compacted. */
  readonly compactionBytesPerSecond: number;
  /** Where an S3 backend keeps what it needs on disk. */
  readonly stateDir: string;
  readonly s3: S3Place | undefined;
  /** The node's: an S3 prefix belongs to one. */
  readonly uuid: () => Promise<string>;
  readonly clock: Clock;
  readonly random: Random;
  /** Something that the operator should know and that stops nothing. */
  readonly onNotice: (message: string) => void;
  /** The place belongs to another process now: this one must end. */
  readonly onLost: (error: CaskError) => void;
}

export interface OpenedBackend {
  readonly backend: Backend;
  /** What the backend has cost; null where nobody sends a bill. */
  readonly s3Figures: () => S3Figures | null;
  /** What segments of a disk need of the node; null where there are none. */
  readonly segments: Pick<TieredBackend, "hasLost" | "compact" | "known" | "shareWith"> | null;
}

/** The backend that the settings name, ready for use. */
export async function openBackend(options: OpenBackendOptions): Promise<OpenedBackend> {
  const { kind, random } = options;
  switch (kind) {
    case "disk":
      return openDisk(options);
    case "memory":
      return { backend: new MemoryBackend(random), s3Figures: () => null, segments: null };
    case "s3":
      return openS3(options);
  }
}

async function openDisk({ compactionBytesPerSecond, ...options }: OpenBackendOptions): Promise<OpenedBackend> {
  const compactionRate = new RateLimit(compactionBytesPerSecond, options.clock);
  const backend = await TieredBackend.open({ ...options, compactionRate });
  return { backend, s3Figures: () => null, segments: backend };
}

/** Its library is large: who has no S3 does not load it. */
async function openS3({ s3, uuid, ...rest }: OpenBackendOptions): Promise<OpenedBackend> {
  if (!s3) throw new CaskError("INTERNAL", "CASK_BACKEND=s3 without a bucket");
  const { S3Backend } = await import("./s3.ts");
  const own = await uuid();
  const place = { ...s3, prefix: s3.prefix === "" ? own : s3.prefix };
  const backend = await S3Backend.open({ ...rest, place, uuid: own });
  return { backend, s3Figures: () => backend.figures(), segments: null };
}
