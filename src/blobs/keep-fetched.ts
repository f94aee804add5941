import type { Clock } from "../core/clock.ts";
import { CaskError } from "../core/errors.ts";
import { inTime } from "../core/in-time.ts";
import type { Key } from "../core/key.ts";
import { KEEP_WRITE_TIMEOUT_MS, KEEPS_AT_ONCE_COUNT } from "../core/limits.ts";
import type { Logger } from "../core/log.ts";
import type { Backend, Stage } from "../storage/backend.ts";
import type { LocalStore } from "./local-store.ts";

export interface KeepFetchedOptions {
  readonly backend: Pick<Backend, "stage">;
  readonly localStore: Pick<LocalStore, "commitStage">;
  readonly isWriteable: () => boolean;
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * An owner that lacked a blob keeps the copy that it just fetched for a client. A favour, never a duty: what goes wrong here
 * is logged, and the client does not notice.
 */
export class KeepFetched {
  private readonly options: KeepFetchedOptions;
  private readonly underWay = new Map<Key, Promise<void>>();

  constructor(options: KeepFetchedOptions) {
    this.options = options;
  }

  /** `bytes` were verified. Goes on in the background; not done at all when too many are under way. */
  whole(key: Key, bytes: Uint8Array): void {
    if (!this.mayKeep(key)) return;
    this.track(key, this.store(key, bytes));
  }

  /** Passes verified chunks on, and keeps a copy of them; it is committed only when all have passed. */
  async *stream(key: Key, sizeBytes: number, verified: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    let stage = this.mayKeep(key) ? await this.openStage(sizeBytes) : null;
    try {
      for await (const chunk of verified) {
        stage = await this.append(stage, chunk);
        yield chunk;
      }
      if (stage) {
        const whole = stage;
        stage = null; // the commit releases it
        this.track(key, this.commit(key, whole));
      }
    } finally {
      await stage?.abort();
    }
  }

  /** Resolves when what is under way has ended. */
  async settled(): Promise<void> {
    await Promise.all(this.underWay.values());
  }

  private mayKeep(key: Key): boolean {
    return this.options.isWriteable() && this.underWay.size < KEEPS_AT_ONCE_COUNT && !this.underWay.has(key);
  }

  private track(key: Key, work: Promise<void>): void {
    const ended = work.finally(() => this.underWay.delete(key));
    this.underWay.set(key, ended);
  }

  private async store(key: Key, bytes: Uint8Array): Promise<void> {
    const stage = await this.append(await this.openStage(bytes.length), bytes);
    if (stage) await this.commit(key, stage);
  }

  private async openStage(sizeBytes: number): Promise<Stage | null> {
    try {
      const opening = this.options.backend.stage(sizeBytes);
      return await this.inTime(opening).catch((error: unknown) => {
        opening.then((late) => late.abort()).catch(() => undefined); // only what it holds matters now
        throw error;
      });
    } catch (error) {
      this.options.log.info({ err: error }, "no room to keep a copy of a fetched blob");
      return null;
    }
  }

  private async append(stage: Stage | null, chunk: Uint8Array): Promise<Stage | null> {
    if (!stage) return null;
    try {
      await this.inTime(stage.write(chunk));
      return stage;
    } catch (error) {
      this.options.log.info({ err: error }, "a fetched blob could not be kept");
      void stage.abort(); // waits for the write, which the reader must not
      return null;
    }
  }

  /** The reader waits for these writes: a disk that hangs must not hang a blob that comes from another node. */
  private inTime<T>(work: Promise<T>): Promise<T> {
    const late = () => new CaskError("STORAGE_FAILED", `the disk did not answer within ${KEEP_WRITE_TIMEOUT_MS} ms`);
    return inTime(this.options.clock, KEEP_WRITE_TIMEOUT_MS, work, late);
  }

  private async commit(key: Key, stage: Stage): Promise<void> {
    try {
      const outcome = await this.options.localStore.commitStage(key, stage);
      this.options.log.info({ key, outcome }, `kept a copy of ${key}, which this node should have`);
    } catch (error) {
      this.options.log.warn({ key, err: error }, "a fetched blob could not be kept");
    } finally {
      await stage.abort();
    }
  }
}
