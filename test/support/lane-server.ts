import { subscribe, unsubscribe } from "node:diagnostics_channel";
import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { SystemClock } from "../../src/core/clock.ts";
import { CaskError } from "../../src/core/errors.ts";
import { type Key, keyOfBytes } from "../../src/core/key.ts";
import type { BlobDoor } from "../../src/http/serve-blob.ts";
import { serveBlob } from "../../src/http/serve-blob.ts";
import { HttpServer, type ServerOptions } from "../../src/http/server.ts";
import type { LaneBlobs } from "../../src/http/socket-lane.ts";
import { RawClient } from "./raw-client.ts";

export interface LaneServerOptions {
  /** False: everything is answered by node:http. */
  readonly hasLane?: boolean;
  readonly stallMs?: number;
  readonly headTimeoutMs?: number;
  readonly tls?: ServerOptions["tls"];
  /** In place of the answers that this class gives. */
  readonly handler?: RequestListener;
}

/** A real server with a few blobs, and what was answered by whom. */
export class LaneServer {
  /** In memory. */
  readonly blobs = new Map<Key, Buffer>();
  /** What has come to the handler. */
  readonly handled: string[] = [];
  /** What has been answered past it, or cut. */
  readonly answered: string[] = [];
  /** In place of a disk that has nothing. */
  read: LaneBlobs["read"] = async () => null;
  /** How often the lane has looked for a blob. */
  looked = 0;
  port = 0;
  readonly server: HttpServer;
  private readonly stallMs: number;
  private readonly sockets = new Map<number, Socket>();
  private readonly onSocket = (message: unknown) => {
    const { socket } = message as { socket: Socket };
    if (socket.localPort === this.port) this.sockets.set(socket.remotePort as number, socket);
  };

  constructor({ hasLane = true, stallMs = 5_000, headTimeoutMs = 30_000, tls, handler }: LaneServerOptions = {}) {
    this.stallMs = stallMs;
    const blobs: LaneBlobs = {
      atHand: (key) => {
        this.looked++;
        return this.blobs.get(key) ?? null;
      },
      read: (key) => this.read(key),
      answered: (status) => void this.answered.push(status),
    };
    this.server = new HttpServer({
      handler: (req, res) => {
        this.handled.push(`${req.method} ${req.url}`);
        (handler ?? ((...both) => this.answer(...both)))(req, res);
      },
      listen: { host: "127.0.0.1", port: 0 },
      headTimeoutMs,
      tls,
      clock: new SystemClock(),
      lane: hasLane ? { blobs, stallMs } : undefined,
    });
  }

  async start(): Promise<this> {
    subscribe("net.server.socket", this.onSocket);
    this.port = await this.server.start();
    return this;
  }

  async stop(): Promise<void> {
    unsubscribe("net.server.socket", this.onSocket);
    for (const socket of this.sockets.values()) socket.destroy();
    await this.server.stop();
  }

  add(bytes: Buffer): Key {
    const key = keyOfBytes(bytes);
    this.blobs.set(key, bytes);
    return key;
  }

  /** The other end of a client's connection. */
  endOf({ port }: RawClient): Socket {
    return this.sockets.get(port as number) as Socket;
  }

  /** Sends a piece, and waits until the server has it: what comes next is a piece of its own there. */
  async sendPiece(client: RawClient, piece: string): Promise<void> {
    const end = this.endOf(client);
    const count = end.bytesRead + piece.length;
    client.send(piece);
    while (end.bytesRead < count && !end.destroyed) await new Promise((resolve) => setImmediate(resolve));
  }

  /** A connection whose next fetch is the lane's to answer. */
  async activeClient(): Promise<RawClient> {
    const client = await RawClient.at(this.port);
    const key = this.add(Buffer.from("the first"));
    for (let i = 0; i < 2; i++) await client.ask(fetchOf(key));
    this.handled.length = 0;
    this.answered.length = 0;
    this.looked = 0;
    return client;
  }

  /** As a node does it: blobs, the length of a body, and errors for the rest. */
  answer(req: IncomingMessage, res: ServerResponse): void {
    const key = req.url?.split("/")[2] as Key;
    if (req.method === "POST") {
      void req.toArray().then((pieces) => res.end(`took ${Buffer.concat(pieces).length}\n`));
      return;
    }
    const open: BlobDoor["open"] = async () => ({ kind: "whole", sizeBytes: this.sizeOf(key), bytes: this.of(key) });
    const door: BlobDoor = {
      open,
      openRange: async (_key, sizeBytes, { start, end }) => {
        return { kind: "whole", sizeBytes, bytes: this.of(key).subarray(start, end + 1) };
      },
      size: async () => this.sizeOf(key),
    };
    serveBlob(req, res, { key, door, stallMs: this.stallMs }).catch(() => {
      if (!res.headersSent) res.writeHead(404, { "content-length": 7 }).end("absent\n");
    });
  }

  private of(key: Key): Buffer {
    const bytes = this.blobs.get(key);
    if (!bytes) throw new CaskError("NOT_FOUND", "absent");
    return bytes;
  }

  private sizeOf(key: Key): number {
    return this.of(key).length;
  }
}

/** The plainest fetch. `more`: further header lines. */
export function fetchOf(key: string, more = ""): string {
  return `GET /file/${key}/ HTTP/1.1\r\nhost: x\r\n${more}\r\n`;
}
