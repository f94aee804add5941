import type { Clock } from "../core/clock.ts";
import { CaskError, messageOf } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import type { S3Connection, S3Timing } from "./s3-client.ts";
import type { S3Copy } from "./s3-copy.ts";
import { hasStatus, s3Failure } from "./s3-failure.ts";
import { S3_FORMAT, type S3Layout } from "./s3-layout.ts";
import { makePutTag, type S3Objects, type S3Stat } from "./s3-objects.ts";

/** What `cask.json` of a prefix says. */
export interface OwnerRecord {
  readonly format: number;
  readonly store: string;
  readonly uuid: string;
  /** Of the process that uses the prefix; null: it has stopped in peace. */
  readonly nonce: string | null;
  /** For people; what counts is the time that S3 gives the object. */
  readonly renewed: string;
}

export interface S3OwnerOptions {
  readonly connection: S3Connection;
  readonly objects: S3Objects;
  readonly open: (name: string) => Promise<S3Copy | null>;
  readonly layout: S3Layout;
  readonly uuid: string;
  readonly timing: S3Timing;
  readonly clock: Clock;
  readonly random: Random;
  /** The nonces of this node's former lives on this machine, whose processes are dead: nobody waits for them. */
  readonly nonces: { load(): Promise<string[]>; save(nonces: readonly string[]): Promise<void> };
  readonly onNotice: (message: string) => void;
  /** Another process has taken the prefix: this one must end. */
  readonly onLost: (error: CaskError) => void;
}

interface Found {
  readonly record: OwnerRecord;
  readonly stat: S3Stat;
}

const STORE_PATTERN = /^[0-9a-f]{8,64}$/;
const STORE_BYTES = 16;
const NONCE_BYTES = 8;

/** One process per prefix: an object says whose it is, and is renewed as long as that process lives. */
export class S3Owner {
  private readonly options: S3OwnerOptions;
  private readonly nonce: string;
  private record: OwnerRecord | undefined;
  private etag: string | undefined;
  private renewedMs = Number.NEGATIVE_INFINITY;
  private renewing: Promise<void> | undefined;
  private cancelTimer: () => void = () => undefined;
  private ended = false;

  constructor(options: S3OwnerOptions) {
    this.options = options;
    this.nonce = options.random.hex(NONCE_BYTES);
  }

  get store(): string {
    if (!this.record) throw new CaskError("INTERNAL", "the prefix was not taken");
    return this.record.store;
  }

  /** Rejects with ROOT_IN_USE, UUID_IN_USE, BAD_ROOT or STORAGE_FAILED. */
  async take(): Promise<void> {
    const { nonces, random, uuid } = this.options;
    const former = await nonces.load();
    const found = await this.find();
    if (found) this.mustBeFree(found, former);
    await nonces.save([...former, this.nonce]);
    const store = found?.record.store ?? random.hex(STORE_BYTES);
    await this.write({ format: S3_FORMAT, store, uuid, nonce: this.nonce, renewed: "" }, found?.stat.etag);
    await nonces.save([this.nonce]);
    this.schedule();
  }

  /**
   * To be awaited before anything is written or deleted. Costs nothing while the object is fresh; a process that was stopped for long asks
   * first whether the prefix still is its own.
   */
  async mustBeOurs(): Promise<void> {
    if (this.ended) throw this.lost();
    const { clock, timing } = this.options;
    if (clock.nowMs() - this.renewedMs < timing.ownerStaleMs / 2) return;
    await this.renew();
  }

  /** Lets the next process in at once. */
  async release(): Promise<void> {
    this.cancelTimer();
    await this.renewing?.catch(() => undefined);
    const wasOurs = !this.ended && this.record;
    this.ended = true;
    if (!wasOurs) return;
    try {
      await this.write({ ...wasOurs, nonce: null }, this.etag);
    } catch (error) {
      const ms = this.options.timing.ownerStaleMs;
      this.options.onNotice(
        `the prefix could not be given free (${messageOf(error)}): on another machine this node can start in ${ms / 1000} s`,
      );
    }
  }

  private async find(): Promise<Found | null> {
    const copy = await this.options.open(this.options.layout.owner);
    if (!copy) return null;
    try {
      const parts: Uint8Array[] = [];
      for await (const chunk of copy.chunks()) parts.push(chunk);
      return { record: this.parse(Buffer.concat(parts).toString("utf8")), stat: copy.stat };
    } finally {
      await copy.close();
    }
  }

