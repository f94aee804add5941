import type { Clock, StallTimer } from "../core/clock.ts";
import { CaskError, messageOf } from "../core/errors.ts";
import { type Key, KeyHasher } from "../core/key.ts";
import {
  GO_HEADS_AT_ONCE_COUNT,
  GO_SIZES_MAX_COUNT,
  PEER_ASK_TIMEOUT_MS,
  PEER_STALL_TIMEOUT_MS,
  WHOLE_BLOB_MAX_BYTES,
} from "../core/limits.ts";
import type { Random } from "../core/random.ts";
import type { BlobBody, BlobSource, ByteRange, Holding, PutReceipt, RemotePeer } from "../peer/peer.ts";
import { HEADER, PATH } from "../peer/protocol.ts";
import { type Answer, header, PeerConnection, type Place, progressing, wholeNumber } from "./peer-connection.ts";

export interface GoPeerOptions {
  readonly uuid: string;
  readonly baseUrl: string;
  /** The cluster's secret itself: a Go node knows no other. Undefined where it is not to be told: then the node refuses. */
  readonly secret: string | undefined;
  readonly authorities: readonly string[] | undefined;
  readonly clock: Clock;
  readonly random: Pick<Random, "hex">;
}

/**
 * A Go Cask node. It knows `POST /local/` and `GET|HEAD /local/<key>/`, tells no UUID, no store, no size of what it holds, and does not say
 * how long a blob above 2 KiB is before it has sent it all. Nothing that it says is a proof: it neither hashes what it has nor syncs what it got.
 */
export class GoPeer implements RemotePeer {
  readonly uuid: string;
  readonly isGo = true;
  readonly baseUrl: string;
  private readonly random: Pick<Random, "hex">;
  private readonly connection: PeerConnection;
  /** Of blobs that were read to their end, and matched their key: then the size can never be another. */
  private readonly sizes = new Map<Key, number>();

  constructor({ uuid, baseUrl, secret, authorities, clock, random }: GoPeerOptions) {
    this.uuid = uuid;
    this.baseUrl = baseUrl;
    this.random = random;
    const headers: Record<string, string> = secret === undefined ? {} : { [HEADER.secret]: secret };
    this.connection = new PeerConnection({ baseUrl, headers, authorities, clock });
  }

  /** The node files what it gets under its own hash of it: what goes out is hashed here, too, and only ends as a whole body if it is right. */
  put(key: Key, source: BlobSource, signal?: AbortSignal): Promise<PutReceipt> {
    return this.connection.run(`POST ${key}`, { stallMs: PEER_STALL_TIMEOUT_MS, signal }, async (stall) => {
      const form = formOf(source, key, `cask-${this.random.hex(16)}`);
      const body = progressing(form.chunks, source.sizeBytes, stall);
      const asked = { method: "POST", path: PATH.local, headers: form.headers, body } as const;
      const answer = await this.connection.ask(asked, stall);
      const text = answer.body.toString("utf8");
      if (answer.statusCode !== 200) throw this.errorOf(answer, text);
      if (text.trim() !== key) {
        throw new CaskError("KEY_MISMATCH", `${this.baseUrl} filed ${key} as ${text.trim().slice(0, 60)}`);
      }
      return { store: `go:${this.uuid}`, outcome: "stored" };
    });
  }

  /** It knows no ranges: for one, the whole blob is read and hashed first, then read again up to the end of the range. */
  get(key: Key, range?: ByteRange, signal?: AbortSignal): Promise<BlobBody | null> {
    return this.connection.open(`GET ${key}`, signal, async (place) => {
      const answer = await this.fetch(key, place.stall);
      if (!answer) return null;
      const size = wholeNumber(header(answer, "content-length")) ?? this.sizes.get(key) ?? null;
      if (size !== null && !range) return this.wholeOf(answer, size, place);
      const { sizeBytes, bytes } = await this.measure(answer, key, place.stall);
      if (range && range.end >= sizeBytes) throw new CaskError("BAD_RANGE", `${key} has ${sizeBytes} bytes`);
      if (bytes) return inMemory(bytes, range, place);
      const again = await this.fetch(key, place.stall);
      if (!again) return null;
      const body = this.wholeOf(again, sizeBytes, place);
      return range ? { ...body, chunks: cutOut(body.chunks, range) } : body;
    });
  }

  /** One question for each key. Rejects when none of them was answered: then the node is silent, not unsure. */
  has(keys: readonly Key[], signal?: AbortSignal): Promise<Holding[]> {
    return this.connection.run("existence", { stallMs: PEER_ASK_TIMEOUT_MS, signal }, async (stall) => {
      const holdings: Holding[] = [];
      const failures: unknown[] = [];
      const waiting = [...keys.entries()];
      const ask = async () => {
        for (let next = waiting.shift(); next; next = waiting.shift()) {
          const [i, key] = next;
          try {
            holdings[i] = await this.head(key, stall);
          } catch (error) {
            failures.push(error);
            const failure = this.connection.failure("existence", error, stall.signal);
            holdings[i] = { state: "unknown", reason: messageOf(failure) };
          }
        }
      };
      await Promise.all(Array.from({ length: GO_HEADS_AT_ONCE_COUNT }, ask));
      signal?.throwIfAborted();
      if (failures.length > 0 && failures.length === keys.length) throw failures[0];
      return holdings;
    });
  }

  vouch(): Promise<never> {
    return this.lacks("vouches");
  }

  digests(): Promise<never> {
    return this.lacks("digests");
  }

