import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Clock } from "../core/clock.ts";
import type { Key } from "../core/key.ts";
import { recycle } from "../core/piece-pool.ts";
import { endsWhereAHeadEnds, PLAIN_HEAD_MAX_BYTES, plainFetch } from "./plain-fetch.ts";

/** What a connection's fetches are answered by. */
export interface Lane {
  readonly clock: Pick<Clock, "nowMs">;
  /** False: everything is node:http's. */
  isOpen(): boolean;
  atHand(key: Key): Buffer | null;
  /** Null: node:http is to answer. Never rejects. */
  read(key: Key): Promise<Buffer | null>;
  send(socket: Socket, fetch: Fetch, bytes: Buffer): void;
  /** The client has gone. */
  cut(fetch: Fetch): void;
  /** The connection waits for a read; or no longer. */
  waits(connection: LaneConnection, isWaiting: boolean): void;
}

export interface Fetch {
  readonly key: Key;
  readonly begunMs: number;
}

interface Received {
  readonly chunk: Buffer;
  readonly text: string;
}

/** Headers behind which the parser need not be at the beginning of a request. */
const GOING_ON = ["content-length", "transfer-encoding", "upgrade"];

/**
 * One connection, whose bytes come here before the parser of node:http sees them. A fetch is taken out of them when it is certain that the parser is
 * between two requests, and that node:http has nothing to send.
 */
export class LaneConnection {
  private readonly socket: Socket;
  private readonly parse: (chunk: Buffer) => void;
  private readonly lane: Lane;
  private begunCount = 0;
  private underWay = 0;
  /** With a body, or with an upgrade, behind which the parser may drop bytes without a word. */
  private lastGoesOn = false;
  /** Is what comes next the beginning of a request, for certain? */
  private isAtStart = false;
  /** A fetch that waits for its bytes. */
  private waiting: Received | null = null;

  /** `parse`: as node:http listens to the socket's data; from now on it is told through here. */
  constructor(socket: Socket, parse: (chunk: Buffer) => void, lane: Lane) {
    this.socket = socket;
    this.parse = parse;
    this.lane = lane;
    socket.on("data", (chunk: Buffer) => this.take(chunk));
    socket.off("data", parse);
  }

  /** node:http has read the head of a request. */
  begun({ headers }: IncomingMessage, res: ServerResponse): void {
    this.begunCount++;
    this.lastGoesOn = GOING_ON.some((name) => headers[name] !== undefined);
    this.underWay++;
    res.once("close", () => this.underWay--);
  }

  /** A fetch that waits goes to node:http in its turn. */
  passWaiting(): void {
    const { waiting } = this;
    if (!waiting) return;
    this.wait(null);
    this.pass(waiting);
  }

  private take(chunk: Buffer): void {
    this.passWaiting(); // its answer comes first, and this is for node:http to see to
    const text = chunk.length <= PLAIN_HEAD_MAX_BYTES ? chunk.toString("latin1") : "";
    const key = this.isFree() ? plainFetch(text) : null;
    if (key === null) this.pass({ chunk, text });
    else this.fetch(key, { chunk, text });
  }

  private isFree(): boolean {
    const { socket } = this;
    const isIdle = this.isAtStart && this.underWay === 0;
    return isIdle && socket.writableLength === 0 && socket.writable && this.lane.isOpen();
  }

  private fetch(key: Key, received: Received): void {
    const { lane, socket } = this;
    const fetch = { key, begunMs: lane.clock.nowMs() };
    const bytes = lane.atHand(key);
    if (bytes) {
      lane.send(socket, fetch, bytes);
      return;
    }
    this.wait(received);
    void lane.read(key).then((read) => this.found(fetch, received, read));
  }

  private found(fetch: Fetch, received: Received, read: Buffer | null): void {
    const { lane, socket } = this;
    const isWaiting = this.waiting === received;
    if (isWaiting) this.wait(null);
    if (isWaiting && read && socket.writable) {
      lane.send(socket, fetch, read);
      return;
    }
    if (read) recycle(read);
    if (!isWaiting) return; // node:http has it
    if (socket.writable) this.pass(received);
    else lane.cut(fetch);
  }

  private wait(received: Received | null): void {
    this.waiting = received;
    this.lane.waits(this, received !== null);
  }

  private pass({ chunk, text }: Received): void {
    const before = this.begunCount;
    this.parse.call(this.socket, chunk);
    // The head of one request ended in these bytes, which it can do at their end alone, and it has no body: whatever was in the parser before,
    // nothing is left in it.
    this.isAtStart = this.begunCount === before + 1 && !this.lastGoesOn && endsWhereAHeadEnds(text);
  }
}
