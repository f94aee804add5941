import fc from "fast-check";
import { SeededRandom } from "../../src/core/random.ts";
import { compress } from "../../src/gossip/compression.ts";
import { encrypt } from "../../src/gossip/encryption.ts";
import { deriveGossipKey, Keyring } from "../../src/gossip/keyring.ts";
import { encodeStreamMessage } from "../../src/gossip/message-encoder.ts";
import type { PushNodeState, PushPull, StreamMessage } from "../../src/gossip/messages.ts";
import type { Wire } from "../../src/gossip/packet-codec.ts";
import { StreamReader, sealStream } from "../../src/gossip/stream-codec.ts";
import { STREAM_MESSAGE_MAX_BYTES, STREAM_NODES_MAX_COUNT } from "../../src/gossip/wire-limits.ts";
import { dialerMessages, listenerMessages } from "../support/gossip-arbitraries.ts";
import {
  hex,
  nonceOf,
  PLAIN_WIRE,
  type StreamSide,
  streamMessageOf,
  VECTORS,
  wireOf,
} from "../support/gossip-vectors.ts";

const random = new SeededRandom(1);
const KEYRING = new Keyring([deriveGossipKey("a")]);
const refusing = (reason: string) => expect.objectContaining({ name: "Refused", reason });

type Role = "dialer" | "listener";
const OTHER = { dialer: "listener", listener: "dialer" } as const;

/** One side of every vector: who wrote it, and how the connection's wire is (an answer has no label header, but the label counts). */
const sides = VECTORS.streams.flatMap(({ name, fromDialer, fromListener }) =>
  ([["dialer", fromDialer] as const, ["listener", fromListener] as const] satisfies [Role, StreamSide][])
    .filter(([, side]) => side.hex !== "")
    .map(
      ([role, side]) => [`${name}, ${role}`, role, side, { ...wireOf(side), label: fromDialer.label ?? "" }] as const,
    ),
);

describe("streams as Go sends them", () => {
  test.each(sides)("read: %s", (_name, writer, side, wire) => {
    const expected = streamMessageOf(side);
    const bytes = hex(side.hex);
    expect(new StreamReader(wire, OTHER[writer]).push(bytes)).toEqual(expected);
    expect(inPieces(new StreamReader(wire, OTHER[writer]), bytes, () => 1)).toEqual([expected]);
    expect(inPieces(new StreamReader(wire, OTHER[writer]), bytes, () => 1 + Math.floor(random.next() * 100))).toEqual([
      expected,
    ]);
  });

  const written = sides.filter(([, , side]) => side.encryption?.version !== 0);
  test.each(written)("written: %s", (_name, writer, side, wire) => {
    const bytes = sealStream(wire, streamMessageOf(side), writer, nonceOf(side.encryption));
    expect(bytes.toString("hex")).toBe(side.hex);
  });

  const failing = VECTORS.streams.filter(({ dialerError }) => dialerError);
  test.each(failing.map((vector) => [vector.name, vector] as const))("%s", (_name, vector) => {
    const key = vector.name.endsWith("wrong key") ? new Keyring([new Uint8Array(32)]) : null;
    const listener = vector.fromListener.encryption ? wireOf(vector.fromListener) : { ...PLAIN_WIRE, keyring: key };
    const dialer = vector.fromDialer.encryption ? wireOf(vector.fromDialer) : PLAIN_WIRE;
    expect(() => new StreamReader(dialer, "dialer").push(hex(vector.fromListener.hex))).toThrow(vector.dialerError);
    const [log] = vector.listenerLog ?? [];
    const said = /failed to receive: (.*) from=/.exec(log ?? "")?.[1];
    expect(() => new StreamReader(listener, "listener").push(hex(vector.fromDialer.hex))).toThrow(said);
  });
});

const wires: fc.Arbitrary<Wire> = fc.record({
  label: fc.constantFrom("", "cask-1", "L".repeat(255)),
  keyring: fc.constantFrom(null, KEYRING, new Keyring([new Uint8Array(16)])),
  compress: fc.boolean(),
});

