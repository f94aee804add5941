import { MESSAGE_TYPE, NODE_STATES } from "./message-types.ts";
import {
  type Ack,
  type Alive,
  type ErrorAnswer,
  type PacketMessage,
  type Ping,
  type PushNodeState,
  Refused,
  type Source,
} from "./messages.ts";
import { readStruct, STRUCTS, type StructOf } from "./struct-reader.ts";

/**
 * One message of a packet, as `encodeMessage` writes it: never a compound or another layer. Bytes after it are ignored, as by Go.
 * Throws Refused for what Go refuses and for what would end a Go process; nothing else.
 */
export function decodeMessage(bytes: Uint8Array): PacketMessage {
  const body = bytes.subarray(1);
  switch (bytes[0]) {
    case MESSAGE_TYPE.ping:
      return decodePing(body);
    case MESSAGE_TYPE.indirectPing: {
      const { SeqNo, Target, Port, Node, Nack, ...source } = readStruct(body, STRUCTS.indirectPingReq);
      const asked = { seqNo: SeqNo, target: Target, port: Port, node: Node, nack: Nack };
      return { type: "indirectPing", ...asked, ...sourceOf(source) };
    }
    case MESSAGE_TYPE.ack:
      return decodeAck(body);
    case MESSAGE_TYPE.nack:
      return { type: "nack", seqNo: readStruct(body, STRUCTS.nackResp).SeqNo };
    case MESSAGE_TYPE.suspect:
      return { type: "suspect", ...accusation(readStruct(body, STRUCTS.suspect)) };
    case MESSAGE_TYPE.dead:
      return { type: "dead", ...accusation(readStruct(body, STRUCTS.dead)) };
    case MESSAGE_TYPE.alive:
      return decodeAlive(body);
    case MESSAGE_TYPE.user:
      return { type: "user", bytes: new Uint8Array(body) };
    case undefined:
      throw new Refused("short", "missing message type byte");
    default:
      throw new Refused("type", `msg type (${bytes[0]}) not supported`);
  }
}

/** Without the type byte, as the ones below. */
export function decodePing(body: Uint8Array): Ping {
  const { SeqNo, Node, ...source } = readStruct(body, STRUCTS.ping);
  return { type: "ping", seqNo: SeqNo, node: Node, ...sourceOf(source) };
}

export function decodeAck(body: Uint8Array): Ack {
  const { SeqNo, Payload } = readStruct(body, STRUCTS.ackResp);
  return { type: "ack", seqNo: SeqNo, payload: Payload };
}

export function decodeErrorAnswer(body: Uint8Array): ErrorAnswer {
  return { type: "error", error: Buffer.from(readStruct(body, STRUCTS.errResp).Error ?? []).toString("utf8") };
}

/** Null: a state that does not exist, which Go passes over. */
export function decodeNodeState(body: Uint8Array): PushNodeState | null {
  const { Name, Addr, Port, Meta, Incarnation, State, Vsn } = readStruct(body, STRUCTS.pushNodeState);
  checkVsn(Vsn);
  const state = NODE_STATES[State];
  if (state === undefined) return null;
  return { name: Name, addr: Addr, port: Port, meta: Meta, incarnation: Incarnation, state, vsn: Vsn };
}

function decodeAlive(body: Uint8Array): Alive {
  const { Incarnation, Node, Addr, Port, Meta, Vsn } = readStruct(body, STRUCTS.alive);
  checkVsn(Vsn);
  return { type: "alive", incarnation: Incarnation, node: Node, addr: Addr, port: Port, meta: Meta, vsn: Vsn };
}

/** MUST NOT be taken nor passed on: memberlist before 0.6 looks for six bytes wherever there is one, and its process ends. */
function checkVsn(vsn: Uint8Array | null): void {
  if (vsn !== null && vsn.length > 0 && vsn.length < 6) throw new Refused("vsn", `a Vsn of ${vsn.length} bytes`);
}

type SourceFields = Pick<StructOf<typeof STRUCTS.ping>, "SourceAddr" | "SourcePort" | "SourceNode">;

/** What is empty counts as left out. */
function sourceOf({ SourceAddr, SourcePort, SourceNode }: SourceFields): Source {
  return {
    ...(SourceAddr?.length ? { sourceAddr: SourceAddr } : {}),
    ...(SourcePort ? { sourcePort: SourcePort } : {}),
    ...(SourceNode ? { sourceNode: SourceNode } : {}),
  };
}

function accusation({ Incarnation, Node, From }: StructOf<typeof STRUCTS.suspect>) {
  return { incarnation: Incarnation, node: Node, from: From };
}
