import fc from "fast-check";
import type { PacketMessage, PushNodeState, StreamMessage } from "../../src/gossip/messages.ts";

const u16 = fc.integer({ min: 0, max: 0xffff });
const u32 = fc.oneof(fc.integer({ min: 0, max: 300 }), fc.integer({ min: 0, max: 0xffff_ffff }));
const name = fc.oneof(fc.string({ unit: "binary", maxLength: 40 }), fc.string({ minLength: 250, maxLength: 260 }));
const bytes = (maxLength: number) => fc.uint8Array({ maxLength });
const nullable = (maxLength: number) => fc.option(bytes(maxLength));
const vsn = fc.oneof(fc.constant(null), fc.uint8Array({ minLength: 6, maxLength: 9 }));

/** Left out, not undefined or empty. */
const source = fc.record(
  { sourceAddr: fc.uint8Array({ minLength: 1, maxLength: 16 }), sourcePort: u16.filter(Boolean), sourceNode: name },
  { requiredKeys: [] },
);
const withSource = <T>(message: fc.Arbitrary<T>) =>
  fc.tuple(message, source).map(([own, { sourceNode, ...from }]) => ({
    ...own,
    ...from,
    ...(sourceNode ? { sourceNode } : {}),
  }));

const type = <T extends string>(value: T) => fc.constant(value);
const accusation = { incarnation: u32, node: name, from: name };

const ping = withSource(fc.record({ type: type("ping"), seqNo: u32, node: name }));
const ack = fc.record({ type: type("ack"), seqNo: u32, payload: nullable(40) });
const user = fc.record({ type: type("user"), bytes: bytes(300) });

export const packetMessages: fc.Arbitrary<PacketMessage> = fc.oneof(
  ping,
  withSource(
    fc.record({
      type: type("indirectPing"),
      seqNo: u32,
      target: nullable(16),
      port: u16,
      node: name,
      nack: fc.boolean(),
    }),
  ),
  ack,
  fc.record({ type: type("nack"), seqNo: u32 }),
  fc.record({ type: type("suspect"), ...accusation }),
  fc.record({ type: type("dead"), ...accusation }),
  fc.record({
    type: type("alive"),
    incarnation: u32,
    node: name,
    addr: nullable(16),
    port: u16,
    meta: nullable(600),
    vsn,
  }),
  user,
);

const nodeState: fc.Arbitrary<PushNodeState> = fc.record({
  name,
  addr: nullable(16),
  port: u16,
  meta: nullable(600),
  incarnation: u32,
  state: fc.constantFrom("alive" as const, "suspect" as const, "dead" as const, "left" as const),
  vsn,
});

const pushPull = fc.record({
  type: type("pushPull"),
  join: fc.boolean(),
  nodes: fc.array(nodeState, { maxLength: 20 }),
  userState: bytes(1_000),
});

/** What a dialer sends. */
export const dialerMessages: fc.Arbitrary<StreamMessage> = fc.oneof(pushPull, ping, user);

/** What a listener answers. */
export const listenerMessages: fc.Arbitrary<StreamMessage> = fc.oneof(
  pushPull,
  ack,
  fc.record({ type: type("error"), error: name }),
);
