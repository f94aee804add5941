import { type Random, SeededRandom } from "../../src/core/random.ts";
import { deriveGossipKey, Keyring } from "../../src/gossip/keyring.ts";
import { decodeMessage } from "../../src/gossip/message-decoder.ts";
import { encodeMessage, encodeStreamMessage } from "../../src/gossip/message-encoder.ts";
import { type PacketMessage, Refused, type StreamMessage } from "../../src/gossip/messages.ts";
import { sealPacket, type Wire } from "../../src/gossip/packet-codec.ts";
import { StreamReader, sealStream } from "../../src/gossip/stream-codec.ts";
import { hex, malformedBytes, openMessages, PLAIN_WIRE, streamMessageOf, VECTORS } from "./gossip-vectors.ts";

export interface FuzzReport {
  readonly packets: number;
  readonly streams: number;
  /** Messages that were understood in spite of all. */
  readonly messages: number;
  readonly refusals: Readonly<Record<string, number>>;
  /** What one packet, or one stream, took of memory outside the heap. */
  readonly packetMaxBytes: number;
  readonly streamMaxBytes: number;
  /** Whatever must not happen, with the bytes that make it happen. */
  readonly faults: readonly string[];
}

const FAULTS_MAX_COUNT = 20;
const KEYED: Wire = { ...PLAIN_WIRE, label: "cask-1", keyring: new Keyring([deriveGossipKey("fuzz")]) };

/** Numbers that are the ends of something. */
const EDGES = [
  0, 1, 0x7f, 0x80, 0x9f, 0xa0, 0xc0, 0xc1, 0xc4, 0xc6, 0xc9, 0xd3, 0xd9, 0xdb, 0xdd, 0xdf, 0xe0, 0xf4, 0xff,
];

/** Throws mutated packets and streams at the codec, in clear and inside of a right encryption. The seed says all. */
export class GossipFuzz {
  private readonly random: Random;
  private readonly packetSeeds: readonly Uint8Array[];
  private readonly streamSeeds: readonly Uint8Array[];
  private readonly refusals: Record<string, number> = {};
  private readonly faults: string[] = [];
  private packets = 0;
  private streams = 0;
  private messages = 0;
  private packetMaxBytes = 0;
  private streamMaxBytes = 0;

  constructor(seed: number) {
    this.random = new SeededRandom(seed);
    const malformed = (via: string) =>
      VECTORS.malformed.filter((vector) => vector.via === via).map((vector) => malformedBytes(vector));
    this.packetSeeds = [
      ...[...VECTORS.packets, ...VECTORS.messages, ...VECTORS.compounds].map((vector) => hex(vector.hex)),
      ...malformed("packet"),
    ];
    const sides = VECTORS.streams.flatMap(({ fromDialer, fromListener }) => [fromDialer, fromListener]);
    this.streamSeeds = [...sides.map((side) => hex(side.hex)), ...malformed("stream")];
  }

  run(packets: number, streams: number): FuzzReport {
    for (let i = 0; i < packets && this.faults.length < FAULTS_MAX_COUNT; i++) this.tryPacket();
    for (let i = 0; i < streams && this.faults.length < FAULTS_MAX_COUNT; i++) this.tryStream();
    const { refusals, faults, messages, packetMaxBytes, streamMaxBytes } = this;
    return { packets: this.packets, streams: this.streams, messages, refusals, packetMaxBytes, streamMaxBytes, faults };
  }

  private tryPacket(): void {
    this.packets++;
    const bytes = this.mutated(this.pick(this.packetSeeds));
    const mode = this.below(4);
    const wire = mode === 0 ? PLAIN_WIRE : mode === 1 ? { ...PLAIN_WIRE, compress: true } : KEYED;
    // In clear, compressed once more, rightly encrypted; and to who has a key, without it.
    const packet = mode === 1 || mode === 2 ? sealPacket(wire, [bytes], { crc: true }, this.random) : bytes;
    const before = process.memoryUsage().arrayBuffers;
    const messages = this.caught(packet, () => openMessages(wire, packet, (refused) => this.count(refused)));
    this.packetMaxBytes = Math.max(this.packetMaxBytes, process.memoryUsage().arrayBuffers - before);
    if (mode === 3 && messages && messages.length > 0) this.fault(packet, "understood without the key");
    for (const message of messages ?? []) this.check(packet, message);
  }

