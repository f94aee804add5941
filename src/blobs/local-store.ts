import type { ClusterView } from "../cluster/cluster-view.ts";
import type { Clock } from "../core/clock.ts";
import { eachInTime } from "../core/each-in-time.ts";
import { asCaskError, CaskError } from "../core/errors.ts";
import { inTime } from "../core/in-time.ts";
import { type Key, keyOfBytes } from "../core/key.ts";
import type { KeyDigest, KeyRange } from "../core/key-range.ts";
import { KeyedMutex } from "../core/keyed-mutex.ts";
import {
  HAS_AT_ONCE_COUNT,
  KEYS_PAGE_MAX_COUNT,
  LOCAL_READ_TIMEOUT_MS,
  PEER_STALL_TIMEOUT_MS,
  PEER_SYNC_LEAST_BYTES_PER_MS,
  VERIFIED_TRUST_MS,
} from "../core/limits.ts";
import type { Logger } from "../core/log.ts";
import type {
  BlobBody,
  BlobSource,
  ByteRange,
  Holding,
  KeysPage,
  Peer,
  PutReceipt,
  Vouch,
  VouchRequest,
} from "../peer/peer.ts";
import {
  type Backend,
  type CommitOutcome,
  DamagedCopy,
  type Seen,
  type Stage,
  type Stat,
  type StoredBlob,
} from "../storage/backend.ts";
import type { Inventory } from "../storage/inventory.ts";
import { CopyFingerprints } from "./copy-fingerprints.ts";
import { StagedUpload, stageInTime } from "./staged-upload.ts";
import { TrimMarks } from "./trim-marks.ts";
import { LostCopy, unknownHolding } from "./unknown-holding.ts";
import { verify } from "./verified.ts";
import type { VerifiedTimes } from "./verified-times.ts";
import { Vouching } from "./vouching.ts";

export interface LocalStoreOptions {
  readonly uuid: string;
  readonly backend: Backend & Pick<Inventory, "digest" | "keysIn" | "wasHere">;
  readonly verifiedTimes: VerifiedTimes;
  /** May new blobs be stored here? (setting, free space, UUID conflict) */
  readonly isWriteable: () => boolean;
  /** Absence on this node says nothing (its disk was replaced). */
  readonly isIncomplete: () => boolean;
  /** The node is being emptied. */
  readonly isDraining: () => boolean;
  /** The disk answered, or did not within its time. */
  readonly onDiskAnswer: (answered: boolean) => void;
  readonly onQuarantined: (key: Key) => void;
  readonly view: () => ClusterView;
  /** Why this node vouches for nothing at present; null when it does. */
  readonly vouchRefusal: () => string | null;
  readonly trimGraceMs: number;
  readonly clock: Clock;
  readonly log: Logger;
}

/** This node as a peer: the backend, with deadlines, and with what is known of its copies. */
export class LocalStore implements Peer {
  readonly uuid: string;
  readonly isGo = false;
  private readonly options: LocalStoreOptions;
  private readonly verifying = new Map<string, Promise<boolean>>();
  /** Mark, put, delete and quarantine of one key follow one another. */
  private readonly mutex = new KeyedMutex();
  private readonly marks = new TrimMarks();
  private readonly fingerprints = new CopyFingerprints();
  /** Deletes whose outcome is not known: the mark stays until it is, and puts wait for that. */
  private readonly unresolved = new Map<Key, Seen>();
  private readonly vouching: Vouching;
  private underWay = 0;

  constructor(options: LocalStoreOptions) {
    this.options = options;
    this.uuid = options.uuid;
    this.vouching = new Vouching({
      view: options.view,
      marks: this.marks,
      refusal: options.vouchRefusal,
      clock: options.clock,
      trimGraceMs: options.trimGraceMs,
      copy: { open: (key) => this.openCopy(key), isStored: (key, seen) => this.isStored(key, seen) },
      store: options.backend.store,
    });
  }

  get store(): string {
    return this.options.backend.store;
  }