describe("there and back", () => {
  test.each([
    ["dialer" as const, dialerMessages],
    ["listener" as const, listenerMessages],
  ])("what the %s says, with any label, key and compression, in pieces of any size", (role, messages) => {
    fc.assert(
      fc.property(wires, messages, fc.integer({ min: 1, max: 500 }), (wire, message, size) => {
        const bytes = sealStream(wire, message, role, random);
        expect(inPieces(new StreamReader(wire, OTHER[role]), bytes, () => size)).toEqual([message]);
      }),
    );
  });

  test("through another label or key nothing is read", () => {
    fc.assert(
      fc.property(wires, wires, dialerMessages, (from, to, message) => {
        const bytes = sealStream(from, message, "dialer", random);
        if (from.label !== to.label || from.keyring !== to.keyring)
          expect(() => new StreamReader(to, "listener").push(bytes)).toThrow(
            expect.objectContaining({ name: "Refused" }),
          );
      }),
    );
  });

  test("with a single bit changed, encrypted, nothing is read", () => {
    const wire = { ...PLAIN_WIRE, label: "cask-1", keyring: KEYRING };
    fc.assert(
      fc.property(dialerMessages, fc.nat(), fc.nat(7), (message, at, bit) => {
        const bytes = sealStream(wire, message, "dialer", random);
        const index = at % bytes.length;
        bytes[index] = (bytes[index] as number) ^ (1 << bit);
        expect(readOrRefused(wire, bytes)).toBeNull();
      }),
    );
  });
});

test("what follows the message is ignored, and a reader that refused stays so", () => {
  const reader = new StreamReader(PLAIN_WIRE, "listener");
  expect(reader.push(hex("0081a55365714e6f07ffffff"))).toEqual({ type: "ping", seqNo: 7, node: "" });
  expect(reader.push(hex("ff"))).toBeNull();
  const refused = new StreamReader(PLAIN_WIRE, "listener");
  expect(() => refused.push(hex("ff"))).toThrow(refusing("type"));
  expect(refused.push(hex("0080"))).toBeNull();
});

test.each([
  ["listener", { type: "ack", seqNo: 1, payload: null }],
  ["listener", { type: "error", error: "x" }],
  ["dialer", { type: "ping", seqNo: 1, node: "" }],
  ["dialer", { type: "user", bytes: new Uint8Array() }],
] as const)("a %s takes no %p", (role, message) => {
  const bytes = encodeStreamMessage(message);
  expect(() => new StreamReader(PLAIN_WIRE, role).push(bytes)).toThrow(refusing("type"));
});

test("a member in a state that does not exist is passed over, as by Go", () => {
  const vector = VECTORS.malformed.find(({ name }) => name === "push/pull, state 7");
  const read = new StreamReader(PLAIN_WIRE, "listener").push(hex(vector?.hex ?? ""));
  expect(read).toMatchObject({ type: "pushPull", nodes: [] });
});

test("an answer has no label header", () => {
  const wire = { ...PLAIN_WIRE, label: "cask-1" };
  const labelled = sealStream(wire, { type: "ack", seqNo: 1, payload: null }, "dialer", random);
  expect(() => new StreamReader(wire, "dialer").push(labelled)).toThrow(refusing("type"));
});

