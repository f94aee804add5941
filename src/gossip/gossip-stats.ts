import type { PacketMessage, StreamMessage } from "./messages.ts";

export interface Traffic {
  readonly count: number;
  readonly bytes: number;
}

export interface GossipStatsSnapshot {
  readonly packetsIn: Traffic;
  readonly packetsOut: Traffic;
  readonly streamBytesIn: number;
  readonly streamBytesOut: number;
  readonly messagesIn: Readonly<Record<string, number>>;
  readonly drops: Readonly<Record<string, number>>;
}

/** What went through the gossip port since the start. The names of both maps come from fixed lists. */
export class GossipStats {
  private readonly packets = { in: { count: 0, bytes: 0 }, out: { count: 0, bytes: 0 } };
  private readonly streamBytes = { in: 0, out: 0 };
  private readonly messages = new Map<string, number>();
  private readonly drops = new Map<string, number>();

  packetIn(bytes: number): void {
    this.packets.in.count++;
    this.packets.in.bytes += bytes;
  }

  packetOut(bytes: number): void {
    this.packets.out.count++;
    this.packets.out.bytes += bytes;
  }

  streamIn(bytes: number): void {
    this.streamBytes.in += bytes;
  }

  streamOut(bytes: number): void {
    this.streamBytes.out += bytes;
  }

  messageIn(type: (PacketMessage | StreamMessage)["type"]): void {
    this.messages.set(type, (this.messages.get(type) ?? 0) + 1);
  }

  dropped(reason: string): void {
    this.drops.set(reason, (this.drops.get(reason) ?? 0) + 1);
  }

  snapshot(): GossipStatsSnapshot {
    return {
      packetsIn: { ...this.packets.in },
      packetsOut: { ...this.packets.out },
      streamBytesIn: this.streamBytes.in,
      streamBytesOut: this.streamBytes.out,
      messagesIn: Object.fromEntries(this.messages),
      drops: Object.fromEntries(this.drops),
    };
  }
}
