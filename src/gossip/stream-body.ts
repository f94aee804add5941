import { ByteQueue } from "./byte-queue.ts";
import { decompress } from "./compression.ts";
import { LzwInflater } from "./lzw-decoder.ts";
import { decodeAck, decodeErrorAnswer, decodeNodeState, decodePing } from "./message-decoder.ts";
import { MESSAGE_TYPE } from "./message-types.ts";
import { type PushNodeState, Refused, type StreamMessage } from "./messages.ts";
import { MsgpackScanner } from "./msgpack-scanner.ts";
import { checkedCount, readStruct, STRUCTS } from "./struct-reader.ts";
import {
  STREAM_MESSAGE_MAX_BYTES,
  STREAM_NODES_MAX_COUNT,
  STREAM_USER_MESSAGE_MAX_BYTES,
  STREAM_USER_STATE_MAX_BYTES,
  STREAM_VALUE_MAX_BYTES,
} from "./wire-limits.ts";

/** Who we are: the dialer, who made the connection, or the listener. */
export type StreamRole = "dialer" | "listener";

/** What each of them may be told. Source: memberlist's net.go (`handleConn`) and its callers of `readStream`. */
const TYPES: Readonly<Record<StreamRole, readonly number[]>> = {
  dialer: [MESSAGE_TYPE.pushPull, MESSAGE_TYPE.ack, MESSAGE_TYPE.error],
  listener: [MESSAGE_TYPE.ping, MESSAGE_TYPE.pushPull, MESSAGE_TYPE.user],
};

/** What goes on when it yields: more bytes are needed. */
type Parse<T> = Generator<void, T, void>;

/** The message that `queue` brings, after label and encryption. Yields while bytes are missing; throws Refused. */
export function* parseStreamBody(queue: ByteQueue, role: StreamRole): Parse<StreamMessage> {
  const type = yield* takeByte(queue);
  if (type !== MESSAGE_TYPE.compress) return yield* parseMessage(queue, type, role);
  const plain = decompress(
    yield* takeValue(queue, STREAM_MESSAGE_MAX_BYTES),
    new LzwInflater(),
    STREAM_MESSAGE_MAX_BYTES,
  );
  // One compression only, unlike in packets. It MUST hold something: an empty one ends memberlist before 0.6.
  if (plain.length === 0) throw new Refused("short", "decompressed message is empty");
  const inflated = new ByteQueue(0, plain);
  return parseWhole(parseMessage(inflated, yield* takeByte(inflated), role));
}

/** Runs what can't get more bytes than it has. */
export function parseWhole<T>(parse: Parse<T>): T {
  const { done, value } = parse.next();
  if (done) return value;
  throw new Refused("short", "the message ends too early");
}

function* parseMessage(queue: ByteQueue, type: number, role: StreamRole): Parse<StreamMessage> {
  if (!TYPES[role].includes(type)) throw new Refused("type", `Received invalid msgType (${type})`);
  switch (type) {
    case MESSAGE_TYPE.ping:
      return decodePing(yield* takeValue(queue));
    case MESSAGE_TYPE.ack:
      return decodeAck(yield* takeValue(queue));
    case MESSAGE_TYPE.error:
      return decodeErrorAnswer(yield* takeValue(queue));
    case MESSAGE_TYPE.user:
      return yield* parseUser(queue);
    default:
      return yield* parsePushPull(queue);
  }
}

function* parseUser(queue: ByteQueue): Parse<StreamMessage> {
  const { UserMsgLen } = readStruct(yield* takeValue(queue), STRUCTS.userMsgHeader);
  const length = checkedCount("user message length", UserMsgLen, STREAM_USER_MESSAGE_MAX_BYTES);
  return { type: "user", bytes: new Uint8Array(yield* takeBytes(queue, length)) };
}

/** Each member is read as it comes. */
function* parsePushPull(queue: ByteQueue): Parse<StreamMessage> {
  const { Nodes, UserStateLen, Join } = readStruct(yield* takeValue(queue), STRUCTS.pushPullHeader);
  const count = checkedCount("number of nodes in header", Nodes, STREAM_NODES_MAX_COUNT);
  const length = checkedCount("user state length", UserStateLen, STREAM_USER_STATE_MAX_BYTES);
  const nodes: PushNodeState[] = [];
  for (let i = 0; i < count; i++) {
    const node = decodeNodeState(yield* takeValue(queue));
    if (node) nodes.push(node);
  }
  return { type: "pushPull", join: Join, nodes, userState: new Uint8Array(yield* takeBytes(queue, length)) };
}

function* takeByte(queue: ByteQueue): Parse<number> {
  return (yield* takeBytes(queue, 1))[0] as number;
}

/** Exactly so many: a view, good until the next yield. */
export function* takeBytes(queue: ByteQueue, count: number): Parse<Buffer> {
  while (queue.length < count) yield;
  return queue.take(count);
}

/** One MessagePack value: such a view. */
function* takeValue(queue: ByteQueue, maxBytes = STREAM_VALUE_MAX_BYTES): Parse<Buffer> {
  const scanner = new MsgpackScanner(maxBytes);
  for (;;) {
    const length = scanner.scan(queue.peek());
    if (length !== null) return queue.take(length);
    yield;
  }
}
