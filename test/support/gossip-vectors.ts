import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import type { Random } from "../../src/core/random.ts";
import { Keyring } from "../../src/gossip/keyring.ts";
import type { NodeState, PacketMessage, PushNodeState, StreamMessage } from "../../src/gossip/messages.ts";
import { openPacket, type Wire } from "../../src/gossip/packet-codec.ts";

/** Go's field names and values: bytes as hex, nil as null, left out as on the wire. */
export type Fields = Readonly<Record<string, string | number | boolean | null>>;

export interface MessageVector {
  readonly name: string;
  readonly type: number;
  readonly hex: string;
  readonly fields: Fields;
}

export interface Encryption {
  readonly version: 0 | 1;
  readonly key: string;
  readonly nonce: string;
}

export interface PacketVector {
  readonly name: string;
  readonly hex: string;
  readonly message: string;
  readonly label: string | null;
  readonly encryption: Encryption | null;
  readonly crc: string | null;
  readonly compressed: boolean;
}

export interface StreamSide {
  readonly hex: string;
  readonly type: number;
  readonly label: string | null;
  readonly encryption: Encryption | null;
  readonly compressed: boolean;
  readonly decoded: Fields & {
    readonly header?: Fields;
    readonly nodes?: readonly Fields[];
    readonly userState?: string;
    readonly body?: string;
  };
}

export interface StreamVector {
  readonly name: string;
  readonly fromDialer: StreamSide;
  readonly fromListener: StreamSide;
  readonly dialerError?: string;
  readonly listenerLog?: readonly string[];
}

export interface GoResult {
  readonly log?: readonly string[];
  readonly delivered?: readonly string[];
  readonly answer?: string;
  readonly answerError?: string;
  readonly nodes?: readonly unknown[];
  readonly panic?: string;
  readonly died?: string;
}

export interface MalformedVector {
  readonly name: string;
  readonly via: "packet" | "stream";
  readonly hex?: string;
  readonly file?: string;
  readonly receiver?: { readonly label?: string; readonly key?: string; readonly gossipVerifyIncoming?: boolean };
  readonly result: GoResult;
  readonly resultOf054?: GoResult;
}

interface Vectors {
  readonly messages: readonly MessageVector[];
  readonly headers: readonly { readonly name: string; readonly hex: string; readonly fields: Fields }[];
  readonly compounds: readonly {
    readonly name: string;
    readonly hex: string;
    readonly parts?: readonly string[];
    readonly readAs?: { readonly parts: readonly string[]; readonly truncated: number };
  }[];
  readonly lzw: readonly { readonly name: string; readonly plain: string; readonly lzw: string }[];
  readonly packets: readonly PacketVector[];
  readonly streams: readonly StreamVector[];
  readonly decoding: readonly {
    readonly name: string;
    readonly struct: string;
    readonly hex: string;
    readonly fields?: Fields;
    readonly error?: string;
  }[];
  readonly malformed: readonly MalformedVector[];
}

/** What hashicorp/memberlist itself wrote and did. */
export const VECTORS = JSON.parse(readFileSync(resolve("test/fixtures/memberlist.json"), "utf8")) as Vectors;

export const LZW_BOMB = readFileSync(resolve("test/fixtures/memberlist-lzw-bomb.bin"));

export const hex = (text: string): Buffer => Buffer.from(text, "hex");

export const PLAIN_WIRE: Wire = { label: "", keyring: null, compress: false };

/** The bytes of a malformed vector: some are told, not given. */
export function malformedBytes(vector: MalformedVector): Buffer {
  if (vector.file) return LZW_BOMB;
  if (vector.hex !== undefined) return hex(vector.hex);
  if (vector.name !== "compound nested 5000 deep") throw new Error(`don't know how to build: ${vector.name}`);
  let bytes = hex("086869");
  for (let i = 0; i < 5000; i++) bytes = Buffer.concat([hex("0701"), uint16(bytes.length), bytes]);
  return bytes;
}

/** A Random that gives this nonce. */
export function nonceOf(encryption: Encryption | null): Random {
  return { hex: () => encryption?.nonce ?? "", next: () => 0, uuid: () => "" };
}

/** The messages of a packet, without their lengths. */
export function openMessages(...packet: Parameters<typeof openPacket>): PacketMessage[] {
  return openPacket(...packet).map(({ message }) => message);
}

/** How the other side of a vector speaks. */
export function wireOf(vector: Pick<PacketVector, "label" | "encryption" | "compressed">): Wire {
  const keyring = vector.encryption ? new Keyring([hex(vector.encryption.key)]) : null;
  const acceptVersion0 = vector.encryption?.version === 0;
  return { label: vector.label ?? "", keyring, compress: vector.compressed, acceptVersion0 };
}

const TYPES = [
  "ping",
  "indirectPing",
  "ack",
  "suspect",
  "alive",
  "dead",
  "pushPull",
  "compound",
  "user",
  "compress",
  "encrypt",
  "nack",
  "crc",
  "error",
] as const;

const KEYS: Readonly<Record<string, string>> = {
  SeqNo: "seqNo",
  Node: "node",
  Nack: "nack",
  Port: "port",
  Target: "target",
  Payload: "payload",
  Incarnation: "incarnation",
  From: "from",
  Addr: "addr",
  Meta: "meta",
  Vsn: "vsn",
  Error: "error",
  Name: "name",
  SourceAddr: "sourceAddr",
  SourcePort: "sourcePort",
  SourceNode: "sourceNode",
  Body: "bytes",
};
const BYTES = new Set(["Target", "Payload", "Addr", "Meta", "Vsn", "SourceAddr", "Body"]);

/** Go's fields as one of our messages. */
export function messageOf(type: number, fields: Fields): PacketMessage | StreamMessage {
  return { type: TYPES[type], ...translated(fields) } as PacketMessage | StreamMessage;
}

export function nodeStateOf({ State, ...fields }: Fields): PushNodeState {
  const state = (["alive", "suspect", "dead", "left"] as const satisfies NodeState[])[State as number];
  return { ...translated(fields), state } as unknown as PushNodeState;
}

/** What one side of a stream says. */
export function streamMessageOf({ type, decoded }: StreamSide): StreamMessage {
  if (decoded.nodes) {
    const nodes = decoded.nodes.map(nodeStateOf);
    return { type: "pushPull", join: decoded.header?.["Join"] === true, nodes, userState: bytesOf(decoded.userState) };
  }
  if (decoded.body !== undefined) return { type: "user", bytes: bytesOf(decoded.body) };
  return messageOf(type, decoded) as StreamMessage;
}

function translated(fields: Fields): Record<string, unknown> {
  const entries = Object.entries(fields).map(([name, value]) => [
    KEYS[name],
    BYTES.has(name) && value !== null ? bytesOf(value as string) : value,
  ]);
  return Object.fromEntries(entries) as Record<string, unknown>;
}

/** No Buffer: expect tells them apart. */
function bytesOf(text: string | undefined): Uint8Array {
  return new Uint8Array(hex(text ?? ""));
}

function uint16(value: number): Buffer {
  return Buffer.of(value >> 8, value & 255);
}
