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
  /** What came of an upload that the thread has handed over. */
  | { readonly do: "answer"; readonly id: number; readonly outcome: PutOutcome }
  | { readonly do: "stop" };

export type PutOutcome =
  | { readonly result: PutResult }
  | { readonly failure: { readonly code: ErrorCode; readonly message: string } };

/** A small upload, whole. */
export interface HandedUpload {
  readonly bytes: Uint8Array;
  /** The key that the client named. */
  readonly expected: Key | undefined;
}

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
  | { readonly told: "put"; readonly id: number; readonly upload: HandedUpload }
  | { readonly told: "corrupt"; readonly key: Key }
  | { readonly told: "error"; readonly message: string };
