import { SeededRandom } from "../../src/core/random.ts";
import { encodeMessage } from "../../src/gossip/message-encoder.ts";
import type { PacketMessage, StreamMessage } from "../../src/gossip/messages.ts";
import { sealPacket, type Wire } from "../../src/gossip/packet-codec.ts";
import { StreamReader, sealStream } from "../../src/gossip/stream-codec.ts";
import { type Encryption, Wires } from "../../src/gossip/wires.ts";
import { at } from "../support/swim-under-test.ts";

const random = new SeededRandom(1);
const PING = { type: "ping", seqNo: 42, node: "node-b" } as const satisfies PacketMessage & StreamMessage;
const wiresOf = (encryption: Encryption) => new Wires(encryption, ["a secret"]);
const SECRET_WIRE = wiresOf("true").widest;
const PLAIN_WIRE = wiresOf("false").widest;
const BOTH = [PLAIN_WIRE, SECRET_WIRE];
const refused = expect.objectContaining({ name: "Refused" });

const sealed = (wire: Wire, crc = false) => sealPacket(wire, [encodeMessage(PING)], { crc }, random);
const opened = (wires: Wires, packet: Uint8Array, from = at(2)) =>
  wires
    .openPacket(packet, from, (error) => {
      throw error;
    })
    .map(({ message }) => message);

function streamRead(wires: Wires, bytes: Uint8Array): StreamMessage | null {
  return new StreamReader(wires.ofStream(bytes[0] as number), "listener").push(bytes);
}

describe("accept, while a running cluster is being moved", () => {
  test("packets are read in clear and encrypted, with a checksum and without", () => {
    for (const wire of BOTH)
      for (const crc of [true, false]) expect(opened(wiresOf("accept"), sealed(wire, crc))).toEqual([PING]);
  });

  test("streams are read in clear and encrypted, and answered in their own way", () => {
    const wires = wiresOf("accept");
    for (const wire of BOTH) {
      const bytes = sealStream(wire, PING, "dialer", random);
      expect(streamRead(wires, bytes)).toEqual(PING);
      expect(wires.ofStream(bytes[0] as number).keyring === null).toBe(wire.keyring === null);
    }
  });

  test("under another key nothing is read", () => {
    const wires = new Wires("accept", ["another secret"]);
    expect(() => opened(wires, sealed(SECRET_WIRE))).toThrow(refused);
    expect(() => streamRead(wires, sealStream(SECRET_WIRE, PING, "dialer", random))).toThrow(refused);
  });

  test("everybody is spoken to in clear, until something encrypted came from there", () => {
    const wires = wiresOf("accept");
    opened(wires, sealed(PLAIN_WIRE), at(2));
    expect(wires.to(at(2)).keyring).toBeNull();
    opened(wires, sealed(SECRET_WIRE), at(2));
    expect([2, 3].map((last) => wires.to(at(last)).keyring !== null)).toEqual([true, false]);
    const [first, second, ...more] = wires.forDial(at(3));
    expect([first?.keyring === null, second?.keyring === null, more]).toEqual([true, false, []]);
    wires.answered(at(3), second as Wire);
    expect(wires.forDial(at(3))).toEqual([second]);
  });
});

test.each([
  ["true" as const, SECRET_WIRE, PLAIN_WIRE],
  ["false" as const, PLAIN_WIRE, SECRET_WIRE],
])("%s: the one kind is read, the other is not", (encryption, own, other) => {
  const wires = wiresOf(encryption);
  expect(opened(wires, sealed(own))).toEqual([PING]);
  expect(() => opened(wires, sealed(other))).toThrow(refused);
  expect(streamRead(wires, sealStream(own, PING, "dialer", random))).toEqual(PING);
  expect(() => streamRead(wires, sealStream(other, PING, "dialer", random))).toThrow(refused);
  expect(wires.forDial(at(2))).toEqual([wires.to(at(2))]);
});
