import { MESSAGE_TYPE, NODE_STATES } from "./message-types.ts";
import type {
  Alive,
  Dead,
  IndirectPing,
  PacketMessage,
  Ping,
  PushNodeState,
  PushPull,
  Source,
  StreamMessage,
  Suspect,
  User,
} from "./messages.ts";
import { MsgpackWriter } from "./msgpack-writer.ts";

/**
 * One message as memberlist writes it: a type byte, then Go's struct as a map whose keys are Go's field names, sorted by bytes.
 * A user message comes out as in a packet: the type byte and its bytes. Everything else looks the same in packets and streams.
 */
export function encodeMessage(message: PacketMessage | StreamMessage): Buffer {
  if (message.type !== "user") return encode(message);
  return Buffer.concat([Uint8Array.of(MESSAGE_TYPE.user), message.bytes]);
}

/** The same for a stream, where user messages say how long they are: a stream has no end of its own. */
export function encodeStreamMessage(message: StreamMessage): Buffer {
  return message.type === "user" ? encodeStreamUser(message) : encode(message);
}

function encode(message: Exclude<PacketMessage | StreamMessage, User>): Buffer {
  switch (message.type) {
    case "ping":
      return encodePing(message);
    case "indirectPing":
      return encodeIndirectPing(message);
    case "ack":
      return begin(MESSAGE_TYPE.ack)
        .map(2)
        .key("Payload")
        .raw(message.payload)
        .key("SeqNo")
        .uint(message.seqNo)
        .finish();
    case "nack":
      return begin(MESSAGE_TYPE.nack).map(1).key("SeqNo").uint(message.seqNo).finish();
    case "suspect":
      return encodeAccusation(MESSAGE_TYPE.suspect, message);
    case "dead":
      return encodeAccusation(MESSAGE_TYPE.dead, message);
    case "alive":
      return encodeAlive(message);
    case "pushPull":
      return encodePushPull(message);
    case "error":
      return begin(MESSAGE_TYPE.error).map(1).key("Error").text(message.error).finish();
  }
}

function begin(type: number, expectedBytes?: number): MsgpackWriter {
  return new MsgpackWriter(expectedBytes).byte(type);
}

function encodePing(ping: Ping): Buffer {
  const writer = begin(MESSAGE_TYPE.ping).map(2 + sourceFields(ping));
  writer.key("Node").text(ping.node).key("SeqNo").uint(ping.seqNo);
  return writeSource(writer, ping).finish();
}

function encodeIndirectPing(ping: IndirectPing): Buffer {
  const writer = begin(MESSAGE_TYPE.indirectPing).map(5 + sourceFields(ping));
  writer.key("Nack").bool(ping.nack).key("Node").text(ping.node).key("Port").uint(ping.port);
  writer.key("SeqNo").uint(ping.seqNo);
  return writeSource(writer, ping).key("Target").raw(ping.target).finish();
}

/** Go's `omitempty`: each of the three is left out when it is empty. */
function sourceFields({ sourceAddr, sourcePort, sourceNode }: Source): number {
  return (sourceAddr?.length ? 1 : 0) + (sourcePort ? 1 : 0) + (sourceNode ? 1 : 0);
}

function writeSource(writer: MsgpackWriter, { sourceAddr, sourcePort, sourceNode }: Source): MsgpackWriter {
  if (sourceAddr?.length) writer.key("SourceAddr").raw(sourceAddr);
  if (sourceNode) writer.key("SourceNode").text(sourceNode);
  if (sourcePort) writer.key("SourcePort").uint(sourcePort);
  return writer;
}

function encodeAccusation(type: number, { from, incarnation, node }: Suspect | Dead): Buffer {
  const writer = begin(type).map(3).key("From").text(from);
  return writer.key("Incarnation").uint(incarnation).key("Node").text(node).finish();
}

function encodeAlive(alive: Alive): Buffer {
  const writer = begin(MESSAGE_TYPE.alive, 640).map(6);
  writer.key("Addr").raw(alive.addr).key("Incarnation").uint(alive.incarnation).key("Meta").raw(alive.meta);
  return writer.key("Node").text(alive.node).key("Port").uint(alive.port).key("Vsn").raw(alive.vsn).finish();
}

/** A header with the counts, the nodes one after the other, the user state as it is. */
function encodePushPull({ join, nodes, userState }: PushPull): Buffer {
  const writer = begin(MESSAGE_TYPE.pushPull, 8 * 1024).map(3);
  writer.key("Join").bool(join).key("Nodes").int(nodes.length).key("UserStateLen").int(userState.length);
  for (const node of nodes) writeNodeState(writer, node);
  return writer.append(userState).finish();
}

function writeNodeState(writer: MsgpackWriter, node: PushNodeState): void {
  writer.map(7).key("Addr").raw(node.addr).key("Incarnation").uint(node.incarnation).key("Meta").raw(node.meta);
  writer.key("Name").text(node.name).key("Port").uint(node.port);
  writer.key("State").int(NODE_STATES.indexOf(node.state)).key("Vsn").raw(node.vsn);
}

function encodeStreamUser({ bytes }: User): Buffer {
  const writer = begin(MESSAGE_TYPE.user, bytes.length + 32)
    .map(1)
    .key("UserMsgLen")
    .int(bytes.length);
  return writer.append(bytes).finish();
}
