import type { Random } from "../../../src/core/random.ts";
import { DiskBackend } from "../../../src/storage/disk.ts";
import type { FileSystem } from "../../../src/storage/file-system.ts";
import { Layout } from "../../../src/storage/layout.ts";
import type { SimDisk } from "./sim-disk.ts";
import type { SimProcess } from "./sim-process.ts";

/** Where a node of a simulation has its data on its disk. */
export const SIM_ROOT = "/data/node";
export const SIM_LAYOUT = new Layout(SIM_ROOT);

export interface SimRootOptions {
  readonly random: Random;
  readonly process?: SimProcess;
  /** Between the backend and the disk: how a defect is put in. */
  readonly through?: (files: FileSystem) => FileSystem;
  readonly onNotice?: (message: string) => void;
}

/** The production backend on a simulated disk, in one life of a process. */
export function openSimRoot(
  disk: SimDisk,
  { random, process = disk.start(), through = (files) => files, onNotice = () => undefined }: SimRootOptions,
): Promise<DiskBackend> {
  const { takeLock } = process;
  return DiskBackend.open({ root: SIM_ROOT, random, onNotice, files: through(process.files), takeLock });
}
