import type { Key } from "../core/key.ts";
import type { KeyDigest, KeyRange } from "../core/key-range.ts";

/** Bytes `start` to `end` (both included), as in HTTP. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/** Bytes on their way to a copy: they can be read any number of times, at the same time, until the upload ends. */
export interface BlobSource {
  readonly sizeBytes: number;
  read(): AsyncIterable<Uint8Array>;
  /** All of the bytes, where they are in memory anyway. */
  inMemory?(): Uint8Array | undefined;
}

/**
 * Bytes on their way from a copy. Not yet verified: blobs/verified.ts does that.
 * Whoever gets one must iterate `chunks` to its end or call `close`.
 */
export interface BlobBody {
  /** Size of the whole blob, also when a range was asked for. */
  readonly sizeBytes: number;
  /** Rejects when the bytes end before or after what was announced. */
  readonly chunks: AsyncIterable<Uint8Array>;
  close(): void;
  /** Told by blobs/verified.ts once all bytes of the blob were hashed: this node's own copy is quarantined when corrupt. */
  hashed(result: "verified" | "corrupt"): Promise<void>;
  /** Where somebody remembers what the bytes of the whole copy were when they were hashed last. */
  readonly fingerprints?: BodyFingerprints | undefined;
}

/** The fingerprints of a copy's pieces, one behind the other (blobs/piece-fingerprints.ts). */
export interface BodyFingerprints {
  /** Null: the copy is another one since, or it was not hashed lately. */
  known(): Buffer | null;
  /** To be called when the bytes were hashed and matched. */
  note(pieces: Buffer): void;
  forget(): void;
}

/** What became of a copy that was sent. `store` names the data folder or prefix that holds it: copies are counted by it. */
export interface PutReceipt {
  readonly store: string;
  readonly outcome: "stored" | "known" | "replaced";
}

/** One node's answer about one key. `verifiedAtMs`: wall clock; null when it was not hashed since the node started. */
export type Holding =
  | {
      readonly state: "present";
      /** Null: a Go node, which does not say. */
      readonly sizeBytes: number | null;
      readonly verifiedAtMs: number | null;
      readonly store: string;
    }
  /** `store`: where it was looked for. `members`: a digest of the members that the node knows. Missing: a Go node, or one of an older version. */
  | { readonly state: "absent"; readonly store?: string; readonly members?: string }
  /**
   * `lacking`: certainly no copy there, but that says nothing of whether the blob exists (quarantined, or a replaced disk). `wasStored`: it does, or
   * did: what was its copy there lies in quarantine.
   */
  | { readonly state: "unknown"; readonly reason: string; readonly lacking?: true; readonly wasStored?: true };

/**
 * What a node that trims asks of another. `nonce`: of this marking, echoed, so that an answer to an earlier one is never taken.
 * The rest is how the asking node sees the cluster: one that sees it otherwise refuses.
 */
export interface VouchRequest {
  readonly nonce: string;
  readonly replication: number;
  readonly maxReplication: number;
  /** Digest of all nodes on the ring, with their points. */
  readonly ring: string;
  readonly keys: readonly Key[];
}

/**
 * `vouched`: the node has hashed its copy since the request arrived, it matched, it is still the stored one, and the node neither is nor was
 * trimming that key itself at any moment of that. `store`: which data folder or prefix holds it.
 */
export type Vouch =
  | { readonly vouched: true; readonly store: string }
  | { readonly vouched: false; readonly reason: string };

export interface KeysPage {
  readonly keys: readonly Key[];
  /** There are more in the range, behind the last of these. */
  readonly more: boolean;
}

/**
 * A node as the blob code sees it; this node is one too (blobs/local-store.ts), others are in cluster/http-peer.ts and cluster/go-peer.ts.
 *
 * Three answers: present, absent, don't know. `get` gives null for absent, and rejects for any other trouble.
 * Every call ends, by an answer, an error or a deadline of the implementation; `signal` ends it sooner.
 */
export interface Peer {
  readonly uuid: string;
  /** A Go Cask node has no `vouch`, `digests` and `keysIn`: they reject with NOT_BUILT. */
  readonly isGo: boolean;
  /**
   * Makes a durable copy. When it resolves, the copy is on stable storage and hashes to `key`.
   * Rejects with KEY_MISMATCH, KEY_COLLISION, READ_ONLY, NO_SPACE, STORAGE_FAILED, PEER_FAILED, PEER_SLOW.
   */
  put(key: Key, source: BlobSource, signal?: AbortSignal): Promise<PutReceipt>;
  /** A range is served from a copy that was verified lately, and is verified first when it was not. */
  get(key: Key, range?: ByteRange, signal?: AbortSignal): Promise<BlobBody | null>;
  /**
   * A small copy, whole and not verified, asked for together with others that are wanted of this peer at the same time. Null, now or later, says nothing: `get`
   * answers. Never rejects.
   */
  getTogether?(key: Key): Promise<Buffer | null> | null;
  /** Answers in the order of the keys (at most HAS_KEYS_MAX_COUNT of them). */
  has(keys: readonly Key[], signal?: AbortSignal): Promise<Holding[]>;
  /**
   * Vouches for copies, in the order of the keys (at most VOUCH_KEYS_MAX_COUNT). `sizeBytes`: of all of them together, from which
   * the deadline follows.
   */
  vouch(request: VouchRequest, sizeBytes: number, signal?: AbortSignal): Promise<Vouch[]>;
  /** Counts and digests of the keys that it holds, in the order of the ranges (at most DIGEST_RANGES_MAX_COUNT). Rejects with DONT_KNOW until it knows. */
  digests(ranges: readonly KeyRange[], signal?: AbortSignal): Promise<KeyDigest[]>;
  /** Its keys in a range, in order, at most KEYS_PAGE_MAX_COUNT of them. Rejects with DONT_KNOW until it knows. */
  keysIn(range: KeyRange, signal?: AbortSignal): Promise<KeysPage>;
}

/** A peer elsewhere: it holds connections. */
export interface RemotePeer extends Peer {
  readonly baseUrl: string;
  close(): Promise<void>;
}
