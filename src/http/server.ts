import { createServer, type RequestListener, type Server } from "node:http";
import { createServer as createTlsServer, Server as TlsServer } from "node:https";
import { type ListenOptions, Server as NetServer, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Clock } from "../core/clock.ts";
import { CaskError } from "../core/errors.ts";
import { CONNECTIONS_MAX_COUNT, STOP_LOOK_EVERY_MS, STOP_TIMEOUT_MS } from "../core/limits.ts";
import { SocketLane, type SocketLaneOptions } from "./socket-lane.ts";

/**
 * An address of this machine, or the path of a socket for this process alone. `shared`: threads of this process listen there together, and
 * this is the first of them or a further one.
 */
export type Listening =
  | { readonly host: string; readonly port: number; readonly shared?: "first" | "further" }
  | { readonly path: string };

export interface ServerOptions {
  readonly handler: RequestListener;
  readonly listen: Listening;
  readonly tls: { readonly cert: string; readonly key: string } | undefined;
  /** For the head of a request; bodies are watched where they are read. */
  readonly headTimeoutMs: number;
  /** From these, fetches are answered past node:http. */
  readonly lane?: Pick<SocketLaneOptions, "blobs" | "stallMs"> | undefined;
  readonly clock: Clock;
}

const KEEP_ALIVE_MS = 75_000;
const LINGER_MS = 1_000;
/** As Node.js answers them itself. */
const STATUS_OF_PARSER_ERROR: Readonly<Record<string, string>> = {
  HPE_HEADER_OVERFLOW: "431 Request Header Fields Too Large",
  HPE_CHUNK_EXTENSIONS_OVERFLOW: "413 Payload Too Large",
  ERR_HTTP_REQUEST_TIMEOUT: "408 Request Timeout",
};

/** The listening socket: start, and a stop that lets requests under way finish. */
export class HttpServer {
  private readonly server: Server;
  private readonly options: ServerOptions;
  private readonly sockets = new Set<Socket>();
  private readonly lane: SocketLane | undefined;
  private stopping = false;

  constructor(options: ServerOptions) {
    this.options = options;
    const settings = { connectionsCheckingInterval: Math.min(5_000, options.headTimeoutMs) };
    const { lane } = options;
    if (lane) this.lane = new SocketLane({ ...lane, keepAliveMs: KEEP_ALIVE_MS, clock: options.clock });
    const handler: RequestListener = (request, response) => {
      this.lane?.begun(request, response);
      // A client that goes on asking would else keep its connection, and the stop, until the time is up.
      if (this.stopping) response.shouldKeepAlive = false;
      options.handler(request, response);
    };
    this.server = options.tls
      ? createTlsServer({ ...settings, ...options.tls }, handler)
      : createServer(settings, handler);
    this.server.headersTimeout = options.headTimeoutMs;
    this.server.requestTimeout = 0; // a long upload is fine as long as it makes progress
    // Between threads of one process an idle connection stays: closing it could meet a request on its way.
    this.server.keepAliveTimeout = "path" in options.listen ? 0 : KEEP_ALIVE_MS;
    this.server.maxConnections = CONNECTIONS_MAX_COUNT;
    this.server.on("clientError", (error: NodeJS.ErrnoException, socket) => this.refuse(error, socket));
    // With TLS each has two, of which the inner one tells whether anything was asked.
    for (const event of ["connection", "secureConnection"]) {
      this.server.on(event, (socket: Socket) => {
        this.sockets.add(socket);
        socket.once("close", () => this.sockets.delete(socket));
      });
    }
  }

  /** Resolves with the port. Rejects with BAD_CONFIG when the address is taken or not this machine's. */
  async start(): Promise<number> {
    const { listen } = this.options;
    if ("path" in listen) return this.listen(listen);
    const { host, port, shared } = listen;
    if (!shared) return this.listen({ host, port });
    if (shared === "further") return this.listen({ host, port, reusePort: true });
    // The system would let another process share it as well, a second node even: that one is refused as ever.
    const free = await this.listen({ host, port });
    await new Promise((resolve) => this.server.close(resolve));
    return this.listen({ host, port: free, reusePort: true });
  }

  /**
   * What is no HTTP. Node.js would destroy the connection at once, and with bytes unread the client is reset before it has seen the answer: so
   * the rest is read and thrown away for a moment.
   */
  private refuse(error: NodeJS.ErrnoException, socket: Duplex): void {
    if (!socket.writable) {
      socket.destroy();
      return;
    }
    const status = STATUS_OF_PARSER_ERROR[error.code ?? ""] ?? "400 Bad Request";
    socket.end(`HTTP/1.1 ${status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`);
    socket.resume();
    const cancel = this.options.clock.timer(LINGER_MS, () => socket.destroy());
    socket.once("close", cancel).on("error", () => socket.destroy());
  }

  private listen(at: ListenOptions): Promise<number> {
    return new Promise((resolve, reject) => {
      const failed = (error: NodeJS.ErrnoException) => reject(cannotListen(at, error));
      this.server.once("error", failed);
      this.server.listen(at, () => {
        this.server.off("error", failed);
        const address = this.server.address();
        resolve(typeof address === "object" && address ? address.port : 0);
      });
    });
  }

  /** For connections from now on. Throws when the two are no pair; then the old ones stay. */
  renew(tls: { readonly cert: string; readonly key: string }): void {
    if (this.server instanceof TlsServer) this.server.setSecureContext(tls);
  }

  /**
   * Accepts nothing new, waits (bounded) for requests under way, then cuts what is left. Node.js closes the connections that are idle at this moment; one
   * that becomes so later, and one on which nothing was ever asked, would be waited for until the end of the time.
   */
  async stop(): Promise<void> {
    const { clock } = this.options;
    this.stopping = true;
    const cancel = clock.timer(STOP_TIMEOUT_MS, () => this.server.closeAllConnections());
    // In two steps: what node:http adds to this closes idle connections, and so it sees one to which the lane still sends.
    const closed = new Promise<void>((resolve) => NetServer.prototype.close.call(this.server, () => resolve()));
    await this.lane?.stop();
    this.server.close();
    let cancelLook: () => void = () => undefined;
    const closeUnused = () => {
      this.server.closeIdleConnections();
      for (const socket of this.sockets) if (socket.bytesRead === 0) socket.destroy();
      cancelLook = clock.timer(STOP_LOOK_EVERY_MS, closeUnused);
    };
    closeUnused();
    await closed;
    cancel();
    cancelLook();
  }
}

function cannotListen({ path, host, port }: ListenOptions, error: NodeJS.ErrnoException): CaskError {
  const hint =
    error.code === "EADDRINUSE" ? "another process listens there; set CASK_PORT" : "check CASK_HOST and CASK_PORT";
  const where = path === undefined ? `${host}:${port}` : "a socket of its own";
  return new CaskError("BAD_CONFIG", `cannot listen on ${where}: ${error.message} (${hint})`, error);
}
