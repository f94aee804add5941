import { type Clock, StallTimer } from "../core/clock.ts";
import { CaskError, type ErrorCode, hasCode, messageOf } from "../core/errors.ts";
import type { Key } from "../core/key.ts";
import type { KeyDigest, KeyRange } from "../core/key-range.ts";
import {
  BATCH_OFFER_AGAIN_MS,
  BATCHED_BLOB_MAX_BYTES,
  GETS_ALONE_COUNT,
  GETS_WAITING_MAX_COUNT,
  PEER_ASK_TIMEOUT_MS,
  PEER_STALL_TIMEOUT_MS,
  PEER_SYNC_LEAST_BYTES_PER_MS,
  PUTS_ALONE_COUNT,
  SMALL_BODY_MAX_BYTES,
  VOUCH_LEAST_BYTES_PER_MS,
  VOUCH_TIMEOUT_MS,
} from "../core/limits.ts";
import {
  type BatchItem,
  COPIES_MAX_BYTES,
  decodeCopies,
  encodeAsked,
  encodeBatch,
  parseOutcomes,
} from "../peer/batch-protocol.ts";
import { sourceOfBytes } from "../peer/bytes-source.ts";
import type {
  BlobBody,
  BlobSource,
  ByteRange,
  Holding,
  KeysPage,
  PutReceipt,
  RemotePeer,
  Vouch,
  VouchRequest,
} from "../peer/peer.ts";
import { HEADER, PATH, parseHoldings, parseJsonObject } from "../peer/protocol.ts";
import {
  parseDigests,
  parseKeysPage,
  parseVouches,
  rangeJson,
  rangesJson,
  vouchJson,
} from "../peer/repair-protocol.ts";
import { Batches } from "./batches.ts";
import {
  type Answer,
  destroyQuietly,
  header,
  PeerConnection,
  type PeerRequest,
  progressing,
  wholeNumber,
} from "./peer-connection.ts";
import type { WholeAnswer } from "./whole-answer.ts";

export interface HttpPeerOptions {
  readonly uuid: string;
  readonly baseUrl: string;
  /** Sent with each request: derived from the cluster secret. */
  readonly nodeSecret: string;
  /** Certificates (PEM) of authorities to trust besides the system's. */
  readonly authorities: readonly string[] | undefined;
  readonly clock: Clock;
}

/** Another node, over HTTP. Each request names the UUID that is meant; a node with another one answers WRONG_NODE. */
export class HttpPeer implements RemotePeer {
  readonly uuid: string;
  readonly isGo = false;
  readonly baseUrl: string;
  private readonly connection: PeerConnection;
  private readonly clock: Clock;
  private readonly puts = new Batches<BatchItem, PutReceipt>({
    send: (items) => this.sendPuts(items),
    bytesOf: ({ bytes }) => bytes.length,
    fewCount: PUTS_ALONE_COUNT,
  });
  private readonly gets = new Batches<Key, Buffer | null>({
    send: (keys) => this.sendGets(keys),
    bytesOf: () => 0, // their number is the bound
    fewCount: 0, // those that go alone do so before they come here
  });
  private getsAlone = 0;
  /** From when on batches of each kind are offered (again). */
  private readonly offeredFromMs: Record<string, number> = { [PATH.batch]: 0, [PATH.fetch]: 0 };

  constructor({ uuid, baseUrl, nodeSecret, authorities, clock }: HttpPeerOptions) {
    this.uuid = uuid;
    this.baseUrl = baseUrl;
    this.clock = clock;
    const headers = { accept: "application/json", [HEADER.secret]: nodeSecret, [HEADER.node]: uuid };
    this.connection = new PeerConnection({ baseUrl, headers, authorities, clock });
  }

  put(key: Key, source: BlobSource, signal?: AbortSignal): Promise<PutReceipt> {
    const bytes = source.sizeBytes <= BATCHED_BLOB_MAX_BYTES ? source.inMemory?.() : undefined;
    if (!bytes || !this.offers(PATH.batch)) return this.putAlone(key, source, signal);
    return this.putTogether(key, bytes, signal);
  }

  /** Behind a node that has stopped answering nobody waits longer for his turn than for an answer. */
  private async putTogether(key: Key, bytes: Uint8Array, signal?: AbortSignal): Promise<PutReceipt> {
    const late = () =>
      new CaskError("PEER_SLOW", `${this.baseUrl} made no progress for ${PEER_STALL_TIMEOUT_MS} ms (PUT ${key})`);
    const deadline = new StallTimer(this.clock, PEER_STALL_TIMEOUT_MS, late, signal);
    try {
      return await this.puts.add({ key, bytes }, deadline.signal);
    } finally {
      deadline.stop();
    }
  }

  private offers(path: string): boolean {
    return this.clock.nowMs() >= (this.offeredFromMs[path] as number);
  }

