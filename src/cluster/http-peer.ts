import { type Dispatcher, Pool } from "undici";
import { type Clock, StallTimer } from "../core/clock.ts";
import { CaskError, type ErrorCode, hasCode, messageOf } from "../core/errors.ts";
import { Gate } from "../core/gate.ts";
import type { Key } from "../core/key.ts";
import type { KeyDigest, KeyRange } from "../core/key-range.ts";
import {
  PEER_ASK_TIMEOUT_MS,
  PEER_CONNECT_TIMEOUT_MS,
  PEER_CONNECTIONS_MAX_COUNT,
  PEER_QUEUE_MAX_COUNT,
  PEER_STALL_TIMEOUT_MS,
  PEER_SYNC_LEAST_BYTES_PER_MS,
  SMALL_BODY_MAX_BYTES,
  VOUCH_LEAST_BYTES_PER_MS,
  VOUCH_TIMEOUT_MS,
} from "../core/limits.ts";
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

export interface HttpPeerOptions {
  readonly uuid: string;
  readonly baseUrl: string;
  /** Sent with each request: derived from the cluster secret. */
  readonly nodeSecret: string;
  /** Certificates (PEM) of authorities to trust besides the system's. */
  readonly authorities: readonly string[] | undefined;
  readonly clock: Clock;
}

type Answer = Dispatcher.ResponseData;

interface Reading {
  readonly range: ByteRange | undefined;
  readonly stall: StallTimer;
  readonly leave: () => void;
}

/** Another node, over HTTP. Each request names the UUID that is meant; a node with another one answers WRONG_NODE. */
export class HttpPeer implements RemotePeer {
  readonly uuid: string;
  readonly isGo = false;
  readonly baseUrl: string;
  private readonly options: HttpPeerOptions;
  private readonly pool: Pool;
  private readonly prefix: string;
  private readonly gate: Gate;

  constructor(options: HttpPeerOptions) {
    this.options = options;
    this.uuid = options.uuid;
    this.baseUrl = options.baseUrl;
    const url = new URL(options.baseUrl);
    this.prefix = url.pathname.replace(/\/+$/, "");
    this.gate = new Gate(`requests to ${options.baseUrl}`, PEER_CONNECTIONS_MAX_COUNT, PEER_QUEUE_MAX_COUNT);
    this.pool = new Pool(url.origin, {
      connections: PEER_CONNECTIONS_MAX_COUNT,
      connect: { timeout: PEER_CONNECT_TIMEOUT_MS, ...(options.authorities ? { ca: [...options.authorities] } : {}) },
      // Deadlines are ours (StallTimer): they count progress of the body in both directions.
      headersTimeout: 0,
      bodyTimeout: 0,
      keepAliveTimeout: 30_000,
    });
  }

  put(key: Key, source: BlobSource, signal?: AbortSignal): Promise<PutReceipt> {
    return this.guarded(`PUT ${key}`, signal, PEER_STALL_TIMEOUT_MS, async (stall) => {
      const answer = await this.request("PUT", PATH.localBlob(key), stall, {
        headers: { "content-length": String(source.sizeBytes), "content-type": "application/octet" },
        body: progressing(source, stall),
      });
      const body = await this.readSmall(answer, stall);
      if (answer.statusCode !== 200 && answer.statusCode !== 201) throw this.errorOf(answer, body);
      const outcome = header(answer, HEADER.outcome);
      return {
        store: header(answer, HEADER.store),
        outcome: outcome === "known" || outcome === "replaced" ? outcome : "stored",
      };
    });
  }

  async get(key: Key, range?: ByteRange, signal?: AbortSignal): Promise<BlobBody | null> {
    await this.gate.enter(signal);
    const stall = this.stallTimer(`GET ${key}`, PEER_STALL_TIMEOUT_MS, signal);
    const leave = once(() => {
      stall.stop();
      this.gate.leave();
    });
    try {
      const headers: Record<string, string> = range ? { range: `bytes=${range.start}-${range.end}` } : {};
      const answer = await this.request("GET", PATH.localBlob(key), stall, { headers });
      if (answer.statusCode === (range ? 206 : 200)) return this.bodyOf(answer, { range, stall, leave });
      const body = await this.readSmall(answer, stall);
      leave();
      if (answer.statusCode === 404) return null;
      throw this.errorOf(answer, body);
    } catch (error) {
      leave();
      throw this.failure(`GET ${key}`, error, stall.signal);
    }
  }

