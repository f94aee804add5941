import { type Dispatcher, Pool } from "undici";
import { type Clock, StallTimer } from "../core/clock.ts";
import { CaskError, hasCode, messageOf } from "../core/errors.ts";
import { Gate } from "../core/gate.ts";
import {
  PEER_CONNECT_TIMEOUT_MS,
  PEER_CONNECTIONS_MAX_COUNT,
  PEER_QUEUE_MAX_COUNT,
  PEER_STALL_TIMEOUT_MS,
  PEER_SYNC_LEAST_BYTES_PER_MS,
  SMALL_BODY_MAX_BYTES,
} from "../core/limits.ts";
import type { BlobBody } from "../peer/peer.ts";
import { tlsAdvice } from "./tls-advice.ts";
import { type WholeAnswer, wholeAnswer } from "./whole-answer.ts";

export interface PeerConnectionOptions {
  readonly baseUrl: string;
  /** Sent with each request. */
  readonly headers: Readonly<Record<string, string>>;
  /** Certificates (PEM) of authorities to trust besides the system's. */
  readonly authorities: readonly string[] | undefined;
  readonly clock: Clock;
}

export type Answer = Dispatcher.ResponseData;

export interface PeerRequest {
  readonly method: "GET" | "HEAD" | "PUT" | "POST";
  /** Below the base URL. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: AsyncIterable<Uint8Array> | Uint8Array | string;
}

/** The place of a request whose answer is still being read: kept until `leave`. */
export interface Place {
  readonly stall: StallTimer;
  readonly leave: () => void;
}

/**
 * Requests to the node at one base URL: so many at a time, and each ends by an answer, an error, PEER_SLOW when it makes no progress, or the
 * caller's signal. A redirect is an answer; it is never followed.
 */
export class PeerConnection {
  readonly baseUrl: string;
  private readonly options: PeerConnectionOptions;
  private readonly pool: Pool;
  private readonly prefix: string;
  private readonly gate: Gate;

  constructor(options: PeerConnectionOptions) {
    this.options = options;
    this.baseUrl = options.baseUrl;
    const url = new URL(options.baseUrl);
    this.prefix = url.pathname.replace(/\/+$/, "");
    this.gate = new Gate(`requests to ${options.baseUrl}`, PEER_CONNECTIONS_MAX_COUNT, PEER_QUEUE_MAX_COUNT);
    this.pool = new Pool(url.origin, {
      connections: PEER_CONNECTIONS_MAX_COUNT,
      connect: {
        timeout: PEER_CONNECT_TIMEOUT_MS,
        ...(options.authorities ? { ca: options.authorities as string[] } : {}),
      },
      // Deadlines are ours (StallTimer): they count progress of the body in both directions.
      headersTimeout: 0,
      bodyTimeout: 0,
      keepAliveTimeout: 30_000,
    });
  }

