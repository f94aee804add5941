import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Clock } from "../core/clock.ts";
import type { Key } from "../core/key.ts";
import { recycle } from "../core/piece-pool.ts";
import { type Fetch, type Lane, LaneConnection } from "./lane-connection.ts";
import { BLOB_HEADERS } from "./serve-blob.ts";

/** What fetches are answered from. */
export interface LaneBlobs {
  /** The verified bytes, if they lie in memory. */
  atHand(key: Key): Buffer | null;
  /** The verified bytes of a small blob, if they take one step. Null: node:http's handler is asked. Never rejects. */
  read(key: Key): Promise<Buffer | null>;
  /** `status`: of the answer, or "cut". */
  answered(status: string, seconds: number): void;
}

/** Labels of what is answered here. */
export const FETCH = { door: "file", method: "GET" };

export interface SocketLaneOptions {
  readonly blobs: LaneBlobs;
  /** For how long a connection may be idle, as node:http tells and keeps it. */
  readonly keepAliveMs: number;
  /** A client that takes no bytes for so long is cut off. */
  readonly stallMs: number;
  readonly clock: Pick<Clock, "nowMs" | "wallMs">;
}

const FIXED_HEADERS = Object.entries(BLOB_HEADERS)
  .map(([name, value]) => `${name}: ${value}\r\n`)
  .join("");

/**
 * Answers plain fetches of small blobs at the socket, which takes less than half of the time that node:http needs for its part alone.
 * Everything else goes on to node:http as it came, byte for byte and in order, and each connection is node:http's own to begin with.
 */
export class SocketLane {
  private readonly options: SocketLaneOptions;
  private readonly lane: Lane;
  private readonly connections = new WeakMap<Socket, LaneConnection>();
  private readonly waiting = new Set<LaneConnection>();
  private readonly unsent = new Set<Promise<void>>();
  private isStopped = false;
  private second = -1;
  private headEnd = "";

  constructor(options: SocketLaneOptions) {
    const { blobs, clock } = options;
    this.options = options;
    this.lane = {
      clock,
      isOpen: () => !this.isStopped,
      atHand: (key) => blobs.atHand(key),
      read: (key) => blobs.read(key),
      send: (socket, fetch, bytes) => this.send(socket, fetch, bytes),
      cut: (fetch) => this.answered(fetch, "cut"),
      waits: (connection, isWaiting) => void this.waiting[isWaiting ? "add" : "delete"](connection),
    };
  }

  /** node:http has read the head of a request: to be told of each. A connection takes part from its first fetch on. */
  begun(req: IncomingMessage, res: ServerResponse): void {
    const { socket } = req;
    let connection = this.connections.get(socket);
    if (!connection && req.method === "GET" && req.url?.startsWith("/file/")) {
      const [parse, ...others] = socket.listeners("data");
      if (!parse || others.length > 0) return; // not as node:http has it
      connection = new LaneConnection(socket, parse as (chunk: Buffer) => void, this.lane);
      this.connections.set(socket, connection);
    }
    connection?.begun(req, res);
  }

  /** Resolves when nothing of an answer is left to be sent. What is asked from now on, or waits for a read, is node:http's. */
  async stop(): Promise<void> {
    this.isStopped = true;
    for (const connection of this.waiting) connection.passWaiting();
    await Promise.all(this.unsent);
  }

  private send(socket: Socket, fetch: Fetch, bytes: Buffer): void {
    socket.cork(); // head and body in one call of the system
    socket.write(this.head(fetch.key, bytes.length), "latin1");
    socket.write(bytes);
    socket.uncork();
    const sent = (status: string) => {
      recycle(bytes);
      this.answered(fetch, status);
    };
    if (socket.writableLength === 0) sent("200");
    else this.watch(socket, sent);
  }

  /** A slow client: the system has not taken all of the answer. Until it has, nothing more is read, and the connection's time is the stall's alone. */
  private watch(socket: Socket, sent: (status: string) => void): void {
    const idleMs = socket.timeout ?? 0;
    socket.pause();
    socket.setTimeout(this.options.stallMs); // node:http destroys a connection whose time is up
    const ended = new Promise<void>((resolve) => {
      socket.write("", (error) => {
        socket.setTimeout(idleMs);
        socket.resume();
        sent(error ? "cut" : "200");
        resolve();
      });
    }).finally(() => this.unsent.delete(ended));
    this.unsent.add(ended);
  }

  private answered({ begunMs }: Fetch, status: string): void {
    const { blobs, clock } = this.options;
    blobs.answered(status, (clock.nowMs() - begunMs) / 1000);
  }

  /** As node:http writes it, with the headers that serve-blob.ts gives. */
  private head(key: Key, sizeBytes: number): string {
    const second = Math.floor(this.options.clock.wallMs() / 1000);
    if (second !== this.second) {
      this.second = second;
      const date = new Date(second * 1000).toUTCString();
      const keepAlive = `Keep-Alive: timeout=${Math.floor(this.options.keepAliveMs / 1000)}`;
      this.headEnd = `Date: ${date}\r\nConnection: keep-alive\r\n${keepAlive}\r\n\r\n`;
    }
    return `HTTP/1.1 200 OK\r\netag: "${key}"\r\n${FIXED_HEADERS}content-length: ${sizeBytes}\r\n${this.headEnd}`;
  }
}
