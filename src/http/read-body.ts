import type { IncomingMessage } from "node:http";
import type { Clock } from "../core/clock.ts";
import { CaskError } from "../core/errors.ts";
import { SMALL_BODY_MAX_BYTES } from "../core/limits.ts";

/** The body of a request that is no blob, as text. Rejects with TOO_LARGE above SMALL_BODY_MAX_BYTES, with STALLED, or BAD_REQUEST. */
export async function readBody(req: IncomingMessage, timing: ReadTiming): Promise<string> {
  return (await readBytes(req, SMALL_BODY_MAX_BYTES, timing)).toString("utf8");
}

export interface ReadTiming {
  readonly readTimeoutMs: number;
  readonly clock: Clock;
}

/** A whole body. Rejects as `readBody` does. */
export function readBytes(req: IncomingMessage, maxBytes: number, timing: ReadTiming): Promise<Buffer> {
  return new Promise<Buffer>((resolve, reject) => {
    const parts: Buffer[] = [];
    let size = 0;
    const late = () => fail(new CaskError("STALLED", "the request took too long"));
    let cancel = timing.clock.timer(timing.readTimeoutMs, late);
    const onData = (chunk: Buffer) => {
      size += chunk.length;
      if (size > maxBytes) return fail(new CaskError("TOO_LARGE", `more than ${maxBytes} bytes`));
      parts.push(chunk);
      cancel();
      cancel = timing.clock.timer(timing.readTimeoutMs, late);
    };
    const onEnd = () => {
      leave();
      resolve(parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts));
    };
    const onClose = () => fail(new CaskError("BAD_REQUEST", "the request broke off"));
    const leave = () => {
      cancel();
      req.off("data", onData).off("end", onEnd).off("close", onClose);
    };
    const fail = (error: Error) => {
      leave();
      req.pause(); // the rest is for whoever answers
      reject(error);
    };
    if (req.destroyed) return onClose();
    req.on("data", onData).on("end", onEnd).on("close", onClose);
    req.on("error", () => undefined); // "close" follows
  });
}
