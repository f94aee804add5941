import { CaskError } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import type { Backend } from "./backend.ts";
import { DiskBackend } from "./disk.ts";
import { MemoryBackend } from "./memory.ts";

export interface OpenBackendOptions {
  readonly kind: "disk" | "memory" | "s3";
  /** Data folder of the disk backend. */
  readonly root: string;
  readonly random: Random;
  /** Something that the operator should know. */
  readonly onNotice: (message: string) => void;
}

/** Opens the store that the settings name. Rejects with ROOT_IN_USE, BAD_ROOT or NOT_BUILT. */
export async function openBackend({ kind, root, random, onNotice }: OpenBackendOptions): Promise<Backend> {
  switch (kind) {
    case "disk":
      return DiskBackend.open({ root, random, onNotice });
    case "memory":
      return new MemoryBackend(random);
    case "s3":
      throw new CaskError("NOT_BUILT", "the s3 backend does not exist in this version yet; use disk");
  }
}