  private parse(text: string): OwnerRecord {
    const { owner } = this.options.layout;
    let value: Partial<OwnerRecord> = {};
    let cause: unknown;
    try {
      value = (JSON.parse(text) as Partial<OwnerRecord> | null) ?? {};
    } catch (error) {
      cause = error;
    }
    const { format, store, uuid, nonce, renewed = "" } = value;
    if (typeof format === "number" && format > S3_FORMAT) {
      throw new CaskError(
        "BAD_ROOT",
        `${owner} was written by a newer version of cask (format ${format}, this one knows ${S3_FORMAT}): run that version, or give ` +
          "this node another CASK_S3_PREFIX",
      );
    }
    const isGood = format === S3_FORMAT && typeof store === "string" && STORE_PATTERN.test(store);
    if (isGood && typeof uuid === "string" && (nonce === null || typeof nonce === "string")) {
      return { format, store, uuid, nonce, renewed };
    }
    throw new CaskError(
      "BAD_ROOT",
      `${owner} is damaged: put it back, or delete it; the blobs stay, but the node will then be taken for one with a new disk until it ` +
        "has compared its blobs with the others",
      cause,
    );
  }

  private mustBeFree({ record, stat }: Found, former: readonly string[]): void {
    const { uuid, layout, connection, timing } = this.options;
    const where = `the prefix "${layout.prefix}" of the bucket ${connection.bucket}`;
    if (record.uuid !== uuid) {
      throw new CaskError(
        "ROOT_IN_USE",
        `${where} belongs to node ${record.uuid}, and this is node ${uuid}: set another CASK_S3_PREFIX. (If that node is gone for good ` +
          `and this one is to have its blobs, set CASK_UUID=${record.uuid}, or delete ${layout.owner})`,
      );
    }
    if (record.nonce === null || former.includes(record.nonce)) return;
    const ageMs = Math.max(0, connection.serverNowMs() - stat.modifiedMs);
    if (ageMs >= timing.ownerStaleMs) return;
    throw new CaskError(
      "ROOT_IN_USE",
      `${where} is in use by another process of node ${uuid}, which renewed its claim ${Math.round(ageMs / 1000)} s ago: stop it. If it ` +
        `is dead, this one can start in ${Math.ceil((timing.ownerStaleMs - ageMs) / 1000)} s`,
    );
  }

  /** Over what was found, and nothing else. Reads it again when the answer does not tell who has won. */
  private async write(record: OwnerRecord, etag: string | undefined): Promise<void> {
    const { objects, layout, clock, random } = this.options;
    const whole = { ...record, renewed: new Date(clock.wallMs()).toISOString() };
    const bytes = Buffer.from(`${JSON.stringify(whole, null, 2)}\n`);
    const conditions = etag === undefined ? { ifAbsent: true } : { ifMatch: etag };
    const atMs = clock.nowMs();
    let refused: unknown;
    try {
      await objects.put(layout.owner, bytes, makePutTag(bytes.length, random.hex(NONCE_BYTES)), conditions);
    } catch (error) {
      if (hasStatus(error, 404) && etag !== undefined) return this.write(record, undefined); // somebody deleted it
      if (!hasStatus(error, 409, 412)) throw s3Failure(error, `writing ${layout.owner}`);
      refused = error; // by another process, or by an attempt of ours whose answer was lost
    }
    const found = await this.find();
    if (found?.record.nonce !== record.nonce || found.record.uuid !== record.uuid) throw this.lost(found, refused);
    this.record = found.record;
    this.etag = found.stat.etag;
    this.renewedMs = atMs;
  }

  private schedule(): void {
    const { clock, timing, onNotice } = this.options;
    this.cancelTimer = clock.timer(timing.ownerRenewMs, () => {
      this.renew()
        .catch((error: unknown) => onNotice(`the claim on the S3 prefix could not be renewed yet: ${messageOf(error)}`))
        .finally(() => {
          if (!this.ended) this.schedule();
        });
    });
  }

  private renew(): Promise<void> {
    this.renewing ??= this.renewOnce().finally(() => {
      this.renewing = undefined;
    });
    return this.renewing;
  }

  private async renewOnce(): Promise<void> {
    if (!this.record || this.ended) throw this.lost();
    try {
      await this.write(this.record, this.etag);
    } catch (error) {
      if (error instanceof CaskError && error.code === "ROOT_IN_USE") {
        this.ended = true;
        this.options.onLost(error);
      }
      throw error;
    }
  }

  private lost(found?: Found | null, cause?: unknown): CaskError {
    const { layout, connection } = this.options;
    const who = found ? `node ${found.record.uuid} (start ${found.record.nonce})` : "another process";
    return new CaskError(
      "ROOT_IN_USE",
      `the prefix "${layout.prefix}" of the bucket ${connection.bucket} was taken by ${who}`,
      cause === undefined ? undefined : s3Failure(cause, "renewing the claim"),
    );
  }
}
