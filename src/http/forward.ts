import { Agent, type IncomingMessage, request, type ServerResponse } from "node:http";
import { pipeline } from "node:stream";
import type { Clock } from "../core/clock.ts";
import { CaskError } from "../core/errors.ts";
import { CONNECTIONS_MAX_COUNT } from "../core/limits.ts";
import type { Logger } from "../core/log.ts";
import { CLIENT_HEADER } from "./client-address.ts";
import { closeAfter, sendError } from "./error-answer.ts";

export interface ForwardOptions {
  /** Of the socket on which the owner of the data listens. */
  readonly ownerPath: string;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Of one connection, not of the request. */
const OF_THE_CONNECTION = new Set(["connection", "keep-alive", "expect", "proxy-connection", CLIENT_HEADER]);

/** Passes requests on to the thread that owns the data, and its answers back, as they come. */
export class Forward {
  private readonly options: ForwardOptions;
  private readonly agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS_MAX_COUNT });

  constructor(options: ForwardOptions) {
    this.options = options;
  }

  handle(req: IncomingMessage, res: ServerResponse): void {
    const passed = request({
      socketPath: this.options.ownerPath,
      agent: this.agent,
      method: req.method,
      path: req.url,
      headers: [...ofTheRequest(req.rawHeaders), CLIENT_HEADER, req.socket.remoteAddress ?? "unknown"],
    });
    let isAnswered = false;
    passed.once("response", (answer) => {
      isAnswered = true;
      this.answer(req, res, answer);
    });
    passed.on("error", (error) => isAnswered || this.failed(req, res, error));
    // The owner sees what it would have seen: a client that goes away ends what is done for it.
    res.once("close", () => res.writableFinished || passed.destroy());
    req.pipe(passed);
  }

  stop(): void {
    this.agent.destroy();
  }

  private answer(req: IncomingMessage, res: ServerResponse, answer: IncomingMessage): void {
    if (res.destroyed) return void answer.destroy();
    // A refusal before the end of an upload: what else comes is read and thrown away for a moment.
    if (!req.complete) {
      req.unpipe();
      closeAfter(req, res, this.options.clock);
    }
    res.writeHead(answer.statusCode as number, answer.statusMessage, ofTheRequest(answer.rawHeaders));
    pipeline(answer, res, () => undefined); // cut where the owner cut it
  }

  private failed(req: IncomingMessage, res: ServerResponse, error: Error): void {
    if (res.destroyed || res.headersSent) return void res.destroy();
    const gone = new CaskError("STOPPING", `the thread that has the data can't be reached: ${error.message}`, error);
    sendError(req, res, gone, this.options);
  }
}

function ofTheRequest(rawHeaders: readonly string[]): string[] {
  const kept: string[] = [];
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const [name, value] = [rawHeaders[i] as string, rawHeaders[i + 1] as string];
    if (!OF_THE_CONNECTION.has(name.toLowerCase())) kept.push(name, value);
  }
  return kept;
}