  /** Work that has ended when it resolves. `stallMs`: how long it may make no progress. */
  async run<T>(
    what: string,
    { stallMs, signal }: { readonly stallMs: number; readonly signal: AbortSignal | undefined },
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

  /** Work that resolves with a body that is yet to be read: it keeps its place until that is read or closed. */
  async open(
    what: string,
    signal: AbortSignal | undefined,
    work: (place: Place) => Promise<BlobBody | null>,
  ): Promise<BlobBody | null> {
    await this.gate.enter(signal);
    const stall = this.stallTimer(what, PEER_STALL_TIMEOUT_MS, signal);
    const leave = once(() => {
      stall.stop();
      this.gate.leave();
    });
    try {
      const body = await work({ stall, leave });
      if (!body) leave();
      return body;
    } catch (error) {
      leave();
      throw this.failure(what, error, stall.signal);
    }
  }

  /** An answer whose body is yet to be read. */
  async request(asked: PeerRequest, stall: StallTimer): Promise<Answer> {
    const answer = await this.pool.request({ ...this.optionsOf(asked), signal: stall.signal });
    stall.progress();
    return answer;
  }

  /** An answer with its body. Rejects with PEER_FAILED when that is longer. */
  ask(asked: PeerRequest, stall: StallTimer, maxBytes = SMALL_BODY_MAX_BYTES): Promise<WholeAnswer> {
    return wholeAnswer(this.pool, this.optionsOf(asked), {
      signal: stall.signal,
      onProgress: () => stall.progress(),
      maxBytes,
      tooLong: () => this.tooLong(),
    });
  }

  /** The body of an answer, of a blob (or a part of one) of `sizeBytes`. */
  bodyOf(answer: Answer, sizeBytes: number, { stall, leave }: Place): BlobBody {
    stall.pause(); // until somebody reads
    return {
      sizeBytes,
      chunks: this.chunksOf(answer, { stall, leave }),
      close: () => {
        destroyQuietly(answer);
        leave();
      },
      hashed: async () => undefined,
    };
  }

  /** The body of an answer that was to be a blob and is none, as text. */
  async readSmall(answer: Answer, stall: StallTimer): Promise<string> {
    const parts: Uint8Array[] = [];
    let size = 0;
    for await (const chunk of answer.body as AsyncIterable<Uint8Array>) {
      stall.progress();
      size += chunk.length;
      if (size > SMALL_BODY_MAX_BYTES) throw this.tooLong();
      parts.push(chunk);
    }
    return Buffer.concat(parts).toString("utf8");
  }

  /** What a request failed with, as a CaskError or the reason of the caller's signal. */
  failure(what: string, error: unknown, signal: AbortSignal): unknown {
    if (error instanceof CaskError) return error;
    if (signal.aborted) return hasCode(signal.reason, "PEER_SLOW") ? signal.reason : (signal.reason ?? error);
    return new CaskError("PEER_FAILED", `${this.baseUrl}: ${what}: ${messageOf(error)}${tlsAdvice(error)}`, error);
  }

  async close(): Promise<void> {
    await this.pool.destroy();
  }

  /** That as many bytes come as were announced is undici's to see: it rejects otherwise. */
  private async *chunksOf(answer: Answer, { stall, leave }: Place): AsyncGenerator<Uint8Array> {
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

  private optionsOf({ method, path, headers = {}, body }: PeerRequest) {
    return {
      method,
      path: this.prefix + path,
      headers: { ...headers, ...this.options.headers },
      body: body === undefined ? null : (body as never), // undici's types lack AsyncIterable, its code takes it
    };
  }

  private tooLong(): CaskError {
    return new CaskError("PEER_FAILED", `${this.baseUrl}: answer too long`);
  }

  private stallTimer(what: string, ms: number, signal?: AbortSignal): StallTimer {
    const reason = () => new CaskError("PEER_SLOW", `${this.baseUrl} made no progress for ${ms} ms (${what})`);
    return new StallTimer(this.options.clock, ms, reason, signal);
  }
}

/** The bytes of an upload, each of which is progress; at their end the node gets the time to make them durable. */
export async function* progressing(
  chunks: AsyncIterable<Uint8Array>,
  sizeBytes: number,
  stall: StallTimer,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    stall.progress();
    yield chunk;
  }
  // All is on its way: now it must be hashed, written and synced.
  stall.progress(PEER_STALL_TIMEOUT_MS + sizeBytes / PEER_SYNC_LEAST_BYTES_PER_MS);
}

/** Given up on purpose: the error that its body then has is no news. */
export function destroyQuietly(answer: Answer): void {
  answer.body.on("error", () => undefined).destroy();
}

export function header(answer: Pick<Answer | WholeAnswer, "headers">, name: string): string {
  const value = answer.headers[name];
  return (Array.isArray(value) ? value[0] : value) ?? "";
}

/** Null for anything but digits: a length that is missing must not become 0. */
export function wholeNumber(text: string | undefined): number | null {
  const value = Number(text);
  return /^\d+$/.test(text ?? "") && Number.isSafeInteger(value) ? value : null;
}

function once(then: () => void): () => void {
  let done = false;
  return () => {
    if (done) return;
    done = true;
    then();
  };
}
