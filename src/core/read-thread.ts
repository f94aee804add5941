import type { FileHandle } from "node:fs/promises";
import { extname } from "node:path";
import { HelperThread } from "./helper-thread.ts";
import {
  READ_BATCH_BLOB_MAX_BYTES,
  READ_BATCH_LEAST_COUNT,
  READ_BATCH_MAX_COUNT,
  READ_BATCHES_AT_ONCE_COUNT,
  READ_COMPANY_COUNT,
  READ_SLOW_REST_COUNT,
} from "./limits.ts";
import type { BatchAnswer, BatchedRead } from "./read-thread-entry.ts";

const ENTRY = new URL(`./read-thread-entry${extname(import.meta.url)}`, import.meta.url);

interface Waiting extends BatchedRead {
  readonly resolve: (bytes: Buffer | null) => void;
}

/**
 * Small reads that come at the same time, made by one thread in one go. Each by itself would wake a thread of the pool, which costs more than to read
 * bytes that the system has in memory. Where the disk itself has to be waited for, the pool's threads wait for several reads at once: then
 * they do it.
 */
export class ReadThread {
  private readonly thread: HelperThread<readonly BatchedRead[], BatchAnswer>;
  private waiting: Waiting[] = [];
  private underWay = 0;
  /** While above 0 reads wait for others that come in the same turn: falls with each that came alone. */
  private company = 0;
  /** So many reads are left to the pool, before the thread is tried again. */
  private resting = 0;

  constructor(entry = ENTRY) {
    this.thread = new HelperThread(entry, "reads");
  }

  /** All of these bytes. Null: whoever asks is to read them, and sees what is wrong with them if something is. */
  read({ fd }: Pick<FileHandle, "fd">, length: number, position: number, count: number): Promise<Buffer | null> | null {
    if (this.company === 0 && count < READ_BATCH_LEAST_COUNT) return null;
    if (length > READ_BATCH_BLOB_MAX_BYTES || this.underWay >= READ_BATCHES_AT_ONCE_COUNT) return null;
    if (this.resting > 0) {
      this.resting--;
      return null;
    }
    if (this.waiting.length === 0) setImmediate(() => this.send());
    return new Promise((resolve) => {
      this.waiting.push({ fd, length, position, resolve });
      if (this.waiting.length >= READ_BATCH_MAX_COUNT) this.send();
    });
  }

  private send(): void {
    const batch = this.waiting;
    this.waiting = [];
    if (batch.length === 0) return;
    if (batch.length > 1) this.company = READ_COMPANY_COUNT;
    else if (this.company > 0) this.company--;
    if (batch.length === 1 || !this.thread.isReady()) {
      for (const { resolve } of batch) resolve(null);
      return;
    }
    this.underWay++;
    const reads = batch.map(({ fd, length, position }) => ({ fd, length, position }));
    this.thread
      .ask(reads)
      .then((answer) => this.answered(batch, answer))
      .catch(() => this.answered(batch, { bytes: new Uint8Array(0), done: 0, missing: [] }))
      .finally(() => this.underWay--);
  }

  private answered(batch: readonly Waiting[], { bytes, done, missing }: BatchAnswer): void {
    if (done < batch.length) this.resting = READ_SLOW_REST_COUNT;
    let at = 0;
    batch.forEach(({ length, resolve }, index) => {
      const isThere = index < done && !missing.includes(index);
      resolve(isThere ? Buffer.from(bytes.buffer, at, length) : null);
      at += length;
    });
  }
}
