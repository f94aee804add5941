import { hkdfSync } from "node:crypto";
import { CaskError } from "../core/errors.ts";
import { isKey, type Key } from "../core/key.ts";
import { HAS_KEYS_MAX_COUNT, MEMBERS_MAX_COUNT } from "../core/limits.ts";
import type { Holding } from "./peer.ts";

/** Paths, headers and JSON shapes of the requests between nodes: used by both ends. */

export const HEADER = {
  /** The cluster secret (Go nodes) or the value derived from it (ours). */
  secret: "x-cask-cluster-secret",
  /** In a request: the UUID that is meant. In an answer: the UUID that answers. */
  node: "x-cask-node",
  /** In an answer: the id of the store that holds the copy. */
  store: "x-cask-store",
  /** In the answer to a PUT: stored, known or replaced. */
  outcome: "x-cask-outcome",
  /** In a request of a client: the key that the body must have, 40 hexadecimal digits. */
  contentSha1: "x-content-sha1",
} as const;

export const PATH = {
  local: "/local/",
  localBlob: (key: Key) => `/local/${key}/`,
  batch: "/local/batch/",
  fetch: "/local/fetch/",
  has: "/local/has/",
  vouch: "/local/vouch/",
  digests: "/local/digests/",
  keys: "/local/keys/",
  heartbeat: "/heartbeat/",
  forget: "/forget/",
} as const;

/**
 * The value that our nodes send in place of the secret, so that one captured between two of them does not open
 * a Go node, and so that the secret itself is never on the wire.
 */
export function deriveNodeSecret(secret: string): string {
  return Buffer.from(hkdfSync("sha256", secret, "", "cask node requests v1", 32)).toString("hex");
}

/** Body of `POST /heartbeat/`, in the names that Go Cask uses, and ours. Also its answer. */
export interface Announcement {
  readonly uuid: string;
  readonly base_url: string;
  readonly writeable: boolean;
  readonly version: string;
  readonly store: string;
  /** Random, new at each start of the process. */
  readonly start_nonce: string;
  readonly started_ms: number;
  /** Has it met a member, or has it none to meet? */
  readonly joined: boolean;
  /** Its data folder is new under a known UUID: that it lacks a blob says nothing. */
  readonly incomplete: boolean;
  /** It is being emptied, to be switched off: its copies don't count any more. */
  readonly draining: boolean;
  /** An upload that it acknowledged has at least so many copies. */
  readonly replication: number;
  readonly max_replication: number;
  readonly points: number;
  readonly free_bytes: number | null;
  readonly neighbors: readonly Neighbor[];
  /** `host:port` of its gossip; "" where it has none, or does not say (a Go node). */
  readonly gossip_address: string;
  /** In an answer: the store under which the one who asked was known before, if any. */
  readonly known_store?: string;
}

export interface Neighbor {
  readonly uuid: string;
  readonly base_url: string;
  /** Copies that an upload which it acknowledged has at least. A Go node does not say: 1. */
  readonly replication: number;
}

/** Points on the ring of a node that does not say: what Go Cask has. */
export const GO_POINTS = 16;
/** And the copies that it promises: it tries 3, and acknowledges an upload when one was made. */
export const GO_REPLICATION = 1;

/** A Go node says nothing of its version and has no start nonce. */
export function isGoNode({ version, start_nonce }: Announcement): boolean {
  return version === "unknown" && start_nonce === "";
}

type Json = Record<string, unknown>;

export function parseJsonObject(text: string): Json {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new CaskError("BAD_REQUEST", "the body is not JSON", error);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new CaskError("BAD_REQUEST", "the body is not a JSON object");
  }
  return value as Json;
}

export function parseAnnouncement(json: Json): Announcement {
  const known = json["known_store"];
  return {
    uuid: parseNodeId(json["uuid"]),
    base_url: parseBaseUrl(json["base_url"]),
    writeable: json["writeable"] === true,
    version: text(json, "version", 64, "unknown"),
    store: text(json, "store", 64, ""),
    start_nonce: text(json, "start_nonce", 64, ""),
    started_ms: count(json, "started_ms", 0, Number.MAX_SAFE_INTEGER),
    joined: json["joined"] !== false,
    incomplete: json["incomplete"] === true,
    draining: json["draining"] === true,
    replication: count(json, "replication", GO_REPLICATION, 1_000, 1),
    max_replication: count(json, "max_replication", 4, 1_000, 1),
    points: count(json, "points", GO_POINTS, 4_096, 1),
    free_bytes: isAmount(json["free_bytes"]) ? json["free_bytes"] : null,
    neighbors: parseNeighbors(json["neighbors"]),
    gossip_address: text(json, "gossip_address", 300, ""),
    ...(typeof known === "string" ? { known_store: known.slice(0, 64) } : {}),
  };
}