  has(keys: readonly Key[], signal?: AbortSignal): Promise<Holding[]> {
    return this.guarded("existence", signal, PEER_ASK_TIMEOUT_MS, async (stall) => {
      const json = await this.postJson(PATH.has, { keys }, stall);
      return parseHoldings(json, keys.length);
    });
  }

  vouch(request: VouchRequest, sizeBytes: number, signal?: AbortSignal): Promise<Vouch[]> {
    const allowedMs = VOUCH_TIMEOUT_MS + sizeBytes / VOUCH_LEAST_BYTES_PER_MS;
    return this.guarded("vouches", signal, allowedMs, async (stall) =>
      parseVouches(await this.postJson(PATH.vouch, vouchJson(request), stall), request),
    );
  }

  digests(ranges: readonly KeyRange[], signal?: AbortSignal): Promise<KeyDigest[]> {
    return this.guarded("digests", signal, PEER_STALL_TIMEOUT_MS, async (stall) =>
      parseDigests(await this.postJson(PATH.digests, rangesJson(ranges), stall), ranges.length),
    );
  }

  keysIn(range: KeyRange, signal?: AbortSignal): Promise<KeysPage> {
    return this.guarded("keys", signal, PEER_STALL_TIMEOUT_MS, async (stall) =>
      parseKeysPage(await this.postJson(PATH.keys, rangeJson(range), stall), range),
    );
  }

  async close(): Promise<void> {
    await this.pool.destroy();
  }

  private async postJson(path: string, value: unknown, stall: StallTimer): Promise<Record<string, unknown>> {
    const answer = await this.request("POST", path, stall, {
      headers: { "content-type": "application/json" },
      body: JSON.stringify(value),
    });
    const body = await this.readSmall(answer, stall);
    if (answer.statusCode !== 200) throw this.errorOf(answer, body);
    try {
      return parseJsonObject(body);
    } catch (error) {
      throw new CaskError("PEER_FAILED", `${this.baseUrl}${path} did not answer in JSON`, error);
    }
  }

  private async request(
    method: "GET" | "PUT" | "POST",
    path: string,
    stall: StallTimer,
    rest: { headers: Record<string, string>; body?: AsyncIterable<Uint8Array> | string },
  ): Promise<Answer> {
    const answer = await this.pool.request({
      method,
      path: this.prefix + path,
      headers: {
        accept: "application/json",
        ...rest.headers,
        [HEADER.secret]: this.options.nodeSecret,
        [HEADER.node]: this.uuid,
      },
      body: rest.body === undefined ? null : (rest.body as never), // undici's types lack AsyncIterable, its code takes it
      signal: stall.signal,
    });
    stall.progress();
    const answering = header(answer, HEADER.node);
    if (answering !== "" && answering !== this.uuid) {
      destroyQuietly(answer);
      throw new CaskError("WRONG_NODE", `${this.baseUrl} is node ${answering}, not ${this.uuid}`);
    }
    return answer;
  }

  private bodyOf(answer: Answer, { range, stall, leave }: Reading): BlobBody {
    const length = wholeNumber(header(answer, "content-length"));
    const total = range ? totalOf(range, header(answer, "content-range")) : length;
    if (length === null || total === null || (range && length !== range.end - range.start + 1)) {
      destroyQuietly(answer);
      throw new CaskError("PEER_FAILED", `${this.baseUrl} answered without a length, or with another range`);
    }
    stall.pause(); // until somebody reads
    return {
      sizeBytes: total,
      chunks: this.chunksOf(answer, stall, leave),
      close: () => {
        destroyQuietly(answer);
        leave();
      },
      hashed: async () => undefined,
    };
  }

