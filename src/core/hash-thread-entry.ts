/** What runs in the thread of `HashThread`: any number of hashes under way, each question answered in its turn. Its first message says that it runs. */
import { parentPort } from "node:worker_threads";
import { KeyHasher } from "./key.ts";

/** `bytes`: go on with a hash, or begin it. Without: tell its key, or forget it. */
export interface HashQuestion {
  readonly id: number;
  readonly bytes?: Uint8Array;
  readonly forget?: boolean;
}

const hashers = new Map<number, KeyHasher>();

parentPort?.on("message", ({ id, bytes, forget }: HashQuestion) => {
  const hasher = hashers.get(id) ?? new KeyHasher();
  if (bytes) {
    hashers.set(id, hasher);
    hasher.update(bytes);
  } else hashers.delete(id);
  parentPort?.postMessage(bytes || forget ? "" : hasher.digest());
});
parentPort?.postMessage("");
