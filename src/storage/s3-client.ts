import { S3Client, type S3ClientConfig } from "@aws-sdk/client-s3";
import type { Clock } from "../core/clock.ts";
import { messageOf } from "../core/errors.ts";
import {
  S3_ATTEMPT_MS,
  S3_ATTEMPTS_MAX_COUNT,
  S3_BACKOFF_MS,
  S3_CHANGE_MS,
  S3_DELETE_SETTLE_MS,
  S3_LEAST_BYTES_PER_MS,
  S3_OWNER_RENEW_MS,
  S3_OWNER_STALE_MS,
} from "../core/limits.ts";
import type { Random } from "../core/random.ts";
import { BadAnswer, isRefusal, mayStillHappen } from "./s3-failure.ts";
import type { S3RequestKind, S3Traffic } from "./s3-traffic.ts";

/** Where the bucket is. */
export interface S3Place {
  readonly bucket: string;
  readonly prefix: string;
  readonly region: string | undefined;
  readonly endpoint: string | undefined;
  readonly forcePathStyle: boolean;
  /** Undefined: what the SDK finds by itself (environment, files, the machine's role). */
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string } | undefined;
}

/** How long S3 may take for what. */
export interface S3Timing {
  /** One attempt to read or look. */
  readonly attemptMs: number;
  /** One attempt to do anything else. */
  readonly changeMs: number;
  readonly attempts: number;
  readonly backoffMs: number;
  readonly deleteSettleMs: number;
  readonly ownerRenewMs: number;
  readonly ownerStaleMs: number;
}

export const S3_TIMING: S3Timing = {
  attemptMs: S3_ATTEMPT_MS,
  changeMs: S3_CHANGE_MS,
  attempts: S3_ATTEMPTS_MAX_COUNT,
  backoffMs: S3_BACKOFF_MS,
  deleteSettleMs: S3_DELETE_SETTLE_MS,
  ownerRenewMs: S3_OWNER_RENEW_MS,
  ownerStaleMs: S3_OWNER_STALE_MS,
};

export interface S3ConnectionOptions {
  readonly place: S3Place;
  readonly timing: S3Timing;
  readonly traffic: S3Traffic;
  readonly clock: Clock;
  readonly random: Random;
}

export interface SendOptions {
  readonly kind: S3RequestKind;
  /** Bytes that the request carries. */
  readonly bodyBytes?: number;
  /** Default: as the timing says. */
  readonly attempts?: number;
  readonly attemptMs?: number;
  readonly signal?: AbortSignal;
  /** Called when an attempt ended of which nobody knows whether it will still take effect. */
  readonly onDoubt?: () => void;
}

const SILENT = { trace: ignore, debug: ignore, info: ignore, warn: ignore, error: ignore };
/** A reader that is slow holds one of these: they must not be what others wait for. */
const SOCKETS_MAX_COUNT = 2_000;
const CONNECT_MS = 3_000;

/** The SDK's client, but each request has a deadline, is tried again a bounded number of times, and is counted. */
export class S3Connection {
  /** For its configuration. Whatever is sent goes through `send`. */
  readonly client: S3Client;
  private readonly options: S3ConnectionOptions;
  private serverAheadMs = 0;

  constructor(options: S3ConnectionOptions) {
    this.options = options;
    this.client = new S3Client(clientConfig(options.place));
    this.client.middlewareStack.add(
      (next) => async (args) => {
        const result = await next(args);
        this.noteServerTime(result.response);
        return result;
      },
      { step: "deserialize", name: "noteServerTime", priority: "low" },
    );
  }

  get bucket(): string {
    return this.options.place.bucket;
  }

  /** What the time is for S3, as its last answer told: to be compared with the times of objects. */
  serverNowMs(): number {
    return this.options.clock.wallMs() + this.serverAheadMs;
  }

  /** `attempt` is one request to S3; it must end when its signal aborts. Rejects with what the last attempt rejected with. */
  async send<T>(options: SendOptions, attempt: (client: S3Client, signal: AbortSignal) => Promise<T>): Promise<T> {
    const { timing, traffic, clock, random } = this.options;
    let attempts = options.attempts ?? timing.attempts;
    for (let count = 1; ; count++) {
      try {
        return await this.once(options, attempt);
      } catch (error) {
        if (mayStillHappen(error)) options.onDoubt?.();
        if (error instanceof BadAnswer) attempts = Math.min(attempts, error.attemptsMax);
        options.signal?.throwIfAborted();
        if (count >= attempts || isRefusal(error)) {
          if (!isRefusal(error)) traffic.failures++;
          throw error;
        }
        traffic.retries++;
        await clock.sleep(timing.backoffMs * 2 ** (count - 1) * (0.5 + random.next()), options.signal);
      }
    }
  }

  close(): void {
    this.client.destroy();
  }

  private async once<T>(
    options: SendOptions,
    attempt: (client: S3Client, signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const { kind, bodyBytes = 0, signal } = options;
    const { timing, traffic, clock } = this.options;
    const usualMs = kind === "read" || kind === "look" ? timing.attemptMs : timing.changeMs;
    const ms = (options.attemptMs ?? usualMs) + bodyBytes / S3_LEAST_BYTES_PER_MS;
    const late = new AbortController();
    const cancel = clock.timer(ms, () => late.abort(new Error(`no answer within ${Math.round(ms)} ms`)));
    traffic.requests[kind]++;
    traffic.bytesOut += bodyBytes;
    try {
      return await attempt(this.client, signal ? AbortSignal.any([late.signal, signal]) : late.signal);
    } catch (error) {
      if (late.signal.aborted) throw new Error(messageOf(late.signal.reason), { cause: error });
      throw error;
    } finally {
      cancel();
    }
  }

  private noteServerTime(response: unknown): void {
    const headers = (response as { headers?: Record<string, string> } | undefined)?.headers;
    const toldMs = Date.parse(headers?.["date"] ?? "");
    if (Number.isFinite(toldMs)) this.serverAheadMs = toldMs - this.options.clock.wallMs();
  }
}

function clientConfig({ region, endpoint, forcePathStyle, credentials }: S3Place): S3ClientConfig {
  const config: S3ClientConfig = {
    forcePathStyle,
    maxAttempts: 1, // `send` does that, with a deadline for each
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
    requestHandler: {
      connectionTimeout: CONNECT_MS,
      httpAgent: { maxSockets: SOCKETS_MAX_COUNT, keepAlive: true },
      httpsAgent: { maxSockets: SOCKETS_MAX_COUNT, keepAlive: true },
    },
    logger: SILENT,
  };
  if (credentials) config.credentials = credentials;
  if (endpoint !== undefined) config.endpoint = endpoint;
  const known = region ?? (endpoint === undefined ? undefined : "us-east-1"); // other servers take any
  if (known !== undefined) config.region = known;
  return config;
}

function ignore(): void {
  // The SDK's own log: what matters is in the errors that it throws.
}
