import fc from "fast-check";
import { SeededRandom } from "../../src/core/random.ts";
import { makeCompounds } from "../../src/gossip/compound.ts";
import { deriveGossipKey, Keyring } from "../../src/gossip/keyring.ts";
import { encodeMessage } from "../../src/gossip/message-encoder.ts";
import type { PacketMessage, Refused } from "../../src/gossip/messages.ts";
import { openPacket, packetOverheadBytes, sealPacket, type Wire } from "../../src/gossip/packet-codec.ts";
import { packetMessages } from "../support/gossip-arbitraries.ts";
import { hex, nonceOf, openMessages, PLAIN_WIRE, VECTORS, wireOf } from "../support/gossip-vectors.ts";

const random = new SeededRandom(1);
const KEYRING = new Keyring([deriveGossipKey("a")]);
const SECRET_WIRE: Wire = { ...PLAIN_WIRE, keyring: KEYRING };
const PING: PacketMessage = { type: "ping", seqNo: 42, node: "node-b" };
const refusing = (reason: string) => expect.objectContaining({ name: "Refused", reason });
const user = (text: string): PacketMessage => ({ type: "user", bytes: new Uint8Array(Buffer.from(text)) });
const sealed = (wire: Wire, messages: readonly PacketMessage[], crc = false) =>
  sealPacket(wire, messages.map(encodeMessage), { crc }, random);

describe("packets as Go sends them", () => {
  test.each(VECTORS.packets.map((vector) => [vector.name, vector] as const))("read: %s", (_name, vector) => {
    const messages = openMessages(wireOf(vector), hex(vector.hex), unexpected);
    const parts = messages.map(encodeMessage);
    const again = vector.message.startsWith("07") ? makeCompounds(parts) : parts;
    expect(again.map((bytes) => bytes.toString("hex"))).toEqual([vector.message]);
  });

  const written = VECTORS.packets.filter(({ encryption }) => encryption?.version !== 0);
  test.each(written.map((vector) => [vector.name, vector] as const))("written: %s", (_name, vector) => {
    const crc = vector.crc !== null;
    const packet = sealPacket(wireOf(vector), [hex(vector.message)], { crc }, nonceOf(vector.encryption));
    expect(packet.toString("hex")).toBe(vector.hex);
  });

  test("by the second key of the ring", () => {
    const vector = VECTORS.packets.find(({ name }) => name.includes("by the second key"));
    const keyring = new Keyring([new Uint8Array(32), hex(vector?.encryption?.key ?? "")]);
    expect(openMessages({ ...PLAIN_WIRE, keyring }, hex(vector?.hex ?? ""))).toHaveLength(1);
  });

  test("one that can gain nothing is not compressed", () => {
    expect(sealed({ ...PLAIN_WIRE, compress: true }, [PING])).toEqual(encodeMessage(PING));
  });
});

const wires: fc.Arbitrary<Wire> = fc.record({
  label: fc.constantFrom("", "cask-1", "L".repeat(255)),
  keyring: fc.constantFrom(null, KEYRING, new Keyring([new Uint8Array(16)])),
  compress: fc.boolean(),
});

describe("there and back", () => {
  test("with any label, key, checksum and compression", () => {
    const messages = fc.array(packetMessages, { minLength: 1, maxLength: 30 });
    fc.assert(
      fc.property(wires, fc.boolean(), messages, (wire, crc, sent) => {
        const packet = sealed(wire, sent, crc);
        expect(openMessages(wire, packet, unexpected)).toEqual(sent);
        const lengths = sent.map((message) => encodeMessage(message).length);
        expect(openPacket(wire, packet).map(({ bytes }) => bytes)).toEqual(lengths);
        const length = lengths.reduce((sum, bytes) => sum + bytes, 0);
        expect(packet.length).toBeLessThanOrEqual(length + packetOverheadBytes(wire, sent.length));
      }),
    );
  });

  test("the overhead is what it comes to", () => {
    fc.assert(
      fc.property(wires, fc.integer({ min: 1, max: 255 }), (wire, count) => {
        const parts = Array.from({ length: count }, () => encodeMessage(PING));
        const packet = sealPacket({ ...wire, compress: false }, parts, { crc: true }, random);
        const length = parts.reduce((sum, part) => sum + part.length, 0);
        expect(packet.length - length).toBe(packetOverheadBytes(wire, count));
      }),
    );
  });

  test("through another label or key it is not opened", () => {
    fc.assert(
      fc.property(wires, wires, packetMessages, (from, to, message) => {
        const packet = sealed(from, [message]);
        const closed = from.label !== to.label || (to.keyring !== from.keyring && to.keyring);
        if (closed) expect(() => openMessages(to, packet)).toThrow(expect.objectContaining({ name: "Refused" }));
      }),
    );
  });

  test("with a single bit changed nothing is opened", () => {
    const wire = { ...SECRET_WIRE, label: "cask-1" };
    fc.assert(
      fc.property(packetMessages, fc.nat(), fc.nat(7), (message, at, bit) => {
        const packet = sealed(wire, [message], true);
        const index = at % packet.length;
        packet[index] = (packet[index] as number) ^ (1 << bit);
        expect(() => openMessages(wire, packet)).toThrow(expect.objectContaining({ name: "Refused" }));
      }),
    );
  });
});

