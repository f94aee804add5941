import type { Endpoint } from "./messages.ts";

/** One TCP connection of gossip: bytes in, bytes out, then the end. */
export interface GossipStream {
  /** What the other side sends, until it ends its half. Rejects when the connection breaks. */
  readonly chunks: AsyncIterable<Uint8Array>;
  /** Sends these bytes and ends our half. */
  end(bytes: Uint8Array): void;
  /** Gives the connection up, at once. */
  destroy(): void;
}

export interface TransportHandlers {
  packet(bytes: Uint8Array, from: Endpoint): void;
  stream(stream: GossipStream): void;
}

/** Packets and connections between gossip ports; handed in, so that tests can cut, lose and delay. */
export interface GossipTransport {
  /** Resolves with the port, the same for packets and streams. Rejects with BAD_CONFIG when it can't be had. */
  start(handlers: TransportHandlers): Promise<number>;
  /** As UDP does: it may be lost, and nobody is told. */
  send(to: Endpoint, packet: Uint8Array): void;
  /** Rejects with PEER_FAILED. The signal ends the connection, also after it was made. */
  dial(to: Endpoint, signal: AbortSignal): Promise<GossipStream>;
  stop(): Promise<void>;
}
