import type { IncomingMessage, ServerResponse } from "node:http";
import type { HttpContext } from "./context.ts";
import { CLIENT_DOORS } from "./doors.ts";

const METHODS = new Set(["GET", "HEAD", "POST", "PUT"]);

/** Counts a request when its answer has ended, and as one under way until then. `door`: from a fixed list, as a label must be. */
export function measure(
  { metrics, clock, blobs }: Pick<HttpContext, "metrics" | "clock" | "blobs">,
  door: string,
  req: IncomingMessage,
  res: ServerResponse,
): void {
  const begunMs = clock.nowMs();
  const asked = req.method ?? "";
  const method = METHODS.has(asked) ? asked : "other";
  const ended = CLIENT_DOORS.has(door) ? blobs.foreground.begin() : undefined;
  res.once("close", () => {
    ended?.();
    const status = res.writableFinished ? String(res.statusCode) : "cut";
    metrics.requests.observe({ door, method, status }, (clock.nowMs() - begunMs) / 1000);
  });
}
