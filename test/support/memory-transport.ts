import { CaskError } from "../../src/core/errors.ts";
import { formatEndpoint } from "../../src/gossip/endpoint.ts";
import type { Endpoint } from "../../src/gossip/messages.ts";
import type { GossipStream, GossipTransport, TransportHandlers } from "../../src/gossip/transport.ts";

/** Gossip ports in one process; packets and connections go where `connected` lets them. */
export class MemoryNetwork {
  /** By gossip address. `how`: UDP or TCP. */
  connected: (from: string, to: string, how: "packet" | "stream") => boolean = () => true;
  readonly listening = new Map<string, { endpoint: Endpoint; handlers: TransportHandlers }>();
  packets = 0;
  private used = 0;

  transport(): { transport: GossipTransport; endpoint: Endpoint } {
    this.used++;
    const endpoint = { addr: Uint8Array.of(10, 0, this.used >> 8, this.used & 255), port: 7946 };
    return { transport: new MemoryTransport(this, endpoint), endpoint };
  }
}

class MemoryTransport implements GossipTransport {
  private readonly network: MemoryNetwork;
  private readonly endpoint: Endpoint;

  constructor(network: MemoryNetwork, endpoint: Endpoint) {
    this.network = network;
    this.endpoint = endpoint;
  }

  async start(handlers: TransportHandlers): Promise<number> {
    this.network.listening.set(formatEndpoint(this.endpoint), { endpoint: this.endpoint, handlers });
    return this.endpoint.port;
  }

  send(to: Endpoint, packet: Uint8Array): void {
    this.network.packets++;
    const target = this.reach(to, "packet");
    const bytes = Buffer.from(packet);
    if (target) setImmediate(() => target.packet(bytes, this.endpoint));
  }

  async dial(to: Endpoint, signal: AbortSignal): Promise<GossipStream> {
    signal.throwIfAborted();
    const target = this.reach(to, "stream");
    if (!target) throw new CaskError("PEER_FAILED", `${formatEndpoint(to)} cannot be reached`);
    const [mine, theirs] = [new Half(), new Half()];
    mine.other = theirs;
    theirs.other = mine;
    signal.addEventListener("abort", () => mine.destroy(), { once: true });
    setImmediate(() => target.stream(theirs));
    return mine;
  }

  async stop(): Promise<void> {
    this.network.listening.delete(formatEndpoint(this.endpoint));
  }

  private reach(to: Endpoint, how: "packet" | "stream"): TransportHandlers | undefined {
    const [from, target] = [formatEndpoint(this.endpoint), formatEndpoint(to)];
    if (!this.network.connected(from, target, how)) return undefined;
    return this.network.listening.get(target)?.handlers;
  }
}

/** One end of a connection: the other one reads what it is ended with. */
class Half implements GossipStream {
  other: Half | undefined;
  private readonly received: Promise<Uint8Array | null>;
  private settle: (bytes: Uint8Array | null) => void = () => undefined;

  constructor() {
    this.received = new Promise((resolve) => {
      this.settle = resolve;
    });
  }

  get chunks(): AsyncIterable<Uint8Array> {
    const { received } = this;
    return (async function* () {
      const bytes = await received;
      if (bytes === null) throw new Error("the connection broke");
      yield bytes;
    })();
  }

  end(bytes: Uint8Array): void {
    const copy = Buffer.from(bytes);
    setImmediate(() => this.other?.settle(copy));
  }

  destroy(): void {
    this.settle(null);
    this.other?.settle(null);
  }
}
