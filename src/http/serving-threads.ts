import { extname } from "node:path";
import { Worker } from "node:worker_threads";
import type { CacheFigures } from "../blobs/blob-cache.ts";
import type { PutResult } from "../blobs/put.ts";
import type { Clock } from "../core/clock.ts";
import { CaskError, type ErrorCode, messageOf } from "../core/errors.ts";
import type { Key } from "../core/key.ts";
import {
  SERVING_RESTART_MAX_MS,
  SERVING_RESTART_MIN_MS,
  SERVING_YOUNG_GENERATION_MIB,
  STOP_TIMEOUT_MS,
} from "../core/limits.ts";
import type { Logger } from "../core/log.ts";
import type { SharedMemory } from "../storage/table-share.ts";
import type {
  HandedUploads,
  PutOutcome,
  ServedReport,
  ServingData,
  ServingNews,
  ServingOrder,
  TlsPair,
} from "./serving-messages.ts";

const ENTRY = new URL(`./serving-thread-entry${extname(import.meta.url)}`, import.meta.url);

/** The owner of the data, as far as serving threads need it. */
export interface SharedData {
  /** Tells the memory of the index, now and whenever it is another, and segments that were compacted away. */
  shareWith(readers: { memory: (memory: SharedMemory) => void; dropped: (segment: number) => void }): void;
}

export interface ServingThreadsOptions {
  readonly count: number;
  readonly data: SharedData;
  readonly settings: Omit<ServingData, "port" | "memory" | "tls">;
  readonly tls: TlsPair | undefined;
  /** Rejects with a CaskError. */
  readonly onPut: (bytes: Uint8Array, expected: Key | undefined) => Promise<PutResult>;
  readonly onServed: (report: ServedReport) => void;
  readonly onCorrupt: (key: Key) => void;
  readonly clock: Clock;
  readonly log: Logger;
  readonly entry?: URL;
}

interface Running {
  readonly worker: Worker;
  /** What came of uploads in this turn; null: nothing yet. */
  answers: Answers | null;
  report: ServedReport | undefined;
}

/**
 * Threads that serve beside the one that owns the data. One that dies takes the requests on its connections with it, and nothing else: it has
 * only read. Another takes its place.
 */
export class ServingThreads {
  private readonly options: ServingThreadsOptions;
  private readonly running = new Set<Running>();
  /** Of threads that ended, so that counters don't go back. */
  private ended = { hits: 0, misses: 0 };
  private memory: SharedMemory | undefined;
  private tls: TlsPair | undefined;
  private port = 0;
  private restartMs = SERVING_RESTART_MIN_MS;
  private isStopping = false;

  constructor(options: ServingThreadsOptions) {
    this.options = options;
    this.tls = options.tls;
  }

  /** Requests that are under way in all of them, as they said last. */
  get underWay(): number {
    return this.reports().reduce((sum, { underWay }) => sum + underWay, 0);
  }

  /** Resolves when all listen on the port of the owner, or have said why they can't. */
  async start(port: number): Promise<void> {
    this.port = port;
    this.options.data.shareWith({
      memory: (memory) => {
        this.memory = memory;
        this.order({ do: "use", memory });
      },
      dropped: (segment) => this.order({ do: "drop", segment }),
    });
    await Promise.all(Array.from({ length: this.options.count }, () => this.begin()));
  }

  renew(tls: TlsPair): void {
    this.tls = tls;
    this.order({ do: "renew", tls });
  }

  /** `own`: of the owner's cache. */
  cacheFigures(own: CacheFigures): CacheFigures {
    const all = [own, ...this.reports().map(({ cache }) => cache)];
    const sum = (of: (figures: CacheFigures) => number) => all.reduce((total, each) => total + of(each), 0);
    return {
      blobs: sum(({ blobs }) => blobs),
      bytes: sum(({ bytes }) => bytes),
      max_bytes: sum(({ max_bytes }) => max_bytes),
      hits: sum(({ hits }) => hits) + this.ended.hits,
      misses: sum(({ misses }) => misses) + this.ended.misses,
    };
  }

  /** Requests under way are answered, for so long as the owner would wait itself. */
  async stop(): Promise<void> {
    this.isStopping = true;
    const ends = [...this.running].map(({ worker }) => {
      const ended = new Promise<void>((resolve) => worker.once("exit", () => resolve()));
      const cancel = this.options.clock.timer(2 * STOP_TIMEOUT_MS, () => void worker.terminate());
      return ended.finally(cancel);
    });
    this.order({ do: "stop" });
    await Promise.all(ends);
  }

