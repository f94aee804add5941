import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Clock } from "../core/clock.ts";
import type { Key } from "../core/key.ts";
import { recycle } from "../core/piece-pool.ts";
import { endsWhereAHeadEnds, PLAIN_HEAD_MAX_BYTES, plainFetch } from "./plain-fetch.ts";
import { BLOB_HEADERS } from "./serve-blob.ts";

/** What fetches are answered from. */
export interface LaneBlobs {
  /** The verified bytes, if they lie in memory. Null: node:http's handler is asked. */
  atHand(key: Key): Buffer | null;
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

/**
 * Answers plain fetches of blobs in memory at the socket, which takes less than half of the time that node:http needs for its part alone.
 * Everything else goes on to node:http as it came, byte for byte and in order, and each connection is node:http's own to begin with.
 */
export class SocketLane {
  private readonly options: SocketLaneOptions;
  private readonly connections = new WeakMap<Socket, LaneConnection>();
  private readonly unsent = new Set<Promise<void>>();
  private isStopped = false;
  private second = -1;
  private headEnd = "";

  constructor(options: SocketLaneOptions) {
    this.options = options;
  }

  /** node:http has read the head of a request: to be told of each. A connection takes part from its first fetch on. */
  begun(req: IncomingMessage, res: ServerResponse): void {
    const { socket } = req;
    let connection = this.connections.get(socket);
    if (!connection && !this.isStopped && req.method === "GET" && req.url?.startsWith("/file/")) {
      const [parse, ...others] = socket.listeners("data");
      if (!parse || others.length > 0) return; // not as node:http has it
      connection = new LaneConnection(socket, parse as (chunk: Buffer) => void, (key) => this.answer(socket, key));
      this.connections.set(socket, connection);
    }
    connection?.begun(req, res);
  }

  /** Resolves when nothing of an answer is left to be sent. Whatever is asked from now on is node:http's. */
  async stop(): Promise<void> {
    this.isStopped = true;
    await Promise.all(this.unsent);
  }

  /** False: nothing was done. */
  private answer(socket: Socket, key: Key): boolean {
    const { blobs, clock } = this.options;
    if (this.isStopped) return false;
    const begunMs = clock.nowMs();
    const bytes = blobs.atHand(key);
    if (!bytes) return false;
    socket.cork(); // head and body in one call of the system
    socket.write(this.head(key, bytes.length), "latin1");
    socket.write(bytes);
    socket.uncork();
    const ended = (status: string) => {
      recycle(bytes);
      blobs.answered(status, (clock.nowMs() - begunMs) / 1000);
    };
    if (socket.writableLength === 0) ended("200");
    else this.watch(socket, ended);
    return true;
  }

  /** A slow client: the system has not taken all of the answer. */
  private watch(socket: Socket, ended: (status: string) => void): void {
    const idleMs = socket.timeout ?? 0;
    socket.setTimeout(this.options.stallMs); // node:http destroys a connection whose time is up
    const sent = new Promise<void>((resolve) => {
      socket.write("", (error) => {
        socket.setTimeout(idleMs);
        ended(error ? "cut" : "200");
        resolve();
      });
    }).finally(() => this.unsent.delete(sent));
    this.unsent.add(sent);
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

const FIXED_HEADERS = Object.entries(BLOB_HEADERS)
  .map(([name, value]) => `${name}: ${value}\r\n`)
  .join("");

/** One connection, whose bytes come here before node:http's parser sees them. */
class LaneConnection {
  private readonly socket: Socket;
  private readonly parse: (chunk: Buffer) => void;
  private readonly answer: (key: Key) => boolean;
  private begunCount = 0;
  private underWay = 0;
  private lastHasBody = false;
  /** Is it certain that what comes next is the beginning of a request? */
  private isAtStart = false;

  constructor(socket: Socket, parse: (chunk: Buffer) => void, answer: (key: Key) => boolean) {
    this.socket = socket;
    this.parse = parse;
    this.answer = answer;
    socket.on("data", (chunk: Buffer) => this.take(chunk));
    socket.off("data", parse);
  }

  begun({ headers }: IncomingMessage, res: ServerResponse): void {
    this.begunCount++;
    this.lastHasBody = headers["content-length"] !== undefined || headers["transfer-encoding"] !== undefined;
    this.underWay++;
    res.once("close", () => this.underWay--);
  }

  private take(chunk: Buffer): void {
    const text = chunk.length <= PLAIN_HEAD_MAX_BYTES ? chunk.toString("latin1") : "";
    const { socket } = this;
    if (this.isAtStart && this.underWay === 0 && socket.writableLength === 0 && socket.writable) {
      const key = plainFetch(text);
      if (key !== null && this.answer(key)) return;
    }
    const before = this.begunCount;
    this.parse.call(socket, chunk);
    // The head of one request ended in these bytes, which it can do at their end alone, and it has no body: whatever was in the parser before,
    // nothing is left in it.
    this.isAtStart = this.begunCount === before + 1 && !this.lastHasBody && endsWhereAHeadEnds(text);
  }
}
