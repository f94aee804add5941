import { SystemClock } from "../../src/core/clock.ts";
import { RateLimit } from "../../src/core/rate-limit.ts";
import type { DiskBackendOptions } from "../../src/storage/disk.ts";
import { TieredBackend } from "../../src/storage/tiered.ts";

/** `files`: each copy is one. `segments`: small ones are in segments, which are soon full. */
export type Tiers = "files" | "segments";

/** The backend of a disk node on a real disk. */
export function openTiers(
  root: string,
  tiers: Tiers,
  options: Omit<DiskBackendOptions, "root">,
): Promise<TieredBackend> {
  const clock = new SystemClock();
  return TieredBackend.open({
    ...options,
    root,
    clock,
    segmentBlobMaxBytes: tiers === "segments" ? 64 * 1024 : 0,
    maxSegmentBytes: 200_000,
    compactionRate: new RateLimit(Number.POSITIVE_INFINITY, clock),
  });
}
