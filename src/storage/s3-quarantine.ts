import type { Clock } from "../core/clock.ts";
import { CaskError } from "../core/errors.ts";
import type { Key } from "../core/key.ts";
import { S3_COPY_MAX_BYTES, S3_QUARANTINE_LIST_MS } from "../core/limits.ts";
import type { Random } from "../core/random.ts";
import type { S3Copy } from "./s3-copy.ts";
import type { S3Layout } from "./s3-layout.ts";
import { makePutTag, type S3Objects, type S3Stat } from "./s3-objects.ts";
import type { S3Uploads } from "./s3-upload.ts";

export interface S3QuarantineOptions {
  readonly objects: S3Objects;
  readonly uploads: S3Uploads;
  readonly layout: S3Layout;
  readonly clock: Clock;
  readonly random: Random;
  readonly open: (name: string) => Promise<S3Copy | null>;
}

const SUFFIX_BYTES = 8;

/** Corrupt copies in a sibling prefix, kept for the operator. Their names are listed once, at start. */
export class S3Quarantine {
  private readonly options: S3QuarantineOptions;
  private readonly names = new Map<Key, string[]>();
  private listed = { count: 0, atMs: Number.NEGATIVE_INFINITY };

  constructor(options: S3QuarantineOptions) {
    this.options = options;
  }

  async load(): Promise<void> {
    const { objects, layout } = this.options;
    for await (const { name } of objects.listAll(layout.quarantine)) {
      const key = layout.keyOfQuarantined(name);
      if (key) this.note(key, name);
    }
  }

  /** Listed at most once a minute: each time costs. */
  async count(): Promise<number> {
    const { objects, layout, clock } = this.options;
    if (clock.nowMs() - this.listed.atMs < S3_QUARANTINE_LIST_MS) return this.listed.count;
    const atMs = clock.nowMs();
    let count = 0;
    for await (const { name } of objects.listAll(layout.quarantine)) if (layout.keyOfQuarantined(name)) count++;
    this.listed = { count, atMs };
    return count;
  }

  /** Keeps a copy of the object. The original stays: whoever calls deletes or replaces it. */
  async keep(key: Key, name: string, stat: S3Stat): Promise<void> {
    const { objects, uploads, layout, random, open } = this.options;
    const target = layout.quarantined(key, random.hex(SUFFIX_BYTES));
    // Noted first: whoever finds the key absent from now on must learn that it is here.
    this.note(key, target);
    if (stat.sizeBytes <= S3_COPY_MAX_BYTES) {
      await objects.copy(name, target, stat.etag);
    } else {
      const copy = await open(name);
      if (!copy) return; // it is gone: there is nothing to keep
      const source = { sizeBytes: copy.sizeBytes, read: () => copy.chunks() };
      await uploads
        .put(target, source, makePutTag(copy.sizeBytes, random.hex(SUFFIX_BYTES)))
        .finally(() => copy.close());
    }
    if (!(await objects.look(target))) throw new CaskError("STORAGE_FAILED", `${target} is not there after a copy`);
    this.listed.atMs = Number.NEGATIVE_INFINITY;
  }

  /** Costs nothing for keys that were never here. The operator may have removed objects meanwhile. */
  async holds(key: Key): Promise<boolean> {
    for (const name of this.names.get(key) ?? []) {
      if (await this.options.objects.look(name)) return true;
    }
    return false;
  }

  private note(key: Key, name: string): void {
    this.names.set(key, [...(this.names.get(key) ?? []), name]);
  }
}
