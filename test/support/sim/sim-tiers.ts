import type { ByteBudget } from "../../../src/core/byte-budget.ts";
import type { Key } from "../../../src/core/key.ts";
import type { Random } from "../../../src/core/random.ts";
import { RateLimit } from "../../../src/core/rate-limit.ts";
import type { FileSystem } from "../../../src/storage/file-system.ts";
import { TieredBackend } from "../../../src/storage/tiered.ts";
import { ManualClock } from "../manual-clock.ts";
import { damagedSegment, recordAt } from "../segment-records.ts";
import type { SimDisk } from "./sim-disk.ts";
import type { SimProcess } from "./sim-process.ts";
import { SIM_LAYOUT, SIM_ROOT } from "./sim-root.ts";

export interface SimTiersOptions {
  readonly random: Random;
  readonly process?: SimProcess;
  readonly through?: (files: FileSystem) => FileSystem;
  readonly segmentBlobMaxBytes?: number;
  readonly maxSegmentBytes?: number;
  readonly stageBudget?: ByteBudget;
  readonly onNotice?: (message: string) => void;
}

/** Segments and files on a simulated disk, in one life of a process. */
export function openSimTiers(disk: SimDisk, options: SimTiersOptions): Promise<TieredBackend> {
  const { random, process = disk.start(), through = (files) => files, ...rest } = options;
  const clock = new ManualClock();
  return TieredBackend.open({
    segmentBlobMaxBytes: 256 * 1024,
    onNotice: () => undefined,
    ...rest,
    root: SIM_ROOT,
    random,
    clock,
    compactionRate: new RateLimit(Number.POSITIVE_INFINITY, clock),
    files: through(process.files),
    takeLock: process.takeLock,
  });
}

/** Other bytes in the place of a copy, wherever it lies. */
export async function damageInTiers(disk: SimDisk, backend: TieredBackend, key: Key, bytes: Uint8Array): Promise<void> {
  const stat = await backend.stat(key);
  const at = stat && recordAt(stat);
  if (!at) disk.put(SIM_LAYOUT.blob(key), bytes);
  else disk.rot(`${SIM_ROOT}/${at.file}`, (segment) => damagedSegment(segment, at, bytes));
}
