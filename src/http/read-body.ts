import type { IncomingMessage } from "node:http";
import { type Clock, StallTimer } from "../core/clock.ts";
import { asCaskError, CaskError } from "../core/errors.ts";
import { SMALL_BODY_MAX_BYTES } from "../core/limits.ts";
import { untilAborted } from "../core/until-aborted.ts";

/** The body of a request that is no blob, as text. Rejects with TOO_LARGE above SMALL_BODY_MAX_BYTES, with STALLED, or BAD_REQUEST. */
export async function readBody(req: IncomingMessage, timing: ReadTiming): Promise<string> {
  return (await readBytes(req, SMALL_BODY_MAX_BYTES, timing)).toString("utf8");
}

export interface ReadTiming {
  readonly readTimeoutMs: number;
  readonly clock: Clock;
}

/** A whole body. Rejects as `readBody` does. */
export async function readBytes(req: IncomingMessage, maxBytes: number, timing: ReadTiming): Promise<Buffer> {
  const stall = new StallTimer(
    timing.clock,
    timing.readTimeoutMs,
    () => new CaskError("STALLED", "the request took too long"),
  );
  const iterator = req.iterator({ destroyOnReturn: false }) as AsyncIterator<Uint8Array>;
  const parts: Uint8Array[] = [];
  let size = 0;
  try {
    while (true) {
      const { done, value } = await untilAborted(iterator.next(), stall.signal);
      if (done) return Buffer.concat(parts);
      size += value.length;
      if (size > maxBytes) throw new CaskError("TOO_LARGE", `more than ${maxBytes} bytes`);
      parts.push(value);
      stall.progress();
    }
  } catch (error) {
    throw asCaskError(error, "BAD_REQUEST", "the request broke off");
  } finally {
    stall.stop();
  }
}