  private tryStream(): void {
    this.streams++;
    const role = this.below(3) === 0 ? "dialer" : "listener";
    const mode = this.below(3);
    const bytes =
      mode === 0
        ? this.mutated(this.pick(this.streamSeeds))
        : this.mutated(
            sealStream(
              mode === 1 ? KEYED : { ...PLAIN_WIRE, compress: true },
              this.someStream(),
              "dialer",
              this.random,
            ),
          );
    const reader = new StreamReader(mode === 1 ? KEYED : PLAIN_WIRE, role);
    const before = process.memoryUsage().arrayBuffers;
    const message = this.caught(bytes, () => this.pushed(reader, bytes));
    this.streamMaxBytes = Math.max(this.streamMaxBytes, process.memoryUsage().arrayBuffers - before);
    if (message) this.check(bytes, message);
  }

  private pushed(reader: StreamReader, bytes: Uint8Array): StreamMessage | null {
    const size = this.pick([1, 7, 100, 65_536]);
    let message: StreamMessage | null = null;
    for (let at = 0; at < bytes.length; at += size) message = reader.push(bytes.subarray(at, at + size)) ?? message;
    return message;
  }

  private someStream(): StreamMessage {
    const { fromDialer } = this.pick(VECTORS.streams);
    return streamMessageOf(fromDialer);
  }

  private caught<T>(bytes: Uint8Array, read: () => T): T | null {
    try {
      return read();
    } catch (error) {
      if (error instanceof Refused) this.count(error);
      else this.fault(bytes, `escaped: ${String(error)}`);
      return null;
    }
  }

  private count({ reason }: Refused): void {
    this.refusals[reason] = (this.refusals[reason] ?? 0) + 1;
  }

  /** What is understood is what a node may pass on: it must mean the same to the next one, and harm none. */
  private check(bytes: Uint8Array, message: PacketMessage | StreamMessage): void {
    this.messages++;
    const vsns =
      message.type === "alive" ? [message.vsn] : message.type === "pushPull" ? message.nodes.map((n) => n.vsn) : [];
    if (vsns.some((vsn) => vsn && vsn.length > 0 && vsn.length < 6)) this.fault(bytes, "a short Vsn got through");
    const again = this.caught(bytes, () => readAgain(message));
    if (again === null || !Buffer.from(again).equals(written(message)))
      this.fault(bytes, "means something else when passed on");
  }

  private fault(bytes: Uint8Array, what: string): void {
    this.faults.push(`${what}: ${Buffer.from(bytes).toString("hex").slice(0, 4_000)}`);
  }

  private mutated(seed: Uint8Array): Buffer {
    let bytes: Buffer = Buffer.from(seed.length > 8_192 ? seed.subarray(0, 8_192) : seed);
    for (let times = this.below(6); times > 0; times--) bytes = this.mutatedOnce(bytes);
    return bytes;
  }

  private mutatedOnce(bytes: Buffer): Buffer {
    const at = this.below(bytes.length + 1);
    switch (this.below(8)) {
      case 0:
        return bytes.subarray(0, at);
      case 1:
        return Buffer.concat([
          bytes.subarray(0, at),
          Buffer.from(this.random.hex(1 + this.below(8)), "hex"),
          bytes.subarray(at),
        ]);
      case 2:
        return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + this.below(8))]);
      case 3:
        return Buffer.concat([bytes.subarray(0, at), this.pick(this.packetSeeds).subarray(0, 2_000)]);
      case 4:
        return bytes.length > 16_384 ? bytes : Buffer.concat([bytes, bytes.subarray(at)]);
      case 5:
        return Buffer.concat([Buffer.of(this.below(16)), bytes]);
      case 6:
        if (at < bytes.length) bytes[at] = this.pick(EDGES);
        return bytes;
      default:
        if (at < bytes.length) bytes[at] = (bytes[at] as number) ^ (1 << this.below(8));
        return bytes;
    }
  }

  private pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)] as T;
  }

  private below(bound: number): number {
    return Math.floor(this.random.next() * bound);
  }
}

function written(message: PacketMessage | StreamMessage): Buffer {
  return message.type === "pushPull" || message.type === "error"
    ? encodeStreamMessage(message)
    : encodeMessage(message);
}

function readAgain(message: PacketMessage | StreamMessage): Buffer {
  if (message.type !== "pushPull" && message.type !== "error") return written(decodeMessage(written(message)));
  const again = new StreamReader(PLAIN_WIRE, "dialer").push(written(message));
  return again ? written(again) : Buffer.alloc(0);
}
