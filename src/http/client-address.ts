import type { IncomingMessage } from "node:http";

/** Set by a serving thread when it passes a request on. */
export const CLIENT_HEADER = "x-cask-client";

/** Who asks. What the header says counts only on the way from a serving thread, which is no TCP connection. */
export function clientAddress(req: IncomingMessage): string | undefined {
  return req.socket.remoteAddress ?? (req.headers[CLIENT_HEADER] as string | undefined);
}
