import type { IncomingMessage, ServerResponse } from "node:http";
import type { Clock } from "../core/clock.ts";
import { CLIENT_DOORS } from "./doors.ts";

const METHODS = new Set(["GET", "HEAD", "POST", "PUT"]);

/** Of the metrics and the foreground load, what counting needs. */
export interface Measuring {
  readonly metrics: {
    readonly requests: { observe(labels: { door: string; method: string; status: string }, seconds: number): void };
  };
  readonly blobs: { readonly foreground: { begin(): () => void } };
  readonly clock: Pick<Clock, "nowMs">;
}

/** Counts a request when its answer has ended, and as one under way until then. `door`: from a fixed list, as a label must be. */
export function measure(
  { metrics, clock, blobs }: Measuring,
  door: string,
  req: IncomingMessage,
  res: ServerResponse,
  begunMs = clock.nowMs(),
): void {
  const asked = req.method ?? "";
  const method = METHODS.has(asked) ? asked : "other";
  const ended = CLIENT_DOORS.has(door) ? blobs.foreground.begin() : undefined;
  const count = () => {
    ended?.();
    const status = res.writableFinished ? String(res.statusCode) : "cut";
    metrics.requests.observe({ door, method, status }, (clock.nowMs() - begunMs) / 1000);
  };
  // A client may have gone while the blob was looked for: nothing is told of that any more.
  if (res.closed) count();
  else res.once("close", count);
}
