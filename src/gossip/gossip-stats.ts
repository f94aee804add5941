import type { MessageTypeName } from "./message-types.ts";

export interface Traffic {
  readonly count: number;
  readonly bytes: number;
}

export interface GossipStatsSnapshot {
  readonly packetsIn: Traffic;
  readonly packetsOut: Traffic;
  readonly streamBytesIn: number;
  readonly streamBytesOut: number;
  /**
   * By type. The bytes of a message in a packet are its own: no checksum, no encryption, not compressed, as it shares these with others. Over
   * TCP they are all that the connection carried in that direction, as it carries one message.
   */
  readonly messagesIn: Readonly<Partial<Record<MessageTypeName, Traffic>>>;
  readonly messagesOut: Readonly<Partial<Record<MessageTypeName, Traffic>>>;
  readonly drops: Readonly<Record<string, number>>;
}

/** Counts things and their bytes by type. */
class TrafficByType {
  private readonly byType = new Map<MessageTypeName, { count: number; bytes: number }>();

  add(type: MessageTypeName, bytes: number): void {
    const { count, bytes: before } = this.byType.get(type) ?? { count: 0, bytes: 0 };
    this.byType.set(type, { count: count + 1, bytes: before + bytes });
  }

  snapshot(): Readonly<Partial<Record<MessageTypeName, Traffic>>> {
    return Object.fromEntries(this.byType);
  }
}

/** What went through the gossip port since the start. The names of all maps come from fixed lists. */
export class GossipStats {
  private readonly packets = { in: { count: 0, bytes: 0 }, out: { count: 0, bytes: 0 } };
  private readonly streamBytes = { in: 0, out: 0 };
  private readonly messages = { in: new TrafficByType(), out: new TrafficByType() };
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

  messageIn(type: MessageTypeName, bytes: number): void {
    this.messages.in.add(type, bytes);
  }

  messageOut(type: MessageTypeName, bytes: number): void {
    this.messages.out.add(type, bytes);
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
      messagesIn: this.messages.in.snapshot(),
      messagesOut: this.messages.out.snapshot(),
      drops: Object.fromEntries(this.drops),
    };
  }
}