  async put(key: Key, source: BlobSource, signal?: AbortSignal): Promise<PutReceipt> {
    signal?.throwIfAborted();
    if (!this.options.isWriteable())
      throw new CaskError("READ_ONLY", `node ${this.uuid} takes no new blobs at present`);
    const { backend, verifiedTimes, clock } = this.options;
    const outcome = await this.commit(key, source);
    const stat = await this.inTime(backend.stat(key), LOCAL_READ_TIMEOUT_MS);
    if (stat) verifiedTimes.note(key, stat.seen, clock.wallMs());
    return { store: backend.store, outcome };
  }

  async get(key: Key, range?: ByteRange, signal?: AbortSignal): Promise<BlobBody | null> {
    signal?.throwIfAborted();
    const blob = await this.open(key);
    if (!blob) return this.absent(key);
    if (!range) return this.bodyOf(key, blob);
    return this.rangeOf(key, blob, range);
  }

  /**
   * The verified bytes of a small copy, where the backend has it in one read. Null says nothing, neither that there is none nor that it is
   * wrong (then it is in quarantine now): `get` answers. `ms`: the disk is not waited for longer. Never rejects.
   */
  async readAtOnce(key: Key, ms: number, maxBytes?: number): Promise<Buffer | null> {
    const { backend, clock, onDiskAnswer } = this.options;
    const slow = () => new CaskError("STORAGE_FAILED", "slow"); // no verdict on the disk yet
    try {
      const reading = backend.readAtOnce?.(key, maxBytes);
      if (!reading) return null;
      const { bytes, seen } = await inTime(clock, ms, reading, slow);
      onDiskAnswer(true);
      const isRight = keyOfBytes(bytes) === key;
      await this.hashed(key, seen, isRight ? "verified" : "corrupt");
      return isRight ? bytes : null;
    } catch (_told) {
      return null; // `get` tries again, and tells
    }
  }

  async has(keys: readonly Key[], signal?: AbortSignal): Promise<Holding[]> {
    const holdings = new Array<Holding>(keys.length);
    let next = 0;
    const askSome = async () => {
      while (next < keys.length) {
        signal?.throwIfAborted();
        const at = next++;
        holdings[at] = await this.holding(keys[at] as Key);
      }
    };
    // A disk has it in a moment; a store on the network is a round trip or two away for each.
    await Promise.all(Array.from({ length: Math.min(keys.length, HAS_AT_ONCE_COUNT) }, askSome));
    return holdings;
  }

  async vouch(request: VouchRequest, _sizeBytes: number, signal?: AbortSignal): Promise<Vouch[]> {
    return this.vouching.vouch(request, signal);
  }

  async digests(ranges: readonly KeyRange[]): Promise<KeyDigest[]> {
    return ranges.map((range) => this.options.backend.digest(range));
  }

  async keysIn(range: KeyRange): Promise<KeysPage> {
    const keys = this.options.backend.keysIn(range, KEYS_PAGE_MAX_COUNT + 1);
    return { keys: keys.slice(0, KEYS_PAGE_MAX_COUNT), more: keys.length > KEYS_PAGE_MAX_COUNT };
  }

  /**
   * Commits a stage as the copy of a key. A trim of it that has not come to its delete is given up; one that has is waited for. Rejects with
   * READ_ONLY on a node that is being emptied, also when that began while the blob was on its way.
   */
  commitStage(key: Key, stage: Pick<Stage, "commit">): Promise<CommitOutcome> {
    return this.mutex.run(key, async () => {
      await this.resolve(key);
      if (this.options.isDraining()) throw new CaskError("READ_ONLY", `node ${this.uuid} is being emptied`);
      this.marks.takeBack(key);
      this.underWay++;
      try {
        return await stage.commit(key);
      } finally {
        this.underWay--;
      }
    });
  }

  /** Commits that have begun and not ended: their keys are not in the inventory yet. */
  get commitsUnderWay(): number {
    return this.underWay;
  }

  isTrimming(key: Key): boolean {
    return this.marks.isMarked(key);
  }

  /** Marks a key as being trimmed, under `nonce`. Answers its copy; null when there is none, or when it is marked already. */
  beginTrim(key: Key, nonce: string): Promise<Stat | null> {
    return this.mutex.run(key, async () => {
      const stat = await this.inTime(this.options.backend.stat(key), LOCAL_READ_TIMEOUT_MS);
      return stat && this.marks.mark(key, nonce) ? stat : null;
    });
  }

