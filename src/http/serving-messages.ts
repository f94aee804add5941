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
  | { readonly do: "answer"; readonly outcomes: readonly PutOutcome[] }
  | { readonly do: "stop" };

/** Of the upload with this id. */
export type PutOutcome =
  | { readonly id: number; readonly result: PutResult }
  | { readonly id: number; readonly failure: { readonly code: ErrorCode; readonly message: string } };

/** Small uploads that came at the same time, whole. */
export interface HandedUploads {
  readonly uploads: ReadonlyArray<{
    readonly id: number;
    readonly sizeBytes: number;
    /** The key that the client named. */
    readonly expected: Key | undefined;
  }>;
  /** Of all of them, one behind the other. */
  readonly bytes: Uint8Array<ArrayBuffer>;
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
  | { readonly told: "puts"; readonly puts: HandedUploads }
  | { readonly told: "corrupt"; readonly key: Key }
  | { readonly told: "error"; readonly message: string };
