import type { RequestListener } from "node:http";
import type { Clock } from "../core/clock.ts";
import { HttpServer, type ServerOptions } from "./server.ts";
import type { TlsPair } from "./serving-messages.ts";
import type { ServingThreads } from "./serving-threads.ts";

export interface NodeServerOptions {
  readonly handler: RequestListener;
  readonly host: string;
  readonly port: number;
  readonly tls: TlsPair | undefined;
  readonly headTimeoutMs: number;
  readonly lane: ServerOptions["lane"];
  readonly clock: Clock;
  /** Null: this thread serves alone. `ownerPath`: where it listens for what the others pass on. */
  readonly others: { readonly threads: ServingThreads; readonly ownerPath: string } | null;
}

/** All that listens for requests of one node: in this thread, which owns the data, and in others beside it. */
export class NodeServer {
  private readonly server: HttpServer;
  private readonly ofOwner: HttpServer | undefined;
  private readonly threads: ServingThreads | undefined;

  constructor({ host, port, tls, others, ...options }: NodeServerOptions) {
    const listen = { host, port, ...(others ? { shared: "first" as const } : {}) };
    this.server = new HttpServer({ ...options, tls, listen });
    if (!others) return;
    this.threads = others.threads;
    this.ofOwner = new HttpServer({ ...options, lane: undefined, tls: undefined, listen: { path: others.ownerPath } });
  }

  /** Resolves with the port. Rejects with BAD_CONFIG when the address is taken or not this machine's. */
  async start(): Promise<number> {
    await this.ofOwner?.start();
    const port = await this.server.start();
    await this.threads?.start(port);
    return port;
  }

  /** For connections from now on. Throws when the two are no pair; then the old ones stay. */
  renew(tls: TlsPair): void {
    this.server.renew(tls);
    this.threads?.renew(tls);
  }

  /** Accepts nothing new, waits (bounded) for requests under way. */
  async stop(): Promise<void> {
    await Promise.all([this.server.stop(), this.threads?.stop()]);
    await this.ofOwner?.stop();
  }
}
