import { extname } from "node:path";
import type { HashQuestion } from "./hash-thread-entry.ts";
import { HelperThread } from "./helper-thread.ts";
import type { Key } from "./key.ts";
import { HASHED_IN_THREAD_MAX_COUNT } from "./limits.ts";

const ENTRY = new URL(`./hash-thread-entry${extname(import.meta.url)}`, import.meta.url);

/** Hashes bytes as they pass, in another thread. Each call rejects with INTERNAL when the thread has died. */
export interface ThreadHash {
  /** Resolves when nothing looks at the bytes any more. */
  update(bytes: Uint8Array): Promise<void>;
  /** `last`: bytes that are hashed before, for the price of one message. */
  digest(last?: Uint8Array): Promise<Key>;
  /** In place of `digest`. */
  forget(): void;
}

/** One thread that hashes for all. */
export class HashThread {
  private readonly thread: HelperThread<HashQuestion, string>;
  private lastId = 0;
  private underWayCount = 0;

  constructor(entry = ENTRY) {
    this.thread = new HelperThread(entry, "hashes");
  }

  /** Null until the thread runs, when it can't, and when it has enough to do: nobody waits for it. */
  open(): ThreadHash | null {
    if (!this.thread.isReady() || this.underWayCount >= HASHED_IN_THREAD_MAX_COUNT) return null;
    const id = ++this.lastId;
    this.underWayCount++;
    return {
      update: async (bytes) => void (await this.thread.ask({ id, bytes })),
      digest: async (bytes) => (await this.end({ id, bytes, end: "tell" })) as Key,
      forget: () => void this.end({ id, end: "forget" }).catch(() => undefined),
    };
  }

  private end(question: HashQuestion): Promise<string> {
    this.underWayCount--;
    return this.thread.ask(question);
  }
}
