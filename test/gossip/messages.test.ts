import fc from "fast-check";
import { decodeMessage } from "../../src/gossip/message-decoder.ts";
import { encodeMessage, encodeStreamMessage } from "../../src/gossip/message-encoder.ts";
import type { PacketMessage, PushNodeState, PushPull } from "../../src/gossip/messages.ts";
import { readStruct, STRUCTS, type StructLayout } from "../../src/gossip/struct-reader.ts";
import { packetMessages } from "../support/gossip-arbitraries.ts";
import { type Fields, hex, messageOf, nodeStateOf, VECTORS } from "../support/gossip-vectors.ts";

/** Layers and what only streams have: `decodeMessage` refuses them. */
const NOT_IN_PACKETS = ["error response", "compress wrapper"];

describe("messages as Go writes them", () => {
  const own = VECTORS.messages.filter(({ name }) => name !== "compress wrapper");

  test.each(own.map((vector) => [vector.name, vector] as const))(
    "written: %s",
    (_name, { type, fields, hex: bytes }) => {
      expect(encodeMessage(messageOf(type, fields)).toString("hex")).toBe(bytes);
    },
  );

  const read = VECTORS.messages.filter(({ name }) => !NOT_IN_PACKETS.includes(name));
  test.each(read.map((vector) => [vector.name, vector] as const))("read: %s", (_name, { type, fields, hex: bytes }) => {
    expect(decodeMessage(hex(bytes))).toEqual(messageOf(type, fields));
  });

  test.each(NOT_IN_PACKETS)("refused in a packet: %s", (wanted) => {
    const vector = VECTORS.messages.find(({ name }) => name === wanted);
    expect(() => decodeMessage(hex(vector?.hex ?? ""))).toThrow(expect.objectContaining({ reason: "type" }));
  });
});

describe("headers in streams", () => {
  const layoutOf = (fields: Fields): StructLayout =>
    "Nodes" in fields ? STRUCTS.pushPullHeader : "UserMsgLen" in fields ? STRUCTS.userMsgHeader : STRUCTS.pushNodeState;

  test.each(VECTORS.headers.map((vector) => [vector.name, vector] as const))("read: %s", (_name, vector) => {
    expect(goFields(readStruct(hex(vector.hex), layoutOf(vector.fields)))).toEqual(vector.fields);
  });

  test.each(VECTORS.headers.map((vector) => [vector.name, vector] as const))("written: %s", (_name, vector) => {
    const { Nodes, UserStateLen, UserMsgLen, Join } = vector.fields as Record<string, number>;
    if (UserMsgLen !== undefined) {
      const written = encodeStreamMessage({ type: "user", bytes: new Uint8Array(UserMsgLen) });
      expect(written.subarray(1, written.length - UserMsgLen).toString("hex")).toBe(vector.hex);
    } else if (Nodes !== undefined) {
      const userState = new Uint8Array(UserStateLen as number);
      const written = encodeStreamMessage({ ...pushPull(countOnly(Nodes)), join: Boolean(Join), userState });
      expect(written.subarray(1, written.length - userState.length).toString("hex")).toBe(vector.hex);
    } else {
      const written = encodeStreamMessage(pushPull([nodeStateOf(vector.fields)]));
      const empty = encodeStreamMessage(pushPull([]));
      expect(written.subarray(empty.length).toString("hex")).toBe(vector.hex);
    }
  });
});