  /** Resolves when it listens, or will not. Rejects when the system gives no thread. */
  private async begin(): Promise<void> {
    const { settings, entry = ENTRY } = this.options;
    const { port, memory, tls } = this;
    const worker = new Worker(entry, {
      workerData: { ...settings, port, memory, tls },
      resourceLimits: { maxYoungGenerationSizeMb: SERVING_YOUNG_GENERATION_MIB },
    });
    const thread: Running = { worker, answers: null, report: undefined };
    this.running.add(thread);
    await new Promise<void>((resolve) => {
      worker.on("message", (news: ServingNews) => {
        if (news.told === "listening" || news.told === "refused") resolve();
        this.heard(thread, news);
      });
      worker.once("error", (error) =>
        this.options.log.error({ err: error }, `a serving thread failed: ${messageOf(error)}`),
      );
      worker.once("exit", () => {
        resolve();
        this.gone(thread);
      });
    });
  }

  private heard(thread: Running, news: ServingNews): void {
    const { log, onServed, onCorrupt } = this.options;
    switch (news.told) {
      case "listening":
        this.restartMs = SERVING_RESTART_MIN_MS;
        break;
      case "refused":
        log.warn({}, `a serving thread can't listen, the others serve: ${news.message}`);
        break;
      case "served":
        thread.report = news.report;
        onServed(news.report);
        break;
      case "puts":
        this.put(thread, news.puts);
        break;
      case "corrupt":
        onCorrupt(news.key);
        break;
      case "error":
        log.error({}, `serving thread: ${news.message}`);
        break;
    }
  }

  private put(thread: Running, { firstId, sizesBytes, expected, bytes }: HandedUploads): void {
    const { onPut, log } = this.options;
    let at = 0;
    for (const [i, sizeBytes] of sizesBytes.entries()) {
      const id = firstId + i;
      onPut(bytes.subarray(at, at + sizeBytes), expected[i]).then(
        (result) => this.answersOf(thread).add(id, result),
        (error: unknown) => this.answersOf(thread).others.push({ id, failure: asFailure(error, log) }),
      );
      at += sizeBytes;
    }
  }

  /** Those that were made durable together are answered together. */
  private answersOf(thread: Running): Answers {
    if (thread.answers) return thread.answers;
    const answers = new Answers();
    thread.answers = answers;
    setImmediate(() => {
      thread.answers = null;
      thread.worker.postMessage({
        do: "answer",
        stored: answers.stored,
        others: answers.others,
      } satisfies ServingOrder);
    });
    return answers;
  }

  private gone(thread: Running): void {
    this.running.delete(thread);
    const { hits = 0, misses = 0 } = thread.report?.cache ?? {};
    this.ended = { hits: this.ended.hits + hits, misses: this.ended.misses + misses };
    this.beginLater("a serving thread has ended");
  }

  private beginLater(why: string): void {
    if (this.isStopping) return;
    const { clock, log } = this.options;
    log.error({}, `${why}; another begins in ${this.restartMs} ms`);
    clock.timer(this.restartMs, () => {
      if (!this.isStopping) this.begin().catch((error: unknown) => this.beginLater(messageOf(error)));
    });
    this.restartMs = Math.min(2 * this.restartMs, SERVING_RESTART_MAX_MS);
  }

  private order(order: ServingOrder): void {
    for (const { worker } of this.running) worker.postMessage(order);
  }

  private reports(): ServedReport[] {
    return [...this.running].flatMap(({ report }) => report ?? []);
  }
}

class Answers {
  readonly stored = {
    ids: [] as number[],
    keys: [] as Key[],
    copies: [] as number[],
    wanted: [] as number[],
    areNew: [] as boolean[],
  };
  readonly others: PutOutcome[] = [];

  add(id: number, result: PutResult): void {
    if (!result.success) {
      this.others.push({ id, result });
      return;
    }
    const { ids, keys, copies, wanted, areNew } = this.stored;
    ids.push(id);
    keys.push(result.key);
    copies.push(result.copies.length);
    wanted.push(result.wanted);
    areNew.push(result.isNew);
  }
}

function asFailure(error: unknown, log: Logger): { code: ErrorCode; message: string } {
  if (error instanceof CaskError) return { code: error.code, message: error.message };
  log.error({ err: error }, "an upload failed: unexpected");
  return { code: "INTERNAL", message: "an unexpected error; the log of this node has the details" };
}
