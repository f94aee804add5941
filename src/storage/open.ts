import { CaskError } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import type { Backend } from "./backend.ts";
import { DiskBackend } from "./disk.ts";
import { MemoryBackend } from "./memory.ts";

export interface OpenBackendOptions {
  readonly kind: "disk" | "memory" | "s3";
  /** The data folder of a disk backend. */
  readonly root: string;
  readonly random: Random;
  /** Something that the operator should know and that stops nothing. */
  readonly onNotice: (message: string) => void;
}

/** The backend that the settings name, ready for use. */
export async function openBackend({ kind, root, random, onNotice }: OpenBackendOptions): Promise<Backend> {
  switch (kind) {
    case "disk":
      return DiskBackend.open({ root, random, onNotice });
    case "memory":
      return new MemoryBackend(random);
    case "s3":
      throw new CaskError("NOT_BUILT", "CASK_BACKEND=s3 is not built yet: use disk");
  }
}
