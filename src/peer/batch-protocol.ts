import { CaskError, type ErrorCode } from "../core/errors.ts";
import type { Key } from "../core/key.ts";
import { KEY_BYTES, readKey, writeKey } from "../core/key-bytes.ts";
import { BATCH_MAX_BYTES, BATCH_MAX_COUNT, BATCHED_BLOB_MAX_BYTES } from "../core/limits.ts";
import type { PutReceipt } from "./peer.ts";

/** A small blob on its way to another node, with others. */
export interface BatchItem {
  readonly key: Key;
  readonly bytes: Uint8Array;
}

/** What became of one of them. */
export type BatchOutcome = PutReceipt | { readonly error: { readonly code: string; readonly message: string } };

const HEAD_BYTES = KEY_BYTES + 4;

/** `POST /local/batch/`: for each blob the 20 bytes of its key, its size (4 bytes, little-endian), and its bytes. */
export function encodeBatch(items: readonly BatchItem[]): Buffer {
  const size = items.reduce((sum, { bytes }) => sum + HEAD_BYTES + bytes.length, 0);
  const body = Buffer.allocUnsafe(size);
  let at = 0;
  for (const { key, bytes } of items) {
    writeKey(key, body.subarray(at, at + KEY_BYTES));
    body.writeUInt32LE(bytes.length, at + KEY_BYTES);
    body.set(bytes, at + HEAD_BYTES);
    at += HEAD_BYTES + bytes.length;
  }
  return body;
}

/** Its items are parts of the body. Throws BAD_REQUEST. */
export function decodeBatch(body: Buffer): BatchItem[] {
  const items: BatchItem[] = [];
  for (let at = 0; at < body.length; ) {
    if (items.length === BATCH_MAX_COUNT) throw malformed(`more than ${BATCH_MAX_COUNT} blobs`);
    if (at + HEAD_BYTES > body.length) throw malformed("it ends in the head of a blob");
    const size = body.readUInt32LE(at + KEY_BYTES);
    const begin = at + HEAD_BYTES;
    if (begin + size > body.length) throw malformed("it ends in the bytes of a blob");
    items.push({ key: readKey(body.subarray(at, at + KEY_BYTES)), bytes: body.subarray(begin, begin + size) });
    at = begin + size;
  }
  if (items.length === 0) throw malformed("it is empty");
  return items;
}

export const BATCH_BODY_MAX_BYTES = BATCH_MAX_BYTES + BATCH_MAX_COUNT * HEAD_BYTES;

export const ASKED_MAX_BYTES = BATCH_MAX_COUNT * KEY_BYTES;
export const COPIES_MAX_BYTES = BATCH_MAX_COUNT * (4 + BATCHED_BLOB_MAX_BYTES);
/** In the place of a size: nothing is said of this blob, and it is to be asked for by itself. */
const ASK_ALONE = 0xffff_ffff;

/** `POST /local/fetch/`: the 20 bytes of each key. */
export function encodeAsked(keys: readonly Key[]): Buffer {
  const body = Buffer.allocUnsafe(keys.length * KEY_BYTES);
  for (const [i, key] of keys.entries()) writeKey(key, body.subarray(i * KEY_BYTES, (i + 1) * KEY_BYTES));
  return body;
}

/** Throws BAD_REQUEST. */
export function decodeAsked(body: Buffer): Key[] {
  if (body.length === 0) throw malformed("it is empty");
  if (body.length % KEY_BYTES !== 0) throw malformed("it ends in a key");
  const count = body.length / KEY_BYTES;
  if (count > BATCH_MAX_COUNT) throw malformed(`more than ${BATCH_MAX_COUNT} keys`);
  return Array.from({ length: count }, (_, i) => readKey(body.subarray(i * KEY_BYTES, (i + 1) * KEY_BYTES)));
}

/** Its answer: for each key, in their order, the size of the blob (4 bytes, little-endian) and its bytes. Null: to be asked for by itself. */
export function encodeCopies(copies: ReadonlyArray<Uint8Array | null>): Buffer {
  const size = copies.reduce((sum, bytes) => sum + 4 + (bytes?.length ?? 0), 0);
  const body = Buffer.allocUnsafe(size);
  let at = 0;
  for (const bytes of copies) {
    at = body.writeUInt32LE(bytes ? bytes.length : ASK_ALONE, at);
    if (!bytes) continue;
    body.set(bytes, at);
    at += bytes.length;
  }
  return body;
}

/** Parts of the body, unverified. Throws PEER_FAILED. */
export function decodeCopies(body: Buffer, expected: number): Array<Buffer | null> {
  const copies: Array<Buffer | null> = [];
  let at = 0;
  while (copies.length < expected && at + 4 <= body.length) {
    const size = body.readUInt32LE(at);
    at += 4;
    if (size !== ASK_ALONE && at + size > body.length) break;
    copies.push(size === ASK_ALONE ? null : body.subarray(at, at + size));
    if (size !== ASK_ALONE) at += size;
  }
  if (copies.length === expected && at === body.length) return copies;
  throw new CaskError("PEER_FAILED", `sent other copies than the ${expected} that it was asked for`);
}

export function outcomesJson(outcomes: readonly BatchOutcome[]) {
  return { copies: outcomes };
}

/** One for each blob, in their order. Throws PEER_FAILED. */
export function parseOutcomes(json: Record<string, unknown>, expected: number): BatchOutcome[] {
  const { copies } = json;
  if (!Array.isArray(copies) || copies.length !== expected)
    throw new CaskError("PEER_FAILED", `did not say of each of ${expected} blobs what became of it`);
  return copies.map(parseOutcome);
}

function parseOutcome(value: unknown): BatchOutcome {
  const { store, outcome, error } = (typeof value === "object" && value !== null ? value : {}) as Record<
    string,
    unknown
  >;
  if (typeof store === "string" && (outcome === "stored" || outcome === "known" || outcome === "replaced"))
    return { store: store.slice(0, 64), outcome };
  const { code, message } = (typeof error === "object" && error !== null ? error : {}) as Record<string, unknown>;
  return { error: { code: String(code ?? ""), message: String(message ?? "answer not understood").slice(0, 300) } };
}

export function errorOutcome(code: ErrorCode, message: string): BatchOutcome {
  return { error: { code, message } };
}

function malformed(what: string): CaskError {
  return new CaskError("BAD_REQUEST", `the batch is malformed: ${what}`);
}
