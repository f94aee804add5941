/** What runs in the thread of `HashThread`: any number of hashes under way, each question answered in its turn. Its first message says that it runs. */
import { parentPort } from "node:worker_threads";
import { KeyHasher } from "./key.ts";

/** `bytes`: go on with a hash, or begin it. `end`: tell its key, or forget it. */
export interface HashQuestion {
  readonly id: number;
  readonly bytes?: Uint8Array | undefined;
  readonly end?: "tell" | "forget";
}

const hashers = new Map<number, KeyHasher>();

parentPort?.on("message", ({ id, bytes, end }: HashQuestion) => {
  const hasher = hashers.get(id) ?? new KeyHasher();
  if (bytes) hasher.update(bytes);
  if (end) hashers.delete(id);
  else hashers.set(id, hasher);
  parentPort?.postMessage(end === "tell" ? hasher.digest() : "");
});
parentPort?.postMessage("");
