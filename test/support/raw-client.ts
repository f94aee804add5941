import { once } from "node:events";
import { connect, type Socket } from "node:net";

/** An answer as it came over the connection. */
export interface RawAnswer {
  readonly status: number;
  /** Without the line that tells the time, which differs from one answer to the next. */
  readonly head: string;
  readonly body: Buffer;
}

/** A client that writes what it is told to, in the pieces it is told to. */
export class RawClient {
  readonly socket: Socket;
  /** Of this end, which is known by it also when it is closed. */
  readonly port: number | undefined;
  readonly closed: Promise<unknown>;
  private pieces: Buffer[] = [];
  private isClosed = false;
  private changed: () => void = () => undefined;

  constructor(socket: Socket) {
    this.socket = socket;
    this.port = socket.localPort;
    this.closed = new Promise<void>((resolve) => {
      socket.once("close", () => {
        this.isClosed = true;
        this.changed();
        resolve();
      });
    });
    socket.on("error", () => undefined); // to be cut off is what some of the tests are about
    socket.on("data", (piece: Buffer) => {
      this.pieces.push(piece);
      this.changed();
    });
  }

  static async at(port: number): Promise<RawClient> {
    const socket = connect({ port, host: "127.0.0.1", noDelay: true });
    await once(socket, "connect");
    return new RawClient(socket);
  }

  /** In one piece. */
  send(text: string | Buffer): void {
    this.socket.write(text, "latin1");
  }

  /** All that came and was not taken. */
  get received(): Buffer {
    const all = Buffer.concat(this.pieces);
    this.pieces = [all];
    return all;
  }

  /** Null: the connection was closed before it was there. `isHead`: an answer without a body, whatever it says. */
  async answer({ isHead = false } = {}): Promise<RawAnswer | null> {
    while (true) {
      const end = this.received.indexOf("\r\n\r\n") + 4;
      const head = this.received.toString("latin1", 0, end);
      const length = isHead ? 0 : Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1] ?? 0);
      if (end > 4 && (await this.has(end + length))) {
        const all = this.received;
        this.pieces = [all.subarray(end + length)];
        return { status: Number(head.slice(9, 12)), head: withoutDates(head), body: all.subarray(end, end + length) };
      }
      if (this.isClosed) return null;
      await this.change();
    }
  }

  async ask(text: string, { isHead = false } = {}): Promise<RawAnswer | null> {
    this.send(text);
    return this.answer({ isHead });
  }

  private async has(count: number): Promise<boolean> {
    let there = this.received.length;
    while (there < count && !this.isClosed) {
      await this.change();
      there = this.pieces.reduce((sum, { length }) => sum + length, 0); // large answers come in many pieces
    }
    return there >= count;
  }

  private async change(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.changed = resolve;
    await promise;
  }
}

export function withoutDates(text: string): string {
  return text.replaceAll(/\r\nDate: [^\r]*/gi, "");
}