describe("with a key", () => {
  test("what is in clear yields nothing, however it looks", () => {
    for (const message of [PING, user("hi"), user("x".repeat(100))])
      expect(() => openMessages(SECRET_WIRE, sealed(PLAIN_WIRE, [message]))).toThrow(
        expect.objectContaining({ name: "Refused" }),
      );
  });

  test("the message is nowhere to be seen in the packet", () => {
    const packet = sealed(SECRET_WIRE, [user("cask cask cask")]);
    expect(packet.includes("cask")).toBe(false);
  });
});

test("a label of no bytes is not the same as none", () => {
  expect(() => openMessages(PLAIN_WIRE, hex("f400086869"))).toThrow(refusing("label"));
});

describe("bounded", () => {
  const hi = encodeMessage(user("hi"));
  const compressed = (message: Uint8Array) =>
    sealPacket({ ...PLAIN_WIRE, compress: true }, [message], { crc: false }, random);
  const nested = (times: number) => {
    let bytes: Buffer = hi;
    for (let i = 0; i < times; i++) [bytes] = makeCompounds([bytes]) as [Buffer];
    return bytes;
  };

  test("8 compounds inside each other, not 9", () => {
    expect(openMessages(PLAIN_WIRE, nested(8))).toEqual([user("hi")]);
    expect(() => openMessages(PLAIN_WIRE, nested(9))).toThrow(refusing("limit"));
  });

  test("1,024 messages, not more", () => {
    const packet = (count: number) =>
      makeCompounds([
        ...Array(3).fill(makeCompounds(Array(255).fill(hi))[0]),
        makeCompounds(Array(count).fill(hi))[0],
      ])[0];
    expect(openMessages(PLAIN_WIRE, packet(255) as Buffer)).toHaveLength(1_020);
    const [more] = makeCompounds([packet(255) as Buffer, packet(255) as Buffer]);
    expect(() => openMessages(PLAIN_WIRE, more as Buffer)).toThrow(refusing("limit"));
  });

  test("256 KiB inflated, those of all parts added up", () => {
    const part = compressed(encodeMessage(user("a".repeat(100_000))));
    expect(openMessages(PLAIN_WIRE, makeCompounds([part, part])[0] as Buffer)).toHaveLength(2);
    expect(() => openMessages(PLAIN_WIRE, makeCompounds([part, part, part])[0] as Buffer)).toThrow(refusing("limit"));
  });

  test("a packet longer than UDP has", () => {
    expect(() => openMessages(PLAIN_WIRE, new Uint8Array(65_537))).toThrow(refusing("limit"));
  });

  test("a bad part keeps the others from nothing", () => {
    const refused: Refused[] = [];
    const parts = [hi, hex("ff"), hex(""), hex("0081a178c1"), hi];
    const packet = makeCompounds(parts)[0] as Buffer;
    expect(openMessages(PLAIN_WIRE, packet, (part) => refused.push(part))).toEqual([user("hi"), user("hi")]);
    expect(refused.map(({ reason }) => reason)).toEqual(["type", "short", "msgpack"]);
  });
});

test("a defect of ours is no refusal", () => {
  expect(() => sealPacket(PLAIN_WIRE, [], { crc: false }, random)).toThrow(
    expect.objectContaining({ code: "INTERNAL" }),
  );
  const long = { ...PLAIN_WIRE, label: "L".repeat(256) };
  expect(() => sealed(long, [PING])).toThrow(expect.objectContaining({ code: "BAD_CONFIG" }));
});

function unexpected(refused: Refused): void {
  throw new Error(`a part was refused: ${refused.message}`);
}
