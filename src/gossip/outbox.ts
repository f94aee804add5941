import type { BroadcastQueue } from "./broadcast-queue.ts";
import { retransmitLimit } from "./formulas.ts";
import { type Member, type Members, maxProtocol } from "./members.ts";
import { encodeMessage } from "./message-encoder.ts";
import type { Endpoint, PacketMessage } from "./messages.ts";
import type { Effect, MemberEvent } from "./swim-contract.ts";

/** What a compound adds for each of its parts: the length. */
const PART_OVERHEAD_BYTES = 2;
/** A compound counts its parts in one byte. */
const PARTS_MAX_COUNT = 255;
/** The local profile's 2 lets every few news miss a node, which then waits for a push/pull: see docs/decisions/042. */
const RETRANSMIT_MULT_MIN = 4;
/** Who understands this protocol checks a checksum. */
const CRC_PROTOCOL = 5;

export interface OutboxOptions {
  readonly queue: BroadcastQueue;
  readonly members: Members;
  readonly retransmitMult: number;
  /** For all parts of a packet, with two bytes for the length of each. */
  readonly packetBytes: number;
}

/** What is to be done, collected while something is worked out. News is joined to packets that go anyway. */
export class Outbox {
  private readonly options: OutboxOptions;
  private effects: Effect[] = [];

  constructor(options: OutboxOptions) {
    this.options = options;
  }

  take(): Effect[] {
    const { effects } = this;
    this.effects = [];
    return effects;
  }

  add(effect: Effect): void {
    this.effects.push(effect);
  }

  tell(event: MemberEvent): void {
    this.effects.push({ do: "tell", event });
  }

  /** With as much news as fits; `name`: who is there, if that is known. memberlist adds no checksum here. */
  send(to: Endpoint, name: string | undefined, message: PacketMessage): void {
    const first = encodeMessage(message);
    const parts = [first, ...this.news(this.options.packetBytes - first.length - PART_OVERHEAD_BYTES, name)];
    this.effects.push({ do: "packet", to, parts, crc: false });
  }

  /** This message alone. */
  sendBare(to: Endpoint, message: PacketMessage): void {
    this.effects.push({ do: "packet", to, parts: [encodeMessage(message)], crc: false });
  }

  /** These messages in one packet, without news. */
  sendTogether(member: Member, messages: readonly PacketMessage[]): void {
    this.packetTo(member, messages.map(encodeMessage));
  }

  /** News alone. False when there is none. */
  sendNews(member: Member): boolean {
    const parts = this.news(this.options.packetBytes, member.name);
    if (parts.length > 0) this.packetTo(member, parts);
    return parts.length > 0;
  }

  private packetTo(member: Member, parts: readonly Uint8Array[]): void {
    const crc = maxProtocol(member) >= CRC_PROTOCOL;
    this.effects.push({ do: "packet", to: member.shown.endpoint, parts, crc });
  }

  private news(bytes: number, to: string | undefined): Uint8Array[] {
    const { queue, members, retransmitMult } = this.options;
    if (queue.size === 0) return [];
    const sendsMax = retransmitLimit(Math.max(retransmitMult, RETRANSMIT_MULT_MIN), members.count);
    return queue.take({ bytes, overheadBytes: PART_OVERHEAD_BYTES, maxCount: PARTS_MAX_COUNT - 1, sendsMax, to });
  }
}
