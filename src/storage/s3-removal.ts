import { constants } from "node:fs";
import { dirname, join } from "node:path";
import type { Clock } from "../core/clock.ts";
import { CaskError } from "../core/errors.ts";
import { hexOf, isKey, type Key } from "../core/key.ts";
import type { FileSystem } from "./file-system.ts";
import { syncFolder } from "./folder-sync.ts";
import { removeIfThere } from "./remove-if-there.ts";
import type { S3Timing } from "./s3-client.ts";
import { hasStatus, isRefusal, mayStillHappen, s3Failure, saysChanged } from "./s3-failure.ts";
import type { S3Objects, S3Stat } from "./s3-objects.ts";

export interface S3RemovalOptions {
  readonly objects: S3Objects;
  /** A folder of this store alone, in which is noted what is being deleted. */
  readonly folder: string;
  readonly files: FileSystem;
  readonly timing: S3Timing;
  readonly clock: Clock;
  /** Aborts when the backend is closed: what then was not known stays noted. */
  readonly closing: AbortSignal;
  readonly onNotice: (message: string) => void;
}

/**
 * Deletes objects so that no DELETE can arrive late and hit a newer object of the same name. S3's conditions can't prevent that: the same
 * bytes have the same ETag. So one that got no answer is waited out before anything else happens to the key, and is noted on disk before it
 * is sent, so that the next life of this node waits, too. docs/decisions/061 says why.
 *
 * The caller sees to it that one thing at a time happens to a key, and only once it is `settled`.
 */
export class S3Removal {
  private readonly options: S3RemovalOptions;
  /** Keys that a former life was deleting, and when (by the clock) nothing can come of that any more. */
  private readonly inherited = new Map<Key, number>();
  /** Names under which a put may still arrive, and until when: a delete before that would be undone by it. */
  private readonly latePuts = new Map<string, number>();
  private conditionsWork = true;

  constructor(options: S3RemovalOptions) {
    this.options = options;
  }

  async load(): Promise<void> {
    const { files, folder, clock, timing } = this.options;
    await files.mkdir(folder, { recursive: true });
    await syncFolder(files, dirname(folder)); // a note in a folder that a power cut takes away is none
    for (const name of await files.readdir(folder)) {
      const key = `sha1:${name}`;
      if (isKey(key)) this.inherited.set(key, clock.nowMs() + timing.deleteSettleMs);
    }
  }

  /** Resolves when no DELETE of the key can be on its way. */
  async settled(key: Key): Promise<void> {
    const untilMs = this.inherited.get(key);
    if (untilMs === undefined) return;
    await this.wait(untilMs - this.options.clock.nowMs());
    await this.forget(key);
    this.inherited.delete(key);
  }

  /** A PUT under this name was sent and not answered. It does no harm: its bytes are right. But what is deleted is to stay so. */
  notePut(name: string): void {
    const { clock, timing } = this.options;
    const nowMs = clock.nowMs();
    for (const [other, untilMs] of this.latePuts) if (untilMs <= nowMs) this.latePuts.delete(other);
    this.latePuts.set(name, nowMs + timing.deleteSettleMs);
  }

  /** Answers whether it is gone. Rejects when that could not be told; even then nothing is on its way any more. */
  async remove(key: Key, name: string, stat: S3Stat): Promise<boolean> {
    const { objects, clock, timing } = this.options;
    await this.wait((this.latePuts.get(name) ?? 0) - clock.nowMs());
    await this.note(key);
    const { outcome, doubtMs } = await this.tryToDelete(name, stat.etag);
    if (doubtMs !== null) await this.wait(doubtMs + timing.deleteSettleMs - clock.nowMs());
    await this.forget(key);
    if (outcome === "deleted" && doubtMs === null) return true;
    const now = await objects.look(name);
    if (now === null || now.seen !== stat.seen) return true;
    if (outcome === "changed") return false;
    throw outcome instanceof Error ? outcome : new CaskError("STORAGE_FAILED", `${name} could not be deleted`);
  }

  /** `doubtMs`: when the last attempt ended after which the request may still take effect. */
  private async tryToDelete(
    name: string,
    etag: string,
  ): Promise<{ outcome: "deleted" | "changed" | Error; doubtMs: number | null }> {
    const { objects, timing, clock } = this.options;
    let doubtMs: number | null = null;
    let last: unknown;
    for (let attempt = 1; attempt <= timing.attempts; attempt++) {
      try {
        await objects.remove(name, this.conditionsWork ? etag : undefined);
        return { outcome: "deleted", doubtMs };
      } catch (error) {
        last = error;
        if (saysChanged(error) || hasStatus(error, 404)) return { outcome: "changed", doubtMs };
        if (hasStatus(error, 501) && this.conditionsWork) this.dropConditions();
        else if (isRefusal(error)) break;
        else if (mayStillHappen(error)) doubtMs = clock.nowMs();
        await this.wait(timing.backoffMs * 2 ** (attempt - 1));
      }
    }
    return { outcome: s3Failure(last, `deleting ${name}`), doubtMs };
  }

  private dropConditions(): void {
    this.conditionsWork = false;
    this.options.onNotice(
      "this S3 server knows no conditional deletes: whatever else writes below this node's prefix must not run beside it",
    );
  }

  private async note(key: Key): Promise<void> {
    const { files, folder } = this.options;
    const handle = await files.open(join(folder, hexOf(key)), constants.O_WRONLY | constants.O_CREAT, 0o644);
    await handle.close();
    await syncFolder(files, folder);
  }

  /** A note that comes back after a power cut costs a wait, and nothing else. */
  private async forget(key: Key): Promise<void> {
    const { files, folder } = this.options;
    await removeIfThere(files, join(folder, hexOf(key)));
  }

  private async wait(ms: number): Promise<void> {
    if (ms > 0) await this.options.clock.sleep(ms, this.options.closing);
  }
}