  private putAlone(key: Key, source: BlobSource, signal?: AbortSignal): Promise<PutReceipt> {
    return this.connection.run(`PUT ${key}`, { stallMs: PEER_STALL_TIMEOUT_MS, signal }, async (stall) => {
      const headers = { "content-length": String(source.sizeBytes), "content-type": "application/octet" };
      const body = source.inMemory?.() ?? progressing(source.read(), source.sizeBytes, stall);
      const answer = await this.ask({ method: "PUT", path: PATH.localBlob(key), headers, body }, stall);
      if (answer.statusCode !== 200 && answer.statusCode !== 201) throw this.errorIn(answer);
      const outcome = header(answer, HEADER.outcome);
      return {
        store: header(answer, HEADER.store),
        outcome: outcome === "known" || outcome === "replaced" ? outcome : "stored",
      };
    });
  }

  async get(key: Key, range?: ByteRange, signal?: AbortSignal): Promise<BlobBody | null> {
    this.getsAlone++;
    try {
      return await this.open(key, range, signal);
    } finally {
      this.getsAlone--;
    }
  }

  getTogether(key: Key): Promise<Buffer | null> | null {
    const { gets } = this;
    const isCrowded = gets.isBusy || this.getsAlone >= GETS_ALONE_COUNT; // a few are fastest by themselves
    if (!isCrowded || gets.waitingCount >= GETS_WAITING_MAX_COUNT || !this.offers(PATH.fetch)) return null;
    return gets.add(key).catch(() => null);
  }

  private open(key: Key, range: ByteRange | undefined, signal: AbortSignal | undefined): Promise<BlobBody | null> {
    return this.connection.open(`GET ${key}`, signal, async (place) => {
      const headers: Record<string, string> = range ? { range: `bytes=${range.start}-${range.end}` } : {};
      const answer = await this.request({ method: "GET", path: PATH.localBlob(key), headers }, place.stall);
      if (answer.statusCode === (range ? 206 : 200)) {
        return this.connection.bodyOf(answer, this.sizeIn(answer, range), place);
      }
      const text = await this.connection.readSmall(answer, place.stall);
      if (answer.statusCode === 404) return null;
      throw this.errorOf(answer.statusCode, text);
    });
  }

  private async sendPuts(items: readonly BatchItem[]): Promise<ReadonlyArray<PutReceipt | CaskError>> {
    const [first] = items as [BatchItem];
    if (items.length === 1) return [await this.putAlone(first.key, sourceOfBytes(first.bytes))];
    const body = encodeBatch(items);
    const stallMs = PEER_STALL_TIMEOUT_MS + body.length / PEER_SYNC_LEAST_BYTES_PER_MS;
    const answer = await this.postBatch(PATH.batch, { body, stallMs, maxBytes: SMALL_BODY_MAX_BYTES });
    if (answer) {
      const outcomes = parseOutcomes(this.jsonOf(PATH.batch, answer.toString("utf8")), items.length);
      return outcomes.map((outcome) => ("error" in outcome ? this.refusal(outcome.error) : outcome));
    }
    return Promise.all(items.map(({ key, bytes }) => this.putAlone(key, sourceOfBytes(bytes)).catch(asReceipt)));
  }

  private async sendGets(keys: readonly Key[]): Promise<ReadonlyArray<Buffer | null>> {
    const body = encodeAsked(keys);
    const how = { body, stallMs: PEER_STALL_TIMEOUT_MS, maxBytes: COPIES_MAX_BYTES };
    const answer = await this.postBatch(PATH.fetch, how);
    if (!answer) return keys.map(() => null);
    try {
      return decodeCopies(answer, keys.length);
    } catch (error) {
      throw new CaskError("PEER_FAILED", `${this.baseUrl} ${messageOf(error)}`, error);
    }
  }

  /** Null: an older version, that knows no such batches. What would go in them goes by itself then, for a while. */
  private postBatch(
    path: string,
    { body, stallMs, maxBytes }: { body: Buffer; stallMs: number; maxBytes: number },
  ): Promise<Buffer | null> {
    return this.connection.run(path, { stallMs, signal: undefined }, async (stall) => {
      const headers = { "content-type": "application/octet-stream", "content-length": String(body.length) };
      const answer = await this.ask({ method: "POST", path, headers, body }, stall, maxBytes);
      if (answer.statusCode === 200) return answer.body;
      if (answer.statusCode !== 404 && answer.statusCode !== 405) throw this.errorIn(answer);
      this.offeredFromMs[path] = this.clock.nowMs() + BATCH_OFFER_AGAIN_MS;
      return null;
    });
  }

  has(keys: readonly Key[], signal?: AbortSignal): Promise<Holding[]> {
    return this.connection.run("existence", { stallMs: PEER_ASK_TIMEOUT_MS, signal }, async (stall) =>
      parseHoldings(await this.postJson(PATH.has, { keys }, stall), keys.length),
    );
  }

