import { extname } from "node:path";
import { Worker } from "node:worker_threads";
import { CaskError, messageOf } from "./errors.ts";
import type { HashQuestion } from "./hash-thread-entry.ts";
import type { Key } from "./key.ts";
import { HASHED_IN_THREAD_MAX_COUNT } from "./limits.ts";

const ENTRY = new URL(`./hash-thread-entry${extname(import.meta.url)}`, import.meta.url);

/** Hashes bytes as they pass, in another thread. Each call rejects with INTERNAL when the thread has died. */
export interface ThreadHash {
  /** Resolves when nothing looks at the bytes any more. */
  update(bytes: Uint8Array): Promise<void>;
  digest(): Promise<Key>;
  /** In place of `digest`. */
  forget(): void;
}

interface Asked {
  readonly resolve: (answer: string) => void;
  readonly reject: (error: Error) => void;
}

/** One thread that hashes for all: begun when it is first asked for, and kept. One that fails is not begun again. */
export class HashThread {
  private readonly entry: URL;
  private thread: Worker | undefined;
  private state: "none" | "starting" | "running" | "failed" = "none";
  /** It answers in the order of the questions. */
  private readonly asked: Asked[] = [];
  private lastId = 0;
  private underWayCount = 0;

  constructor(entry = ENTRY) {
    this.entry = entry;
  }

  /** Null until the thread runs, when it can't, and when it has enough to do: nobody waits for it. */
  open(): ThreadHash | null {
    if (this.state === "none") this.start();
    if (this.state !== "running" || this.underWayCount >= HASHED_IN_THREAD_MAX_COUNT) return null;
    const id = ++this.lastId;
    this.underWayCount++;
    return {
      update: async (bytes) => void (await this.ask({ id, bytes })),
      digest: async () => (await this.end({ id })) as Key,
      forget: () => void this.end({ id, forget: true }).catch(() => undefined),
    };
  }

  private start(): void {
    this.state = "starting";
    try {
      const thread = new Worker(this.entry);
      this.thread = thread;
      thread.on("message", (answer: string) => {
        // The first one says that it runs. ("online" is told of one whose program can't be loaded, too.)
        if (this.state === "starting") this.state = "running";
        else this.asked.shift()?.resolve(answer);
        if (this.asked.length === 0) thread.unref();
      });
      thread.once("error", (error) => this.fail(messageOf(error)));
      thread.once("exit", () => this.fail("has ended"));
      thread.unref();
    } catch (error) {
      this.fail(messageOf(error));
    }
  }

  private end(question: HashQuestion): Promise<string> {
    this.underWayCount--;
    return this.ask(question);
  }

  private ask(question: HashQuestion): Promise<string> {
    return new Promise((resolve, reject) => {
      if (this.state !== "running") return reject(died("is gone"));
      this.asked.push({ resolve, reject });
      this.thread?.ref(); // what waits for the answer keeps the process alive, not the thread as such
      this.thread?.postMessage(question);
    });
  }

  private fail(why: string): void {
    this.state = "failed";
    for (const { reject } of this.asked.splice(0)) reject(died(why));
  }
}

function died(why: string): CaskError {
  return new CaskError("INTERNAL", `the thread that hashes ${why}`);
}