describe("bounded", () => {
  const push = (bytes: Uint8Array, wire: Wire = PLAIN_WIRE) => new StreamReader(wire, "listener").push(bytes);
  const header = (nodes: string, userState: string) =>
    hex(`0682a54e6f646573${nodes}ac5573657253746174654c656e${userState}`);
  const secret = { ...PLAIN_WIRE, keyring: KEYRING };
  const node: PushNodeState = { name: "n", addr: null, port: 1, meta: null, incarnation: 1, state: "alive", vsn: null };

  test.each([
    ["-1 nodes", "ff", "00"],
    ["2^31 nodes", "d30000000080000000", "00"],
    ["2^62 nodes", "d34000000000000000", "00"],
    ["2^64 - 1 nodes", "cfffffffffffffffff", "00"],
    ["4,001 nodes", "cd0fa1", "00"],
    ["-1 bytes of user state", "00", "ff"],
    ["2^62 bytes of user state", "00", "d34000000000000000"],
    ["256 KiB and 1 byte of user state", "00", "ce00040001"],
  ])("refused as soon as they are claimed: %s", (_name, nodes, userState) => {
    expect(() => push(header(nodes, userState))).toThrow(refusing("limit"));
  });

  test("4,000 nodes are not too many", () => {
    const nodes = Array<PushNodeState>(STREAM_NODES_MAX_COUNT).fill(node);
    const message: PushPull = { type: "pushPull", join: true, nodes, userState: new Uint8Array() };
    for (const wire of [PLAIN_WIRE, secret, { ...secret, compress: true }])
      expect(push(sealStream(wire, message, "dialer", random), wire)).toEqual(message);
  });

  test.each([
    ["text of 64 KiB in a node", "0681a54e6f6465730181a44d657461db00010000"],
    ["2^32-1 unknown values", "0681a178ddffffffff"],
    ["2^32-1 keys", "06dfffffffff"],
    ["an ext of 2^32-1 bytes", "0681a178c9ffffffff00"],
    ["a compression of 2^32-1 bytes", "0981a3427566c6ffffffff"],
  ])("refused as soon as it is claimed: %s", (_name, bytes) => {
    expect(() => push(hex(bytes))).toThrow(refusing("limit"));
  });

  test.each([
    ["no bytes", "00000000", "short"],
    ["less than the overhead", "0000001c", "short"],
    ["2^32-1 bytes", "ffffffff", "limit"],
    ["20 MiB", "01400000", "limit"],
  ])("encrypted, %s", (_name, length, reason) => {
    expect(() => push(hex(`0a${length}`), secret)).toThrow(refusing(reason));
  });

  test("encrypted with nothing inside: it ends a Go process", () => {
    const head = hex("0a0000001d");
    const bytes = Buffer.concat([head, encrypt(KEYRING, new Uint8Array(), head, random)]);
    expect(() => push(bytes, secret)).toThrow(refusing("short"));
  });

  test("compressed nothing: it ends a Go process", () => {
    expect(() => push(compress(new Uint8Array()))).toThrow(refusing("short"));
  });

  test("inflated, it is no longer than in clear", () => {
    expect(() => push(compress(new Uint8Array(STREAM_MESSAGE_MAX_BYTES + 1)))).toThrow(refusing("limit"));
    const cut = encodeStreamMessage({ type: "user", bytes: new Uint8Array(100) }).subarray(0, 100);
    expect(() => push(compress(cut))).toThrow(refusing("short"));
  });

  test("nobody can send more than one message takes", () => {
    const reader = new StreamReader(PLAIN_WIRE, "listener");
    const head = header("cd0fa0", "00");
    const state = encodeStreamMessage({
      type: "pushPull",
      join: false,
      nodes: [{ ...node, meta: new Uint8Array(60_000) }],
      userState: new Uint8Array(),
    });
    const one = state.subarray(
      encodeStreamMessage({ type: "pushPull", join: false, nodes: [], userState: new Uint8Array() }).length,
    );
    reader.push(head);
    expect(() => {
      for (let i = 0; i < 100; i++) reader.push(one);
    }).toThrow(refusing("limit"));
  });

  test("a sender of single bytes costs little", () => {
    const values = Buffer.concat([hex("0681a178dcf000"), Buffer.alloc(61_440, 1)]);
    const reader = new StreamReader(PLAIN_WIRE, "listener");
    const begunMs = performance.now();
    for (const byte of values) reader.push(Uint8Array.of(byte));
    expect(performance.now() - begunMs).toBeLessThan(2_000);
  });
});

function inPieces(reader: StreamReader, bytes: Uint8Array, size: () => number): StreamMessage[] {
  const messages: StreamMessage[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = at + size();
    const message = reader.push(bytes.subarray(at, end));
    if (message) messages.push(message);
    at = end;
  }
  return messages;
}

function readOrRefused(wire: Wire, bytes: Uint8Array): StreamMessage | null {
  try {
    return new StreamReader(wire, "listener").push(bytes);
  } catch (error) {
    expect(error).toMatchObject({ name: "Refused" });
    return null;
  }
}
