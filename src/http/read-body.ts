import type { IncomingMessage } from "node:http";
import type { Clock } from "../core/clock.ts";
import { asCaskError, CaskError } from "../core/errors.ts";
import { SMALL_BODY_MAX_BYTES } from "../core/limits.ts";
import { copyInto, freeAlone } from "../core/piece-pool.ts";

/** The body of a request that is no blob, as text. Rejects with TOO_LARGE above SMALL_BODY_MAX_BYTES, with STALLED, or BAD_REQUEST. */
export async function readBody(req: IncomingMessage, timing: ReadTiming): Promise<string> {
  return (await readBytes(req, SMALL_BODY_MAX_BYTES, timing)).toString("utf8");
}

export interface ReadTiming {
  readonly readTimeoutMs: number;
  readonly clock: Clock;
}

/** A whole body. Rejects as `readBody` does. */
export function readBytes(
  req: IncomingMessage,
  maxBytes: number,
  { readTimeoutMs, clock }: ReadTiming,
): Promise<Buffer> {
  const stalled = () => new CaskError("STALLED", "the request took too long");
  return gatherBody(req, { name: "request", maxBytes, stallMs: readTimeoutMs, stalled, clock });
}

export interface GatherBodyOptions {
  /** What it is to the client, for messages. */
  readonly name: string;
  readonly maxBytes: number;
  /** No bytes come for so long: it rejects with `stalled()`. */
  readonly stallMs: number;
  readonly stalled: () => CaskError;
  readonly clock: Clock;
  /** Memory of `maxBytes` or more that the body comes into; the chunks' own is freed. */
  readonly into?: Buffer;
}

/** A body in one piece: most of them come in one packet, and an iterator costs more than all the rest. Rejects with TOO_LARGE, too, and with BAD_REQUEST. */
export function gatherBody(req: IncomingMessage, options: GatherBodyOptions): Promise<Buffer> {
  const { name, maxBytes, stallMs, stalled, clock, into } = options;
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    let receivedBytes = 0;
    const end = (error?: CaskError) => {
      cancel();
      req.off("data", onData).off("end", onEnd).off("error", onError).off("close", onError);
      if (!error) return resolve(into ? into.subarray(0, receivedBytes) : joined(parts));
      req.pause(); // the rest is for whoever answers
      reject(error);
    };
    const onStall = () => end(stalled());
    const onData = (part: Buffer) => {
      receivedBytes += part.length;
      if (receivedBytes > maxBytes) return end(new CaskError("TOO_LARGE", `more than ${maxBytes} bytes`));
      if (into) {
        copyInto(into, part, receivedBytes - part.length);
        freeAlone(part);
      } else parts.push(part);
      cancel();
      cancel = clock.timer(stallMs, onStall);
    };
    const onEnd = () => end();
    const onError = (error: Error = new Error("the connection was closed")) =>
      end(asCaskError(error, "BAD_REQUEST", `the ${name} broke off`));
    let cancel = clock.timer(stallMs, onStall);
    if (req.destroyed) return onError();
    req.on("data", onData).on("end", onEnd).on("error", onError).on("close", onError);
  });
}

function joined(parts: readonly Buffer[]): Buffer {
  if (parts.length === 1) return parts[0] as Buffer;
  const whole = Buffer.concat(parts);
  for (const part of parts) freeAlone(part);
  return whole;
}
