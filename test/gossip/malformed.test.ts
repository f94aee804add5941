import { SeededRandom } from "../../src/core/random.ts";
import { makeCompound } from "../../src/gossip/compound.ts";
import { compress } from "../../src/gossip/compression.ts";
import { Keyring } from "../../src/gossip/keyring.ts";
import type { PacketMessage, StreamMessage } from "../../src/gossip/messages.ts";
import { sealPacket, type Wire } from "../../src/gossip/packet-codec.ts";
import { StreamReader } from "../../src/gossip/stream-codec.ts";
import { Wires } from "../../src/gossip/wires.ts";
import {
  hex,
  LZW_BOMB,
  type MalformedVector,
  malformedBytes,
  openMessages,
  PLAIN_WIRE,
  VECTORS,
} from "../support/gossip-vectors.ts";
import { at } from "../support/swim-under-test.ts";

const MIB = 1024 * 1024;

/** Where we refuse more than Go does, on purpose. (That what ends a Go process is refused needs no list.) */
const STRICTER: Readonly<Record<string, string>> = {
  "compound nested 5000 deep": "nesting is bounded",
  "encrypted version 1 packet relabelled as version 0":
    "version 0 is read only where it is asked for, and its padding is checked",
};

/** Go's words when it is the codec that refuses; all others are about what the message says. */
const CODEC_LOG = new RegExp(
  [
    "Failed to decode",
    "missing message type byte",
    "msg type .* not supported",
    "discarding (packet|stream)",
    "Decrypt packet failed",
    "invalid checksum",
    "truncated",
    "label header cannot be empty",
    "Failed to decompress",
    "Failed to read remote state",
    "Received invalid msgType",
    "failed to receive",
    "Failed to receive user message",
  ].join("|"),
);

interface Outcome {
  readonly messages: readonly (PacketMessage | StreamMessage)[];
  readonly refusals: readonly string[];
  /** Of memory outside the heap, where all bytes are. */
  readonly allocatedBytes: number;
}

const vectorsVia = (wanted: "packet" | "stream") =>
  VECTORS.malformed.filter(({ via }) => via === wanted).map((vector) => [vector.name, vector] as const);

describe("packets that something is wrong with", () => {
  test.each(vectorsVia("packet"))("%s", (_name, vector) => {
    const { messages, refusals, allocatedBytes } = openedBy(vector);
    expect(refusals.length > 0).toBe(mustRefuse(vector));
    if (!(vector.name in STRICTER)) expect(userTexts(messages)).toEqual(vector.result.delivered ?? []);
    expect(allocatedBytes).toBeLessThan(MIB);
  });

  test("what ends a Go process is refused with version 0 asked for, too", () => {
    const ended = VECTORS.malformed.filter((vector) => vector.via === "packet" && endsGo(vector));
    expect(ended.length).toBeGreaterThan(2);
    for (const vector of ended) {
      const wire = { ...wireOf(vector), acceptVersion0: true };
      expect(openedPacket(wire, malformedBytes(vector))).toMatchObject({
        messages: [],
        refusals: [expect.any(String)],
      });
    }
  });
});

describe("streams that something is wrong with", () => {
  test.each(vectorsVia("stream"))("%s", (_name, vector) => {
    const { messages, refusals, allocatedBytes } = readStream(wireOf(vector), malformedBytes(vector));
    if (mustRefuse(vector) || vector.name === "encrypted, cut" || vector.name.startsWith("nothing, closed"))
      expect(messages).toEqual([]);
    else expect({ refusals, messages }).toEqual({ refusals: [], messages: [expect.anything()] });
    if (endsGo(vector)) expect(refusals).toHaveLength(1);
    expect(allocatedBytes).toBeLessThan(MIB);
  });

  const told = VECTORS.malformed.filter(({ result }) => result.answerError && !/limit/.test(result.answerError));
  test.each(told.map((vector) => [vector.name, vector] as const))("told in Go's words: %s", (_name, vector) => {
    expect(readStream(wireOf(vector), malformedBytes(vector)).refusals).toEqual([
      expect.stringContaining(vector.result.answerError ?? ""),
    ]);
  });
});