  /** Not to be trimmed now, after all. Nothing happens when its marking is not the one with this nonce any more. */
  async cancelTrim(key: Key, nonce: string): Promise<void> {
    await this.mutex.run(key, async () => {
      if (this.marks.stands(key, nonce) && !this.unresolved.has(key)) this.marks.takeBack(key);
    });
  }

  /**
   * Deletes the copy that was seen at `beginTrim`, if the marking still stands; whoever calls has the vouches. Answers whether it is gone.
   * Rejects when the outcome is not known: then the mark stays, and `resolveTrims` or the next put finds out.
   */
  finishTrim(key: Key, nonce: string, seen: Seen): Promise<boolean> {
    return this.mutex.run(key, async () => {
      if (!this.marks.stands(key, nonce)) return false; // it was stored anew meanwhile
      this.unresolved.set(key, seen);
      return this.resolve(key);
    });
  }

  /** Tries again to find out what became of deletes. Rejects as long as one is not known. */
  async resolveTrims(): Promise<void> {
    for (const key of [...this.unresolved.keys()]) await this.mutex.run(key, () => this.resolve(key));
  }

  /** To be called with the key's mutex. No deadline: until the outcome is known nothing may happen to the key. */
  private async resolve(key: Key): Promise<boolean> {
    const seen = this.unresolved.get(key);
    if (seen === undefined) return false;
    const deleted = await this.options.backend.delete(key, seen);
    this.unresolved.delete(key);
    this.marks.takeBack(key);
    this.options.verifiedTimes.forget(key);
    return deleted;
  }

  private async openCopy(key: Key): Promise<{ body: BlobBody; seen: Seen } | null> {
    const blob = await this.open(key);
    return blob && { body: this.bodyOf(key, blob), seen: blob.seen };
  }

  private isStored(key: Key, seen: Seen): Promise<boolean> {
    return this.mutex.run(
      key,
      async () => (await this.inTime(this.options.backend.stat(key), LOCAL_READ_TIMEOUT_MS))?.seen === seen,
    );
  }

  private async holding(key: Key): Promise<Holding> {
    const { backend, verifiedTimes } = this.options;
    try {
      const stat = await this.inTime(backend.stat(key), LOCAL_READ_TIMEOUT_MS);
      if (stat) {
        const verifiedAtMs = verifiedTimes.at(key, stat.seen);
        return { state: "present", sizeBytes: stat.sizeBytes, verifiedAtMs, store: backend.store };
      }
      await this.absent(key);
      return { state: "absent", store: backend.store, members: this.options.view().membersDigest };
    } catch (error) {
      if (error instanceof DamagedCopy) void this.isolate(key, error.seen);
      return unknownHolding(error, backend.wasHere(key));
    }
  }

  /** Null, unless this node's lack of a copy says nothing: then "don't know". */
  private async absent(key: Key): Promise<null> {
    const { backend, isIncomplete } = this.options;
    if (await this.inTime(backend.isQuarantined(key), LOCAL_READ_TIMEOUT_MS))
      throw new LostCopy(this.uuid, key, "in quarantine only");
    if (backend.wasHere(key)) throw new LostCopy(this.uuid, key, "vanished from the disk");
    if (isIncomplete()) {
      throw new CaskError("DONT_KNOW", `node ${this.uuid} has a new data folder and has not been filled again yet`);
    }
    return null;
  }

  private async commit(key: Key, source: BlobSource): Promise<CommitOutcome> {
    const { backend } = this.options;
    const allowedMs = PEER_STALL_TIMEOUT_MS + source.sizeBytes / PEER_SYNC_LEAST_BYTES_PER_MS;
    if (source instanceof StagedUpload && source.isStagedIn(backend) && source.key === key) {
      return this.inTime(this.commitStage(key, source), allowedMs);
    }
    const upload = await stageInTime(key, source, {
      backend,
      clock: this.options.clock,
      late: () => this.late(LOCAL_READ_TIMEOUT_MS),
      whose: `storage of node ${this.uuid}`,
    });
    return this.inTime(
      this.commitStage(key, upload).finally(() => upload.release()),
      allowedMs,
    );
  }