/** What the real go-msgpack made of each was looked up by hand: `go-msgpack` 2.1.5, as memberlist 0.7.0 uses it. */
describe("MessagePack that Go would not write", () => {
  test.each(VECTORS.decoding.map((vector) => [vector.name, vector] as const))("%s", (_name, vector) => {
    const read = () => readStruct(hex(vector.hex), STRUCTS[vector.struct as keyof typeof STRUCTS] as StructLayout);
    if (vector.error) expect(read).toThrow(expect.objectContaining({ name: "Refused" }));
    else expect(goFields(read())).toMatchObject(vector.fields as object);
  });

  test.each([
    ["a key of no bytes", "81a001", null],
    ["a nil key", "81c001", null],
    ["an array as a key", "8192a14e01", null],
    ["a number as a key", "810101", null],
    ["a name of an object's own", "82a95f5f70726f746f5f5f01ab636f6e7374727563746f7201", {}],
    ["nil over a value", "82a44e6f6465a162a44e6f6465c0", { Node: "" }],
    ["an ext of 2^32-1 bytes under an unknown key", "81a178c9ffffffff00", null],
    ["arrays of 2^32-1 maps of 2^32-1", "81a178ddffffffffdfffffffff", null],
    ["1,022 arrays inside each other", `81a178${"91".repeat(1022)}c0`, {}],
    ["1,023 of them", `81a178${"91".repeat(1023)}c0`, null],
    ["a name that is not UTF-8", "81a44e6f6465a2c328", null],
    ["text as a map", "81a44e6f6465810102", null],
    ["text as an array", "81a44e6f64659161", { Node: "a" }],
    ["bytes as a map", "81aa536f7572636541646472820102cc03c0", { SourceAddr: "01020300" }],
    ["bytes as a map of 2^32-1", "81aa536f7572636541646472dfffffffff", null],
    ["bytes as an array with nil", "81aa536f757263654164647291c0", { SourceAddr: "00" }],
    ["an array of one key and one value", "9201a162", { SeqNo: 1, Node: "b" }],
    ["an array cut short", "9401a162", null],
  ])("%s", (_name, bytes, fields) => {
    const read = () => readStruct(hex(bytes), STRUCTS.ping);
    if (fields === null) expect(read).toThrow(expect.objectContaining({ name: "Refused" }));
    else expect(goFields(read())).toMatchObject(fields);
  });
});

test("a byte order mark belongs to a name", () => {
  const ping: PacketMessage = { type: "ping", seqNo: 1, node: "\ufeffb" };
  expect(decodeMessage(encodeMessage(ping))).toEqual(ping);
});

test.each([
  { type: "user", bytes: new Uint8Array(Buffer.from("hello")) },
  { type: "ack", seqNo: 1, payload: new Uint8Array(Buffer.from("hello")) },
] satisfies PacketMessage[])("what is read does not hold on to the packet: %p", (message) => {
  const bytes = encodeMessage(message);
  const read = decodeMessage(bytes);
  bytes.fill(0);
  expect(read).toEqual(message);
});

test("what is written is read as it was", () => {
  fc.assert(fc.property(packetMessages, (message) => expect(decodeMessage(encodeMessage(message))).toEqual(message)));
});

test("cut anywhere, it is refused", () => {
  const cut = fc.tuple(
    packetMessages.filter(({ type }) => type !== "user"),
    fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
  );
  fc.assert(
    fc.property(cut, ([message, at]) => {
      const bytes = encodeMessage(message);
      const rest = bytes.subarray(0, Math.floor(at * bytes.length));
      expect(() => decodeMessage(rest)).toThrow(expect.objectContaining({ reason: "short" }));
    }),
  );
});

test.each([1, 2, 3, 4, 5])("a Vsn of %d bytes is refused: it ends a Go process", (length) => {
  const alive = { type: "alive", incarnation: 1, node: "b", addr: null, port: 1, meta: null } as const;
  const encoded = encodeMessage({ ...alive, vsn: new Uint8Array(length) });
  expect(() => decodeMessage(encoded)).toThrow(expect.objectContaining({ reason: "vsn" }));
});

function pushPull(nodes: readonly PushNodeState[]): PushPull {
  return { type: "pushPull", join: false, nodes, userState: new Uint8Array() };
}

/** Says how many it has, and has none: the header alone is looked at. */
function countOnly(length: number): readonly PushNodeState[] {
  return { length, [Symbol.iterator]: () => [].values() } as unknown as readonly PushNodeState[];
}

/** As the vectors have them. */
function goFields(struct: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const entries = Object.entries(struct).map(([name, value]) => [
    name,
    typeof value === "object" && value !== null ? Buffer.from(value as Uint8Array).toString("hex") : value,
  ]);
  return Object.fromEntries(entries) as Record<string, unknown>;
}
