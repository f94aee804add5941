import type { Key } from "../core/key.ts";
import { KEEPS_AT_ONCE_COUNT } from "../core/limits.ts";
import type { Logger } from "../core/log.ts";
import type { Backend, Stage } from "../storage/backend.ts";

export interface KeepFetchedOptions {
  readonly backend: Pick<Backend, "stage">;
  readonly isWriteable: () => boolean;
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
      return await this.options.backend.stage(sizeBytes);
    } catch (error) {
      this.options.log.info({ err: error }, "no room to keep a copy of a fetched blob");
      return null;
    }
  }

  private async append(stage: Stage | null, chunk: Uint8Array): Promise<Stage | null> {
    if (!stage) return null;
    try {
      await stage.write(chunk);
      return stage;
    } catch (error) {
      this.options.log.info({ err: error }, "a fetched blob could not be kept");
      await stage.abort();
      return null;
    }
  }

  private async commit(key: Key, stage: Stage): Promise<void> {
    try {
      const outcome = await stage.commit(key);
      this.options.log.info({ key, outcome }, `kept a copy of ${key}, which this node should have`);
    } catch (error) {
      this.options.log.warn({ key, err: error }, "a fetched blob could not be kept");
    } finally {
      await stage.abort();
    }
  }
}