  vouch(request: VouchRequest, sizeBytes: number, signal?: AbortSignal): Promise<Vouch[]> {
    const stallMs = VOUCH_TIMEOUT_MS + sizeBytes / VOUCH_LEAST_BYTES_PER_MS;
    return this.connection.run("vouches", { stallMs, signal }, async (stall) =>
      parseVouches(await this.postJson(PATH.vouch, vouchJson(request), stall), request),
    );
  }

  digests(ranges: readonly KeyRange[], signal?: AbortSignal): Promise<KeyDigest[]> {
    return this.connection.run("digests", { stallMs: PEER_STALL_TIMEOUT_MS, signal }, async (stall) =>
      parseDigests(await this.postJson(PATH.digests, rangesJson(ranges), stall), ranges.length),
    );
  }

  keysIn(range: KeyRange, signal?: AbortSignal): Promise<KeysPage> {
    return this.connection.run("keys", { stallMs: PEER_STALL_TIMEOUT_MS, signal }, async (stall) =>
      parseKeysPage(await this.postJson(PATH.keys, rangeJson(range), stall), range),
    );
  }

  close(): Promise<void> {
    return this.connection.close();
  }

  private async postJson(path: string, value: unknown, stall: StallTimer): Promise<Record<string, unknown>> {
    const headers = { "content-type": "application/json" };
    const answer = await this.ask({ method: "POST", path, headers, body: JSON.stringify(value) }, stall);
    if (answer.statusCode !== 200) throw this.errorIn(answer);
    return this.jsonOf(path, answer.body.toString("utf8"));
  }

  private jsonOf(path: string, text: string): Record<string, unknown> {
    try {
      return parseJsonObject(text);
    } catch (error) {
      throw new CaskError("PEER_FAILED", `${this.baseUrl}${path} did not answer in JSON`, error);
    }
  }

  private async ask(asked: PeerRequest, stall: StallTimer, maxBytes?: number): Promise<WholeAnswer> {
    const answer = await this.connection.ask(asked, stall, maxBytes);
    this.mustBeIt(answer);
    return answer;
  }

  private async request(asked: PeerRequest, stall: StallTimer): Promise<Answer> {
    const answer = await this.connection.request(asked, stall);
    try {
      this.mustBeIt(answer);
    } catch (wrong) {
      destroyQuietly(answer);
      throw wrong;
    }
    return answer;
  }

  private mustBeIt(answer: Answer | WholeAnswer): void {
    const answering = header(answer, HEADER.node);
    if (answering === "" || answering === this.uuid) return;
    throw new CaskError("WRONG_NODE", `${this.baseUrl} is node ${answering}, not ${this.uuid}`);
  }

  /** Of the whole blob, as the answer tells it. */
  private sizeIn(answer: Answer, range: ByteRange | undefined): number {
    const length = wholeNumber(header(answer, "content-length"));
    const total = range ? totalOf(range, header(answer, "content-range")) : length;
    if (length !== null && total !== null && (!range || length === range.end - range.start + 1)) return total;
    destroyQuietly(answer);
    throw new CaskError("PEER_FAILED", `${this.baseUrl} answered without a length, or with another range`);
  }

  /** A refusal keeps its code where it says something about the blob or the node; all else is the peer's failure. */
  private errorOf(statusCode: number, body: string): CaskError {
    const { code, message } = errorInBody(body);
    return this.refusal({ code, message: `${statusCode}: ${message}` });
  }

  private errorIn({ statusCode, body }: WholeAnswer): CaskError {
    return this.errorOf(statusCode, body.toString("utf8"));
  }

  private refusal({ code, message }: { code: string; message: string }): CaskError {
    const passed: ErrorCode[] = ["KEY_MISMATCH", "KEY_COLLISION", "READ_ONLY", "NO_SPACE", "WRONG_NODE", "FORBIDDEN"];
    const known = passed.find((candidate) => candidate === code);
    return new CaskError(known ?? "PEER_FAILED", `${this.baseUrl} answered ${message}`);
  }
}

function asReceipt(error: unknown): CaskError {
  return error instanceof CaskError ? error : new CaskError("PEER_FAILED", messageOf(error), error);
}

/** Size of the blob that a `Content-Range` tells; null when it is not about this range. */
function totalOf({ start, end }: ByteRange, contentRange: string): number | null {
  const [range, total] = contentRange.split("/");
  return range === `bytes ${start}-${end}` ? wholeNumber(total) : null;
}

function errorInBody(body: string): { code: string; message: string } {
  try {
    const error = parseJsonObject(body)["error"] as { code?: unknown; message?: unknown } | undefined;
    return { code: String(error?.code ?? ""), message: String(error?.message ?? "no reason given").slice(0, 300) };
  } catch (notJson) {
    if (!hasCode(notJson, "BAD_REQUEST")) throw notJson;
    return { code: "", message: body.trim().slice(0, 300) || "no reason given" };
  }
}
