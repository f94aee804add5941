import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { keyOfBytes } from "../../src/core/key.ts";
import { collect } from "./store-blob.ts";

/** Answers that fit into this carry a length: a Go server sends longer ones in chunks, without. */
const GO_BUFFER_BYTES = 2_048;

export interface GoRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage["headers"];
}

/**
 * Behaves over HTTP as a Go Cask node does: the plain secret or 403; a file is filed under its own hash; what exists is not looked at; HEAD
 * tells no length; no ranges; errors are lines of text. It gossips nothing.
 */
export class FakeGoNode {
  readonly secret: string;
  readonly blobs = new Map<string, Buffer>();
  readonly requests: GoRequest[] = [];
  writeable = true;
  /** Answers in place of the usual one. */
  override: ((req: IncomingMessage, res: ServerResponse) => void) | undefined;
  /** Bodies that broke off: nothing of them is kept. */
  brokenUploads = 0;
  headsAtOnce = 0;
  private readonly server: Server;
  private headsNow = 0;

  private constructor(secret: string) {
    this.secret = secret;
    this.server = createServer((req, res) => void this.answer(req, res));
  }

  static async start(secret: string): Promise<FakeGoNode> {
    const node = new FakeGoNode(secret);
    node.server.listen(0, "127.0.0.1");
    await once(node.server, "listening");
    return node;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  store(bytes: Buffer): string {
    const key = keyOfBytes(bytes);
    this.blobs.set(key, bytes);
    return key;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((done) => this.server.close(done));
  }

  private async answer(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const { method = "", url = "", headers } = req;
    this.requests.push({ method, path: url, headers });
    if (this.override) return this.override(req, res);
    if (headers["x-cask-cluster-secret"] !== this.secret) return fail(res, 403, "sorry, need the secret knock");
    if (method === "POST" && url === "/local/") return this.post(req, res);
    const key = /^\/local\/([^/]+)\/$/.exec(url)?.[1];
    if (key === undefined || !["GET", "HEAD"].includes(method)) return fail(res, 405, "Method Not Allowed");
    if (method === "HEAD") await this.pauseInHead();
    const bytes = this.blobs.get(key);
    if (!bytes) return fail(res, 404, "not found\n");
    res.setHeader("content-type", "application/octet").setHeader("etag", `"${key}"`);
    if (method === "HEAD") return void res.end();
    if (bytes.length <= GO_BUFFER_BYTES) res.setHeader("content-length", bytes.length);
    else res.flushHeaders(); // from now on it is chunked
    res.end(bytes);
  }

  private async post(req: IncomingMessage, res: ServerResponse): Promise<void> {
    if (!this.writeable) return fail(res, 503, "this node is read-only");
    try {
      const body = await collect(req);
      const type = req.headers["content-type"] ?? "";
      const form = await new Response(body as Uint8Array<ArrayBuffer>, {
        headers: { "content-type": type },
      }).formData();
      const bytes = Buffer.from(await (form.get("file") as File).arrayBuffer());
      const key = keyOfBytes(bytes);
      if (!this.blobs.has(key)) this.blobs.set(key, bytes);
      res.setHeader("content-type", "text/plain; charset=utf-8").end(key);
    } catch (_broken) {
      this.brokenUploads++;
      res.destroy();
    }
  }

  private async pauseInHead(): Promise<void> {
    this.headsNow++;
    this.headsAtOnce = Math.max(this.headsAtOnce, this.headsNow);
    await sleep(2);
    this.headsNow--;
  }
}

function fail(res: ServerResponse, status: number, text: string): void {
  res.writeHead(status, { "content-type": "text/plain; charset=utf-8", "content-length": text.length });
  res.end(res.req.method === "HEAD" ? undefined : text);
}
