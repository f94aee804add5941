import type { CacheFigures } from "../blobs/blob-cache.ts";
import type { PutResult } from "../blobs/put.ts";
import type { ErrorCode } from "../core/errors.ts";
import type { Key } from "../core/key.ts";
import type { SharedMemory } from "../storage/table-share.ts";

export interface TlsPair {
  readonly cert: string;
  readonly key: string;
}

/** What a serving thread is given at its start. */
export interface ServingData {
  readonly root: string;
  readonly host: string;
  readonly port: number;
  readonly tls: TlsPair | undefined;
  readonly uuid: string;
  readonly store: string;
  /** Of the cluster: they are compared with what other nodes present. */
  readonly secrets: readonly string[];
  readonly cacheBytes: number;
  readonly readTimeoutMs: number;
  readonly writeTimeoutMs: number;
  /** Where the owner of the data listens for what it is to answer itself. */
  readonly ownerPath: string;
  readonly memory: SharedMemory;
}

/** From the owner of the data. */
export type ServingOrder =
  | { readonly do: "use"; readonly memory: SharedMemory }
  | { readonly do: "drop"; readonly segment: number }
  | { readonly do: "renew"; readonly tls: TlsPair }
  /** What came of uploads that the thread has handed over. */
  | ({ readonly do: "answer" } & HandedAnswers)
  | { readonly do: "stop" };

/**
 * Small uploads that came at the same time, whole. Here and in the answers there is a list of each thing, in place of an object for each upload: what goes to
 * another thread is copied value by value, and the names of an object with it each time.
 */
export interface HandedUploads {
  /** Of the first one; the others' follow. */
  readonly firstId: number;
  readonly sizesBytes: readonly number[];
  /** The keys that clients named. */
  readonly expected: ReadonlyArray<Key | undefined>;
  /** Of all of them, one behind the other. */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

export interface HandedAnswers {
  readonly stored: StoredUploads;
  readonly others: readonly PutOutcome[];
}

/** Those of which as many copies were made as were wanted. */
export interface StoredUploads {
  readonly ids: readonly number[];
  readonly keys: readonly Key[];
  readonly copies: readonly number[];
  readonly wanted: readonly number[];
  readonly areNew: readonly boolean[];
}

/** Of the upload with this id. */
export type PutOutcome =
  | { readonly id: number; readonly result: PutResult }
  | { readonly id: number; readonly failure: { readonly code: ErrorCode; readonly message: string } };

/** Answers of one kind, with their durations. */
export interface ServedRequests {
  readonly door: string;
  readonly method: string;
  readonly status: string;
  readonly seconds: readonly number[];
}

export interface ServedReport {
  readonly requests: readonly ServedRequests[];
  /** For read-repair; not all, when there were many. */
  readonly fetched: readonly Key[];
  readonly cache: CacheFigures;
  readonly underWay: number;
}

/** From a serving thread. */
export type ServingNews =
  | { readonly told: "listening" }
  | { readonly told: "refused"; readonly message: string }
  | { readonly told: "served"; readonly report: ServedReport }
  | { readonly told: "puts"; readonly puts: HandedUploads }
  | { readonly told: "corrupt"; readonly key: Key }
  | { readonly told: "error"; readonly message: string };