  keysIn(): Promise<never> {
    return this.lacks("lists of keys");
  }

  close(): Promise<void> {
    return this.connection.close();
  }

  private async lacks(what: string): Promise<never> {
    throw new CaskError("NOT_BUILT", `${this.baseUrl} is a Go Cask node: it has no ${what}`);
  }

  private async head(key: Key, stall: StallTimer): Promise<Holding> {
    const answer = await this.connection.ask({ method: "HEAD", path: PATH.localBlob(key) }, stall);
    if (answer.statusCode === 404) return { state: "absent" };
    if (answer.statusCode !== 200) return { state: "unknown", reason: `${this.baseUrl} answered ${answer.statusCode}` };
    const sizeBytes = wholeNumber(header(answer, "content-length")) ?? this.sizes.get(key) ?? null;
    return { state: "present", sizeBytes, verifiedAtMs: null, store: `go:${this.uuid}` };
  }

  private async fetch(key: Key, stall: StallTimer): Promise<Answer | null> {
    const answer = await this.connection.request({ method: "GET", path: PATH.localBlob(key) }, stall);
    if (answer.statusCode === 200) return answer;
    const text = await this.connection.readSmall(answer, stall);
    if (answer.statusCode === 404) return null;
    throw this.errorOf(answer, text);
  }

  private wholeOf(answer: Answer, sizeBytes: number, place: Place): BlobBody {
    const body = this.connection.bodyOf(answer, sizeBytes, place);
    return { ...body, chunks: counted(body.chunks, sizeBytes, this.baseUrl) };
  }

  /** Reads an answer to its end, to learn how long it is. Small ones are kept: they need not be sent twice. */
  private async measure(
    answer: Answer,
    key: Key,
    stall: StallTimer,
  ): Promise<{ readonly sizeBytes: number; readonly bytes: Buffer | null }> {
    const hasher = new KeyHasher();
    let parts: Uint8Array[] | null = [];
    let sizeBytes = 0;
    for await (const chunk of answer.body as AsyncIterable<Uint8Array>) {
      stall.progress();
      hasher.update(chunk);
      sizeBytes += chunk.length;
      if (sizeBytes > WHOLE_BLOB_MAX_BYTES) parts = null;
      parts?.push(chunk);
    }
    const digest = hasher.digest();
    if (digest !== key) throw new CaskError("CORRUPT", `the copy of ${key} at ${this.baseUrl} hashes to ${digest}`);
    if (parts) return { sizeBytes, bytes: Buffer.concat(parts, sizeBytes) };
    if (this.sizes.size >= GO_SIZES_MAX_COUNT) this.sizes.clear();
    this.sizes.set(key, sizeBytes);
    return { sizeBytes, bytes: null };
  }

  /** It answers in plain text. */
  private errorOf({ statusCode }: Pick<Answer, "statusCode">, text: string): CaskError {
    const code = statusCode === 403 ? "FORBIDDEN" : /read-only/.test(text) ? "READ_ONLY" : "PEER_FAILED";
    return new CaskError(code, `${this.baseUrl} answered ${statusCode}: ${text.trim().slice(0, 300)}`);
  }
}

/** One file as a browser would send it. Its end is sent only after all bytes were, and hashed to the key. */
function formOf(source: BlobSource, key: Key, boundary: string) {
  const head = Buffer.from(
    `--${boundary}\r\nContent-Disposition: form-data; name="file"; filename="file.dat"\r\nContent-Type: application/octet-stream\r\n\r\n`,
  );
  const tail = Buffer.from(`\r\n--${boundary}--\r\n`);
  async function* chunks(): AsyncGenerator<Uint8Array> {
    const hasher = new KeyHasher();
    yield head;
    for await (const chunk of source.read()) {
      hasher.update(chunk);
      yield chunk;
    }
    if (hasher.digest() !== key) throw new CaskError("KEY_MISMATCH", `what was to be sent as ${key} has another hash`);
    yield tail;
  }
  const headers = {
    // With it, the body ends early for the receiver too when it does here.
    "content-length": String(head.length + source.sizeBytes + tail.length),
    "content-type": `multipart/form-data; boundary=${boundary}`,
  };
  return { headers, chunks: chunks() };
}

function inMemory(bytes: Buffer, range: ByteRange | undefined, { leave }: Place): BlobBody {
  leave(); // all of it is here
  const part = range ? bytes.subarray(range.start, range.end + 1) : bytes;
  return {
    sizeBytes: bytes.length,
    chunks: (async function* () {
      if (part.length > 0) yield part;
    })(),
    close: () => undefined,
    hashed: async () => undefined,
  };
}

/** A chunked body has an end, but says nothing of how long it should have been. */
async function* counted(
  chunks: AsyncIterable<Uint8Array>,
  sizeBytes: number,
  from: string,
): AsyncGenerator<Uint8Array> {
  let received = 0;
  for await (const chunk of chunks) {
    received += chunk.length;
    if (received > sizeBytes) break;
    yield chunk;
  }
  if (received !== sizeBytes) throw new CaskError("PEER_FAILED", `${from} sent another length than ${sizeBytes} bytes`);
}

async function* cutOut(chunks: AsyncIterable<Uint8Array>, { start, end }: ByteRange): AsyncGenerator<Uint8Array> {
  let at = 0;
  for await (const chunk of chunks) {
    const part = chunk.subarray(Math.max(0, start - at), Math.max(0, end + 1 - at));
    at += chunk.length;
    if (part.length > 0) yield part;
    if (at > end) return;
  }
}