  private async open(key: Key): Promise<StoredBlob | null> {
    const opening = this.options.backend.get(key);
    try {
      return await this.inTime(opening, LOCAL_READ_TIMEOUT_MS);
    } catch (error) {
      opening.then((late) => late?.close()).catch(() => undefined); // it was given up: only its descriptor matters
      if (error instanceof DamagedCopy && (await this.isolate(key, error.seen))) return null; // `absent` tells the rest
      throw error;
    }
  }

  private bodyOf(key: Key, blob: StoredBlob): BlobBody {
    return {
      sizeBytes: blob.sizeBytes,
      chunks: this.inTimeChunks(blob.chunks()),
      close: () => this.closeBlob(blob),
      hashed: (result) => this.hashed(key, blob.seen, result),
      fingerprints: this.fingerprints.of(key, blob),
    };
  }

  /** A range can't be checked by its own bytes: the copy must have been verified lately, and be the same since. */
  private async rangeOf(key: Key, blob: StoredBlob, range: ByteRange): Promise<BlobBody> {
    const { verifiedTimes, clock } = this.options;
    if (range.end >= blob.sizeBytes || range.start > range.end) {
      this.closeBlob(blob);
      throw new CaskError("BAD_RANGE", `${key} has ${blob.sizeBytes} bytes`);
    }
    const verifiedAt = verifiedTimes.at(key, blob.seen);
    const trusted = verifiedAt !== null && clock.wallMs() - verifiedAt < VERIFIED_TRUST_MS;
    if (!trusted && !(await this.verifyOnce(key, blob))) {
      this.closeBlob(blob);
      throw new CaskError("CORRUPT", `the copy of ${key} on node ${this.uuid} is corrupt`);
    }
    return {
      sizeBytes: blob.sizeBytes,
      chunks: this.inTimeChunks(blob.chunks(range.start, range.end)),
      close: () => this.closeBlob(blob),
      hashed: async () => undefined,
    };
  }

  /** Many ranges of one blob may be asked for at once: its copy is read and hashed once for all of them. */
  private verifyOnce(key: Key, blob: StoredBlob): Promise<boolean> {
    const copy = `${key} ${blob.seen}`;
    const underWay = this.verifying.get(copy);
    if (underWay) return underWay;
    const result = verify({ ...this.bodyOf(key, blob), close: () => undefined }, key).finally(() =>
      this.verifying.delete(copy),
    );
    this.verifying.set(copy, result);
    return result;
  }

  private async hashed(key: Key, seen: Seen, result: "verified" | "corrupt"): Promise<void> {
    const { verifiedTimes, clock } = this.options;
    if (result === "corrupt") await this.isolate(key, seen);
    else verifiedTimes.note(key, seen, clock.wallMs());
  }

  /** Moves a corrupt copy to quarantine. Answers whether it did. */
  private async isolate(key: Key, seen: Seen): Promise<boolean> {
    const { backend, verifiedTimes, log } = this.options;
    verifiedTimes.forget(key);
    try {
      const move = this.mutex.run(key, () => backend.quarantine(key, seen));
      if (!(await this.inTime(move, PEER_STALL_TIMEOUT_MS))) return false;
      log.error({ key }, `the copy of ${key} is corrupt: moved to quarantine`);
      this.options.onQuarantined(key);
      return true;
    } catch (error) {
      log.error({ key, err: error }, `the copy of ${key} is corrupt, and could not be moved to quarantine`);
      return false;
    }
  }

  private closeBlob(blob: StoredBlob): void {
    blob.close().catch((error: unknown) => this.options.log.warn({ err: error }, "closing a copy failed"));
  }

  private inTimeChunks(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    return eachInTime(chunks, (step) => this.inTime(step, LOCAL_READ_TIMEOUT_MS));
  }

  /** A disk that hangs must not hang whoever asks: "don't know". */
  private async inTime<T>(work: Promise<T>, ms: number): Promise<T> {
    try {
      const result = await inTime(this.options.clock, ms, work, () => this.late(ms));
      this.options.onDiskAnswer(true);
      return result;
    } catch (error) {
      throw asCaskError(error, "STORAGE_FAILED", `storage of node ${this.uuid}`);
    }
  }

  private late(ms: number): CaskError {
    this.options.onDiskAnswer(false);
    return new CaskError(
      "STORAGE_FAILED",
      `the storage of node ${this.uuid} did not answer within ${Math.round(ms)} ms`,
    );
  }
}
