import type { FileHandle } from "node:fs/promises";
import { extname } from "node:path";
import { HelperThread } from "./helper-thread.ts";
import {
  READ_BATCH_BLOB_MAX_BYTES,
  READ_BATCH_LEAST_COUNT,
  READ_BATCH_MAX_BYTES,
  READ_BATCH_MAX_COUNT,
  READ_BATCHES_AT_ONCE_COUNT,
  READ_COMPANY_COUNT,
  READ_SLOW_REST_COUNT,
} from "./limits.ts";
import type { BatchAnswer, BatchedRead, ReadBatch } from "./read-thread-entry.ts";

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
  private readonly thread: HelperThread<ReadBatch, BatchAnswer>;
  private waiting: Waiting[] = [];
  private waitingBytes = 0;
  /** Used again for each batch: what each would bring of its own is freed by another thread than made it, and hardly ever given back to the system. */
  private readonly memory: Uint8Array[] = [];
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
    if (this.waiting.length === READ_BATCH_MAX_COUNT || this.waitingBytes + length > READ_BATCH_MAX_BYTES) this.send();
    if (this.waiting.length === 0) setImmediate(() => this.send());
    this.waitingBytes += length;
    return new Promise((resolve) => this.waiting.push({ fd, length, position, resolve }));
  }

  private send(): void {
    const batch = this.waiting;
    this.waiting = [];
    this.waitingBytes = 0;
    if (batch.length === 0) return;
    if (batch.length > 1) this.company = READ_COMPANY_COUNT;
    else if (this.company > 0) this.company--;
    if (batch.length === 1 || !this.thread.isReady()) {
      for (const { resolve } of batch) resolve(null);
      return;
    }
    void this.carry(batch);
  }

  private async carry(batch: readonly Waiting[]): Promise<void> {
    this.underWay++;
    const memory = this.memory.pop() ?? new Uint8Array(new SharedArrayBuffer(READ_BATCH_MAX_BYTES));
    const reads = batch.map(({ fd, length, position }) => ({ fd, length, position }));
    try {
      const answer = await this.thread.ask({ reads, memory });
      handOut(batch, memory, answer);
      this.memory.push(memory);
      if (answer.done < batch.length) this.resting = READ_SLOW_REST_COUNT;
    } catch (_died) {
      for (const { resolve } of batch) resolve(null); // its memory is not used again: who knows what still writes to it
    } finally {
      this.underWay--;
    }
  }
}

function handOut(batch: readonly Waiting[], memory: Uint8Array, { done, missing }: BatchAnswer): void {
  let at = 0;
  batch.forEach(({ length, resolve }, index) => {
    const isThere = index < done && !missing.includes(index);
    resolve(isThere ? copyOf(memory, at, length) : null);
    at += length;
  });
}

function copyOf(memory: Uint8Array, at: number, length: number): Buffer {
  const bytes = Buffer.allocUnsafeSlow(length);
  bytes.set(memory.subarray(at, at + length));
  return bytes;
}
