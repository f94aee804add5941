import { CaskError } from "../core/errors.ts";
import { isKey, type Key } from "../core/key.ts";
import type { KeyDigest, KeyRange } from "../core/key-range.ts";
import { DIGEST_RANGES_MAX_COUNT, KEYS_PAGE_MAX_COUNT, VOUCH_KEYS_MAX_COUNT } from "../core/limits.ts";
import type { KeysPage, Vouch, VouchRequest } from "./peer.ts";

/** JSON shapes of the requests that repair makes between nodes: used by both ends. What comes in is checked, and bounded. */

type Json = Record<string, unknown>;

/** `POST /local/vouch/`: `{"nonce","replication","max_replication","ring","keys":[...]}`. */
export function vouchJson(request: VouchRequest): Json {
  const { nonce, replication, maxReplication, ring, keys } = request;
  return { nonce, replication, max_replication: maxReplication, ring, keys };
}

export function parseVouchRequest(json: Json): VouchRequest {
  const { nonce, ring, replication, max_replication } = json;
  if (!isShortText(nonce) || nonce === "" || !isShortText(ring) || !isCount(replication) || !isCount(max_replication)) {
    throw new CaskError("BAD_REQUEST", "vouch: expected nonce, replication, max_replication, ring and keys");
  }
  return { nonce, ring, replication, maxReplication: max_replication, keys: parseKeys(json, VOUCH_KEYS_MAX_COUNT) };
}

/** The answer: `{"nonce","vouches":[{"vouched":true,"store"} | {"vouched":false,"reason"}]}` in the order of the keys. */
export function vouchesJson(nonce: string, vouches: readonly Vouch[]): Json {
  return { nonce, vouches };
}

/** Anything that is not clearly a vouch is none. */
export function parseVouches(json: Json, { nonce, keys }: VouchRequest): Vouch[] {
  const vouches = json["vouches"];
  if (json["nonce"] !== nonce) throw notUnderstood("vouches for another request");
  if (!Array.isArray(vouches) || vouches.length !== keys.length) throw notUnderstood("another number of vouches");
  return vouches.map((value: unknown): Vouch => {
    const { vouched, store, reason } = fieldsOf(value);
    if (vouched === true && isShortText(store) && store !== "") return { vouched, store };
    return { vouched: false, reason: typeof reason === "string" ? reason.slice(0, 300) : "answer not understood" };
  });
}

/** `POST /local/digests/`: `{"ranges":[[from, to|null], ...]}`. */
export function rangesJson(ranges: readonly KeyRange[]): Json {
  return { ranges: ranges.map(({ from, to }) => [from, to ?? null]) };
}

export function parseRanges(json: Json): KeyRange[] {
  const ranges = json["ranges"];
  if (!Array.isArray(ranges) || ranges.length > DIGEST_RANGES_MAX_COUNT) {
    throw new CaskError("BAD_REQUEST", `ranges: expected a list of at most ${DIGEST_RANGES_MAX_COUNT}`);
  }
  return ranges.map(parseRange);
}

function parseRange(value: unknown): KeyRange {
  const [from, to] = Array.isArray(value) ? (value as unknown[]) : [];
  if (typeof from === "string" && isKey(from)) {
    if (to === null || to === undefined) return { from, to: undefined };
    if (typeof to === "string" && isKey(to) && to > from) return { from, to };
  }
  throw new CaskError("BAD_REQUEST", "range: expected [key, later key or null]");
}

/** The answer: `{"digests":[[count, sum], ...]}` in the order of the ranges. */
export function digestsJson(digests: readonly KeyDigest[]): Json {
  return { digests: digests.map(({ count, sum }) => [count, sum]) };
}

export function parseDigests(json: Json, expected: number): KeyDigest[] {
  const digests = json["digests"];
  if (!Array.isArray(digests) || digests.length !== expected) throw notUnderstood("another number of digests");
  return digests.map((value: unknown) => {
    const [count, sum] = Array.isArray(value) ? (value as unknown[]) : [];
    if (!isCount(count) || !isShortText(sum)) throw notUnderstood("no digest");
    return { count, sum };
  });
}

/** `POST /local/keys/`: `{"range":[from, to|null]}`; the answer: `{"keys":[...],"more":false}`. */
export function parseRangeRequest(json: Json): KeyRange {
  return parseRange(json["range"]);
}

export function rangeJson({ from, to }: KeyRange): Json {
  return { range: [from, to ?? null] };
}

export function parseKeysPage(json: Json, range: KeyRange): KeysPage {
  const keys = keysIn(json, KEYS_PAGE_MAX_COUNT);
  if (!keys) throw notUnderstood("no list of keys");
  const isRight = keys.every(
    (key, i) =>
      key >= range.from && (range.to === undefined || key < range.to) && (i === 0 || key > (keys[i - 1] as Key)),
  );
  if (!isRight || (json["more"] === true && keys.length === 0)) throw notUnderstood("other keys than asked for");
  return { keys, more: json["more"] === true };
}

function parseKeys(json: Json, maxCount: number): Key[] {
  const keys = keysIn(json, maxCount);
  if (keys) return keys;
  throw new CaskError("BAD_REQUEST", `keys: expected a list of at most ${maxCount} keys`);
}

function keysIn(json: Json, maxCount: number): Key[] | null {
  const keys = json["keys"];
  const isList = Array.isArray(keys) && keys.length <= maxCount;
  return isList && keys.every((key) => typeof key === "string" && isKey(key)) ? (keys as Key[]) : null;
}

function isShortText(value: unknown): value is string {
  return typeof value === "string" && value.length <= 64;
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function fieldsOf(value: unknown): Json {
  return typeof value === "object" && value !== null ? (value as Json) : {};
}

function notUnderstood(what: string): CaskError {
  return new CaskError("PEER_FAILED", `the answer is not understood: ${what}`);
}
