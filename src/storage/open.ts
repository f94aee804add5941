import { CaskError } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import type { Backend } from "./backend.ts";
import { MemoryBackend } from "./memory.ts";

export interface OpenBackendOptions {
  readonly kind: "disk" | "memory" | "s3";
  readonly root: string;
  readonly random: Random;
  /** Something that the operator should know. */
  readonly onNotice: (message: string) => void;
}

export async function openBackend(options: OpenBackendOptions): Promise<Backend> {
  if (options.kind === "memory") return new MemoryBackend(options.random);
  throw new CaskError("NOT_BUILT", `the ${options.kind} backend does not exist in this version yet`);
}