function parseNeighbors(value: unknown): Neighbor[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value) || value.length > MEMBERS_MAX_COUNT) {
    throw new CaskError("BAD_REQUEST", `neighbors: expected a list of at most ${MEMBERS_MAX_COUNT}`);
  }
  return value.map((entry: unknown) => {
    const neighbor = (typeof entry === "object" && entry !== null ? entry : {}) as Json;
    return {
      uuid: parseNodeId(neighbor["uuid"]),
      base_url: parseBaseUrl(neighbor["base_url"]),
      replication: count(neighbor, "replication", GO_REPLICATION, 1_000, 1),
    };
  });
}

/** Throws BAD_REQUEST for anything but 1 to 64 letters, digits, dots, dashes or underscores. */
export function parseNodeId(value: unknown): string {
  if (typeof value !== "string" || !/^[A-Za-z0-9._-]{1,64}$/.test(value)) {
    throw new CaskError("BAD_REQUEST", "uuid: expected 1 to 64 letters, digits, dots, dashes or underscores");
  }
  return value;
}

/** Throws BAD_REQUEST for anything but an absolute http or https URL without query; takes the slash off its end. */
export function parseBaseUrl(value: unknown): string {
  const url = typeof value === "string" && value.length <= 256 ? URL.parse(value) : null;
  if (!url || !/^https?:$/.test(url.protocol) || url.search || url.hash || url.username || url.password) {
    throw new CaskError("BAD_REQUEST", "base_url: expected http://host:port or https://host:port");
  }
  return url.origin + url.pathname.replace(/\/+$/, ""); // not href: it keeps an empty query or fragment
}

function text(json: Json, name: string, maxChars: number, fallback: string): string {
  const value = json[name];
  if (value === undefined) return fallback;
  if (typeof value !== "string" || value.length > maxChars) {
    throw new CaskError("BAD_REQUEST", `${name}: expected text of at most ${maxChars} characters`);
  }
  return value;
}

function count(json: Json, name: string, fallback: number, max: number, min = 0): number {
  const value = json[name];
  if (value === undefined) return fallback;
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < min || value > max) {
    throw new CaskError("BAD_REQUEST", `${name}: expected a whole number from ${min} to ${max}`);
  }
  return value;
}

/** A number of bytes or milliseconds. JSON can spell numbers below zero and (1e999) infinity. */
function isAmount(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value) && value >= 0;
}

/** Body of `POST /local/has/`: `{"keys": [...]}`. The answer: `{"holdings": [...]}` in the same order. */
export function parseHasRequest(json: Json): Key[] {
  const keys = json["keys"];
  if (
    !Array.isArray(keys) ||
    keys.length > HAS_KEYS_MAX_COUNT ||
    !keys.every((key) => typeof key === "string" && isKey(key))
  ) {
    throw new CaskError("BAD_REQUEST", `keys: expected a list of at most ${HAS_KEYS_MAX_COUNT} keys`);
  }
  return keys as Key[];
}

export function parseHoldings(json: Json, expected: number): Holding[] {
  const holdings = json["holdings"];
  if (!Array.isArray(holdings) || holdings.length !== expected) {
    throw new CaskError(
      "PEER_FAILED",
      `answered ${Array.isArray(holdings) ? holdings.length : "no"} holdings for ${expected} keys`,
    );
  }
  return holdings.map(parseHolding);
}

function shortText(value: unknown): string {
  return typeof value === "string" ? value.slice(0, 64) : "";
}

function parseHolding(value: unknown): Holding {
  const holding = (typeof value === "object" && value !== null ? value : {}) as Json;
  const store = shortText(holding["store"]);
  if (holding["state"] === "absent") {
    const members = shortText(holding["members"]);
    return { state: "absent", ...(store === "" ? {} : { store }), ...(members === "" ? {} : { members }) };
  }
  const size = holding["sizeBytes"];
  if (holding["state"] === "present" && isAmount(size)) {
    const at = holding["verifiedAtMs"];
    return {
      state: "present",
      sizeBytes: size,
      verifiedAtMs: isAmount(at) ? at : null,
      store,
    };
  }
  const reason = holding["reason"];
  return {
    state: "unknown",
    reason: typeof reason === "string" ? reason.slice(0, 300) : "answer not understood",
    ...(holding["lacking"] === true ? { lacking: true } : {}),
    ...(holding["wasStored"] === true ? { wasStored: true } : {}),
  };
}
