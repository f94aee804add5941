import { CaskError } from "../core/errors.ts";
import type { Key } from "../core/key.ts";

/**
 * Names one copy as it was when it was looked at. A copy that was written since has another one. Opaque: compare only.
 */
export type Seen = string & { readonly __seen: unique symbol };

export interface Stat {
  readonly sizeBytes: number;
  readonly seen: Seen;
}

/** An open copy. Iterate `chunks` to its end, or call `close`; both release what is held (a file descriptor). */
export interface StoredBlob extends Stat {
  /** Reads from byte `start` (default 0) to byte `end` (included; default the last). Rejects when bytes are missing. */
  chunks(start?: number, end?: number): AsyncIterable<Uint8Array>;
  close(): Promise<void>;
}

/**
 * - `stored`: the key was absent.
 * - `known`: the same bytes were there already, and are on stable storage.
 * - `replaced`: other bytes, which do not hash to the key, were there; they are in quarantine now.
 */
export type CommitOutcome = "stored" | "known" | "replaced";

/**
 * Bytes on their way in, visible to nobody. It ends in `commit` or `abort`; after a crash it is gone.
 * A stage that was committed can still be read until `abort`, which then only releases it.
 */
export interface Stage {
  readonly sizeBytes: number;
  /**
   * Appends. Calls follow one another (each awaited). After a rejection (NO_SPACE, STORAGE_FAILED) only `abort` is left. `isGiven`: nobody changes
   * the bytes afterwards, so that they need not be copied.
   */
  write(chunk: Uint8Array, isGiven?: boolean): Promise<void>;
  /** What was written, from the start. To be called after the last `write`; several readers at a time are fine. */
  read(): AsyncIterable<Uint8Array>;
  /** All that was written, where it never left memory; not to be changed, and good until `abort`. */
  inMemory?(): Uint8Array | undefined;
  /**
   * Makes the bytes the copy of `key`. The caller has hashed them. When it resolves the copy is whole, visible and on stable
   * storage; when it rejects or the process dies it is absent or whole, never partial.
   * Commits of one key follow one another. An existing copy is compared byte by byte: equal is `known` (answered only after
   * file and folder are synced); one that does not hash to the key is moved to quarantine and replaced; one that does, with
   * other bytes, stays, and the commit rejects with KEY_COLLISION. Other errors: NO_SPACE, STORAGE_FAILED.
   * It may be called once.
   */
  commit(key: Key): Promise<CommitOutcome>;
  /** Gives up what is not committed and releases the rest. Never rejects; may be called at any time, twice too. */
  abort(): Promise<void>;
}

/** A copy that was read whole, unverified. */
export interface WholeCopy {
  readonly bytes: Buffer;
  readonly seen: Seen;
}

/** A listing has come to its end, but parts of the store could not be read: what it did not list may be there or not. */
export class IncompleteListing extends CaskError {
  /** No part could be read: the disk is away, and may come back as it was. */
  readonly nothingRead: boolean;

  constructor(message: string, { nothingRead, cause }: { nothingRead: boolean; cause?: unknown }) {
    super("STORAGE_FAILED", message, cause);
    this.nothingRead = nothingRead;
  }
}

/**
 * There is a copy, and it can't be right: it has another length than it was stored with, whenever it is asked for. Whoever wants it healed
 * puts the one that was `seen` into quarantine.
 */
export class DamagedCopy extends CaskError {
  readonly seen: Seen;

  constructor(message: string, seen: Seen) {
    super("STORAGE_FAILED", message);
    this.seen = seen;
  }
}

/** Free space in bytes for new blobs; null where there is no such figure (S3). Unknown is not zero. */
export interface Space {
  readonly freeBytes: number | null;
  readonly totalBytes: number | null;
}

/**
 * Bytes by key in one place: a data folder, an S3 prefix, memory. It knows nothing of cluster, HTTP or policy.
 *
 * Three answers: `get`, `stat` give null for absent. Any other trouble rejects with STORAGE_FAILED: "don't know" is never
 * taken for "absent". (Of these, DamagedCopy says that there is one.) `test/conformance/backend.ts` is the executable form of this contract.
 */
export interface Backend {
  /** Random id of this store, made with it and kept in it: copies are counted by store, not by node. */
  readonly store: string;
  /** `sizeHint`: bytes expected, if known; NO_SPACE at once when they can't fit. */
  stage(sizeHint?: number): Promise<Stage>;
  get(key: Key): Promise<StoredBlob | null>;
  stat(key: Key): Promise<Stat | null>;
  /**
   * A copy of at most so many bytes in one read, where it is known without a look that it is here. Null says nothing: `get` answers. Not all
   * backends have it.
   */
  readAtOnce?(key: Key, maxBytes?: number): Promise<WholeCopy> | null;
  /** Deletes the copy that was `seen`; a newer one stays. Answers whether it deleted. Durable when it resolves. */
  delete(key: Key, seen: Seen): Promise<boolean>;
  /** Moves the copy that was `seen` out of sight and keeps it for the operator. Answers whether it did. */
  quarantine(key: Key, seen: Seen): Promise<boolean>;
  /** Does the quarantine hold a copy of this key? */
  isQuarantined(key: Key): Promise<boolean>;
  /** How many copies lie in quarantine at this moment: those that the operator has removed are not among them. */
  quarantinedCount(): Promise<number>;
  /**
   * Keys in ascending order, from `from` (included) to `to` (excluded; undefined: to the end). A listing may be given up and
   * resumed from the last key seen. Keys that come or go meanwhile may be in it or not; all others are in it once. What can't be read does
   * not end it: then it rejects at its end, with IncompleteListing. Any other rejection means that it broke off.
   */
  keys(from?: Key, to?: Key): AsyncIterable<Key>;
  space(): Promise<Space>;
  /** Waits for what is under way, releases locks. */
  close(): Promise<void>;
}
