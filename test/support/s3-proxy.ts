import { once } from "node:events";
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/**
 * What happens to a request on its way. `refuse`: that status, and it goes nowhere. `lose`: it is done, and that status is answered. `cut`: the
 * connection ends in the middle of the answer. `shorten`: the answer's end is missing, and its length is told accordingly. `delay`: it
 * arrives so much later, whether anybody still waits for the answer or not.
 */
export type ProxyFault =
  | { readonly kind: "refuse" | "lose"; readonly status: number }
  | { readonly kind: "cut" | "shorten" }
  | { readonly kind: "delay"; readonly ms: number };

/** Stands before an S3 server and spoils what passes. */
export class S3Proxy {
  fault: (message: IncomingMessage) => ProxyFault | undefined = () => undefined;
  /** Faults made, by kind. */
  readonly made: Record<string, number> = {};
  private readonly server: Server;
  private readonly target: URL;
  private readonly underWay = new Set<Promise<void>>();

  private constructor(target: string) {
    this.target = new URL(target);
    this.server = createServer((message, response) => {
      const work = this.pass(message, response).catch(() => void response.destroy());
      this.underWay.add(work);
      void work.finally(() => this.underWay.delete(work));
    });
  }

  static async start(target: string): Promise<S3Proxy> {
    const proxy = new S3Proxy(target);
    proxy.server.listen(0, "127.0.0.1");
    await once(proxy.server, "listening");
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Waits for what is still on its way. */
  async settled(): Promise<void> {
    while (this.underWay.size > 0) await Promise.all([...this.underWay]);
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((done) => this.server.close(done));
  }

  private async pass(message: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on("error", () => undefined);
    const body = await collect(message);
    const fault = this.fault(message);
    if (fault) this.made[fault.kind] = (this.made[fault.kind] ?? 0) + 1;
    if (fault?.kind === "refuse") return answerError(response, fault.status);
    if (fault?.kind === "delay") await sleep(fault.ms);
    const outgoing = request({
      hostname: this.target.hostname,
      port: this.target.port,
      method: message.method,
      path: message.url,
      headers: message.headers,
    });
    outgoing.end(body);
    const [incoming] = (await once(outgoing, "response")) as [IncomingMessage];
    const answer = await collect(incoming);
    if (fault?.kind === "lose") return answerError(response, fault.status);
    send(message, response, { incoming, answer, fault });
  }
}

function send(
  message: IncomingMessage,
  response: ServerResponse,
  { incoming, answer, fault }: { incoming: IncomingMessage; answer: Buffer; fault: ProxyFault | undefined },
): void {
  const headers = { ...incoming.headers };
  delete headers["transfer-encoding"];
  const shown = fault?.kind === "shorten" ? answer.subarray(0, Math.floor(answer.length / 2)) : answer;
  if (message.method !== "HEAD") headers["content-length"] = String(shown.length);
  else if (fault?.kind === "shorten")
    headers["content-length"] = String(Math.floor(Number(headers["content-length"]) / 2));
  if (fault?.kind === "cut" && answer.length < 2) return void response.destroy();
  response.writeHead(incoming.statusCode ?? 500, headers);
  if (fault?.kind !== "cut") return void response.end(shown);
  response.write(answer.subarray(0, Math.floor(answer.length / 2)), () => setTimeout(() => response.destroy(), 5));
}

function answerError(response: ServerResponse, status: number): void {
  const code = status === 503 ? "SlowDown" : "InternalError";
  response.writeHead(status, { "content-type": "application/xml" });
  response.end(`<?xml version="1.0"?><Error><Code>${code}</Code><Message>on purpose</Message></Error>`);
}

async function collect(stream: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of stream) parts.push(part as Buffer);
  return Buffer.concat(parts);
}
