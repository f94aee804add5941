import type { IncomingMessage, ServerResponse } from "node:http";
import type { Clock } from "../core/clock.ts";
import { CaskError, type ErrorCode } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";

/** The only place where an error code becomes an HTTP status. */
export const STATUS_OF_CODE: Record<ErrorCode, number> = {
  BAD_KEY: 400,
  BAD_REQUEST: 400,
  BAD_METHOD: 405,
  BAD_RANGE: 416,
  KEY_MISMATCH: 400,
  KEY_COLLISION: 409,
  TOO_LARGE: 413,
  NO_SPACE: 507,
  READ_ONLY: 503,
  TOO_FEW_COPIES: 503,
  NOT_FOUND: 404,
  DONT_KNOW: 503,
  CORRUPT: 500,
  STORAGE_FAILED: 500,
  PEER_FAILED: 503,
  PEER_SLOW: 503,
  WRONG_NODE: 421,
  FORBIDDEN: 403,
  UUID_IN_USE: 409,
  STALLED: 408,
  OVERLOADED: 503,
  STOPPING: 503,
  BAD_CONFIG: 500,
  ROOT_IN_USE: 500,
  BAD_ROOT: 500,
  NOT_BUILT: 501,
  INTERNAL: 500,
};

export const RETRY_AFTER_SECONDS = 2;

export interface ErrorAnswerOptions {
  readonly log: Logger;
  readonly clock: Clock;
  /** Makes a page of it, for a form that a browser sent. */
  readonly page?: (error: CaskError) => string;
}

/**
 * Answers with what went wrong: JSON `{"error":{"code","message"}}` to clients that accept JSON, else one line of text.
 * When the head of the answer is out already, the connection is cut: nobody may take an incomplete body for a whole one.
 */
export function sendError(
  req: IncomingMessage,
  res: ServerResponse,
  thrown: unknown,
  options: ErrorAnswerOptions,
): void {
  const error = expected(req, thrown, options.log);
  if (res.headersSent || res.destroyed) {
    res.destroy();
    return;
  }
  const status = STATUS_OF_CODE[error.code];
  if (status === 503) res.setHeader("retry-after", RETRY_AFTER_SECONDS);
  // The rest of an upload is not read to its end: this connection can't be used again.
  if (!req.complete) closeAfter(req, res, options.clock);
  const { type, body } = bodyOf(req, error, options.page);
  res.setHeader("x-content-type-options", "nosniff");
  res.writeHead(status, { "content-type": `${type}; charset=utf-8`, "content-length": Buffer.byteLength(body) });
  res.end(req.method === "HEAD" ? undefined : body);
}

function bodyOf(req: IncomingMessage, error: CaskError, page: ErrorAnswerOptions["page"]) {
  const { code, message } = error;
  const accept = req.headers.accept ?? "";
  if (page && accept.includes("text/html")) return { type: "text/html", body: page(error) };
  if (accept.includes("application/json")) {
    return { type: "application/json", body: JSON.stringify({ error: { code, message } }) };
  }
  return { type: "text/plain", body: `${code}: ${oneLine(message)}\n` };
}

/** A refused upload is read and thrown away for so long, so that the client gets to see the answer; then the connection ends. */
const LINGER_MS = 2_000;

export function closeAfter(req: IncomingMessage, res: ServerResponse, clock: Clock): void {
  const { socket } = req;
  res.setHeader("connection", "close");
  // Node.js would destroy it as soon as the answer is out, and with bytes unread the client is reset before it has seen the answer.
  socket.destroySoon = () => void socket.end();
  res.once("finish", () => {
    req.resume();
    const cancel = clock.timer(LINGER_MS, () => socket.destroy());
    socket.once("close", cancel);
  });
}

function expected(req: IncomingMessage, thrown: unknown, log: Logger): CaskError {
  const where = `${req.method} ${(req.url ?? "").slice(0, 200)}`;
  if (thrown instanceof CaskError) {
    if (STATUS_OF_CODE[thrown.code] === 500) log.error({ err: thrown }, `${where}: ${thrown.message}`);
    else log.debug({ err: thrown }, `${where}: ${thrown.message}`);
    return thrown;
  }
  if (req.destroyed && !req.complete) return new CaskError("BAD_REQUEST", "the client went away", thrown);
  log.error({ err: thrown }, `${where}: unexpected`);
  return new CaskError("INTERNAL", "an unexpected error; the log of this node has the details", thrown);
}

function oneLine(text: string): string {
  return text.replaceAll(/\s+/g, " ");
}
