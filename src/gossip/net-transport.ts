import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, isIPv6, type Server, type Socket } from "node:net";
import { CaskError, messageOf, systemCode } from "../core/errors.ts";
import { GOSSIP_STREAMS_MAX_COUNT } from "../core/limits.ts";
import { addrOf, formatEndpoint, hostOf } from "./endpoint.ts";
import type { Endpoint } from "./messages.ts";
import type { GossipStream, GossipTransport, TransportHandlers } from "./transport.ts";

export interface NetTransportOptions {
  /** Address to bind. */
  readonly host: string;
  /** 0: any that is free. */
  readonly port: number;
}

const FREE_PORT_TRIES = 20;

/** UDP and TCP on one port of this machine. */
export class NetTransport implements GossipTransport {
  private readonly options: NetTransportOptions;
  private readonly sockets = new Set<Socket>();
  private server: Server | undefined;
  private udp: UdpSocket | undefined;

  constructor(options: NetTransportOptions) {
    this.options = options;
  }

  async start(handlers: TransportHandlers): Promise<number> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.listen(handlers);
      } catch (error) {
        await this.stop();
        // TCP chose a free port that UDP does not have: the next one may suit both.
        if (this.options.port === 0 && systemCode(error) === "EADDRINUSE" && attempt < FREE_PORT_TRIES) continue;
        throw this.cannotListen(error);
      }
    }
  }

  send(to: Endpoint, packet: Uint8Array): void {
    const host = hostOf(to.addr);
    if (host === "" || to.port === 0) return;
    // A socket of IPv6 takes an IPv4 address in its own notation only.
    const target = isIPv6(this.options.host) && !isIPv6(host) ? `::ffff:${host}` : host;
    // Errors (unreachable, too long) are what UDP may do with any packet: probes find out.
    this.udp?.send(packet, to.port, target, () => undefined);
  }

  async dial(to: Endpoint, signal: AbortSignal): Promise<GossipStream> {
    signal.throwIfAborted();
    const socket = connect({ host: hostOf(to.addr), port: to.port });
    const stop = () => socket.destroy();
    signal.addEventListener("abort", stop, { once: true });
    socket.once("close", () => signal.removeEventListener("abort", stop));
    try {
      await once(socket, "connect", { signal });
      return this.streamOf(socket);
    } catch (error) {
      socket.destroy();
      signal.throwIfAborted();
      throw new CaskError("PEER_FAILED", `gossip port ${formatEndpoint(to)}: ${messageOf(error)}`, error);
    }
  }

  async stop(): Promise<void> {
    const { server, udp } = this;
    this.server = undefined;
    this.udp = undefined;
    for (const socket of this.sockets) socket.destroy();
    if (server?.listening) await new Promise<void>((resolve) => server.close(() => resolve()));
    if (udp) await new Promise<void>((resolve) => udp.close(() => resolve()));
  }

  private async listen(handlers: TransportHandlers): Promise<number> {
    const { host, port } = this.options;
    const server = createServer({ allowHalfOpen: true }, (socket) => handlers.stream(this.streamOf(socket)));
    server.maxConnections = GOSSIP_STREAMS_MAX_COUNT;
    this.server = server;
    server.listen(port, host);
    await once(server, "listening");
    const bound = (server.address() as AddressInfo).port;
    const udp = createSocket({ type: isIPv6(host) ? "udp6" : "udp4" });
    udp.on("message", (bytes, { address, port: senderPort }) => {
      const addr = addrOf(address);
      if (addr) handlers.packet(bytes, { addr, port: senderPort });
    });
    this.udp = udp;
    udp.bind(bound, host);
    await once(udp, "listening");
    udp.on("error", () => undefined); // of single packets (ICMP): as lost
    return bound;
  }

  private streamOf(socket: Socket): GossipStream {
    this.sockets.add(socket);
    socket.once("close", () => this.sockets.delete(socket));
    socket.on("error", () => undefined); // told by the iterator to who reads
    return {
      // Who has read one message still has an answer to send: leaving the loop must not end the connection.
      chunks: { [Symbol.asyncIterator]: () => socket.iterator({ destroyOnReturn: false }) },
      end: (bytes) => void socket.end(bytes),
      destroy: () => void socket.destroy(),
    };
  }

  private cannotListen(error: unknown): CaskError {
    const { host, port } = this.options;
    const hint =
      systemCode(error) === "EADDRINUSE"
        ? "another process has it; set CASK_GOSSIP_PORT"
        : "check CASK_HOST and CASK_GOSSIP_PORT";
    return new CaskError("BAD_CONFIG", `cannot gossip on ${host}:${port}: ${messageOf(error)} (${hint})`, error);
  }
}

/** Did a dial fail because nobody listens there? Then the machine was reached. */
export function isRefusedConnection(error: unknown): boolean {
  return error instanceof CaskError && systemCode(error.cause) === "ECONNREFUSED";
}