  /** That as many bytes come as were announced is undici's to see: it rejects otherwise. */
  private async *chunksOf(answer: Answer, stall: StallTimer, leave: () => void): AsyncGenerator<Uint8Array> {
    try {
      stall.progress();
      for await (const chunk of answer.body as AsyncIterable<Uint8Array>) {
        stall.pause(); // a slow reader is not the peer's fault
        yield chunk;
        stall.progress();
      }
    } catch (error) {
      throw this.failure("reading a blob", error, stall.signal);
    } finally {
      destroyQuietly(answer); // no-op at the end of the body
      leave();
    }
  }

  private async readSmall(answer: Answer, stall: StallTimer): Promise<string> {
    const parts: Uint8Array[] = [];
    let size = 0;
    for await (const chunk of answer.body as AsyncIterable<Uint8Array>) {
      stall.progress();
      size += chunk.length;
      if (size > SMALL_BODY_MAX_BYTES) throw new CaskError("PEER_FAILED", `${this.baseUrl}: answer too long`);
      parts.push(chunk);
    }
    return Buffer.concat(parts).toString("utf8");
  }

  private async guarded<T>(
    what: string,
    signal: AbortSignal | undefined,
    stallMs: number,
    work: (stall: StallTimer) => Promise<T>,
  ): Promise<T> {
    return this.gate.run(async () => {
      const stall = this.stallTimer(what, stallMs, signal);
      try {
        return await work(stall);
      } catch (error) {
        throw this.failure(what, error, stall.signal);
      } finally {
        stall.stop();
      }
    }, signal);
  }

  private stallTimer(what: string, ms: number, signal?: AbortSignal): StallTimer {
    const reason = () => new CaskError("PEER_SLOW", `${this.baseUrl} made no progress for ${ms} ms (${what})`);
    return new StallTimer(this.options.clock, ms, reason, signal);
  }

  /** A refusal keeps its code where it says something about the blob or the node; all else is the peer's failure. */
  private errorOf(answer: Answer, body: string): CaskError {
    const { code, message } = errorInBody(body);
    const passed: ErrorCode[] = ["KEY_MISMATCH", "KEY_COLLISION", "READ_ONLY", "NO_SPACE", "WRONG_NODE", "FORBIDDEN"];
    const known = passed.find((candidate) => candidate === code);
    return new CaskError(known ?? "PEER_FAILED", `${this.baseUrl} answered ${answer.statusCode}: ${message}`);
  }

  private failure(what: string, error: unknown, signal: AbortSignal): unknown {
    if (error instanceof CaskError) return error;
    if (signal.aborted) return hasCode(signal.reason, "PEER_SLOW") ? signal.reason : (signal.reason ?? error);
    const detail = messageOf(error);
    return new CaskError("PEER_FAILED", `${this.baseUrl}: ${what}: ${detail}`, error);
  }
}

async function* progressing(source: BlobSource, stall: StallTimer): AsyncGenerator<Uint8Array> {
  for await (const chunk of source.read()) {
    stall.progress();
    yield chunk;
  }
  // All is on its way: now it must be hashed, written and synced.
  stall.progress(PEER_STALL_TIMEOUT_MS + source.sizeBytes / PEER_SYNC_LEAST_BYTES_PER_MS);
}

/** Given up on purpose: the error that its body then has is no news. */
function destroyQuietly(answer: Answer): void {
  answer.body.on("error", () => undefined).destroy();
}

/** Size of the blob that a `Content-Range` tells; null when it is not about this range. */
function totalOf({ start, end }: ByteRange, contentRange: string): number | null {
  const [range, total] = contentRange.split("/");
  return range === `bytes ${start}-${end}` ? wholeNumber(total) : null;
}

/** Null for anything but digits: a length that is missing must not become 0. */
function wholeNumber(text: string | undefined): number | null {
  const value = Number(text);
  return /^\d+$/.test(text ?? "") && Number.isSafeInteger(value) ? value : null;
}

function header(answer: Answer, name: string): string {
  const value = answer.headers[name];
  return (Array.isArray(value) ? value[0] : value) ?? "";
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

function once(then: () => void): () => void {
  let done = false;
  return () => {
    if (done) return;
    done = true;
    then();
  };
}