describe("never more than 1 MiB for a packet", () => {
  const random = new SeededRandom(1);
  const keyring = new Keyring([new Uint8Array(32), new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)]);
  const full = (bytes: number) => Buffer.alloc(bytes, 0x08);
  const compressions = compress(full(1_000));
  const many = (part: Uint8Array) =>
    makeCompound(Array(Math.min(255, Math.floor(65_000 / (part.length + 2)))).fill(part));
  const packets: [string, Wire, Uint8Array][] = [
    ["the bomb", PLAIN_WIRE, LZW_BOMB],
    ["just within the bound", PLAIN_WIRE, compress(full(256 * 1024))],
    ["one compression in another, six times", PLAIN_WIRE, [1, 2, 3, 4, 5, 6].reduce(compress, full(200_000))],
    ["many compressions", PLAIN_WIRE, many(compressions)],
    ["many bombs", PLAIN_WIRE, many(compress(full(250_000)))],
    [
      "bytes as an array of numbers",
      PLAIN_WIRE,
      Buffer.concat([hex("0281a75061796c6f6164dcfe00"), Buffer.alloc(0xfe00)]),
    ],
    [
      "a doubled key",
      PLAIN_WIRE,
      Buffer.concat([hex("02de0fff"), ...Array(4_000).fill(hex("a75061796c6f6164a40a0b0c0d"))]),
    ],
    ["the largest there is, for three keys", { ...PLAIN_WIRE, keyring }, Buffer.alloc(65_000, 1)],
    ["encrypted", { ...PLAIN_WIRE, keyring }, sealed(compress(full(256 * 1024)))],
  ];

  test.each(packets)("%s", (_name, wire, bytes) => {
    expect(bytes.length).toBeLessThan(65_536);
    openedPacket(wire, bytes); // once before, so that what is compiled and pooled is not counted
    expect(openedPacket(wire, bytes).allocatedBytes).toBeLessThan(MIB);
  });

  function sealed(message: Uint8Array): Buffer {
    return sealPacket({ ...PLAIN_WIRE, keyring }, [message], { crc: true }, random);
  }
});

function wireOf({ receiver }: MalformedVector): Wire {
  const keyring = receiver?.key ? new Keyring([hex(receiver.key)]) : null;
  return { ...PLAIN_WIRE, label: receiver?.label ?? "", keyring };
}

function endsGo({ result, resultOf054 }: MalformedVector): boolean {
  return [result, resultOf054].some((ended) => ended?.panic !== undefined || ended?.died !== undefined);
}

function mustRefuse(vector: MalformedVector): boolean {
  const refusedByGo = vector.result.log?.some((line) => CODEC_LOG.test(line)) ?? false;
  return refusedByGo || endsGo(vector) || vector.name in STRICTER;
}

/** As the receiver of the vector: one that takes what is not encrypted, too, is two wires. */
function openedBy(vector: MalformedVector): Outcome {
  const bytes = malformedBytes(vector);
  if (vector.receiver?.gossipVerifyIncoming !== false) return openedPacket(wireOf(vector), bytes);
  const wires = new Wires("accept", ["a secret"]);
  return measured((refusals) =>
    wires.openPacket(bytes, at(2), ({ message }) => refusals.push(message)).map(({ message }) => message),
  );
}

function openedPacket(wire: Wire, bytes: Uint8Array): Outcome {
  return measured((refusals) => openMessages(wire, bytes, ({ message }) => refusals.push(message)));
}

function readStream(wire: Wire, bytes: Uint8Array): Outcome {
  return measured(() => {
    const message = new StreamReader(wire, "listener").push(bytes);
    return message ? [message] : [];
  });
}

function measured(read: (refusals: string[]) => (PacketMessage | StreamMessage)[]): Outcome {
  const refusals: string[] = [];
  let messages: (PacketMessage | StreamMessage)[] = [];
  const before = process.memoryUsage().arrayBuffers;
  try {
    messages = read(refusals);
  } catch (error) {
    expect(error).toMatchObject({ name: "Refused", reason: expect.any(String) });
    refusals.push((error as Error).message);
  }
  return { messages, refusals, allocatedBytes: process.memoryUsage().arrayBuffers - before };
}

function userTexts(messages: Outcome["messages"]): string[] {
  return messages.flatMap((message) => (message.type === "user" ? [Buffer.from(message.bytes).toString("hex")] : []));
}
