import { GOSSIP_METADATA_BYTES } from "../core/limits.ts";

/**
 * The messages of hashicorp/memberlist (protocol 2, understood 1 to 5), as values. `null` bytes are Go's nil, which differs on the wire from
 * empty ones. Unsigned numbers are 32 bits wide unless said otherwise. Reading and writing them: message-encoder.ts, message-decoder.ts.
 */

/** Where a node's gossip port is. `addr`: 4 or 16 bytes, exactly as the node itself announced them (Go compares bytes). */
export interface Endpoint {
  readonly addr: Uint8Array;
  /** 16 bits. */
  readonly port: number;
}

/** Who asks; left out on the wire where empty. */
export interface Source {
  readonly sourceAddr?: Uint8Array;
  readonly sourcePort?: number;
  readonly sourceNode?: string;
}

export interface Ping extends Source {
  readonly type: "ping";
  readonly seqNo: number;
  readonly node: string;
}

export interface IndirectPing extends Source {
  readonly type: "indirectPing";
  readonly seqNo: number;
  readonly target: Uint8Array | null;
  readonly port: number;
  readonly node: string;
  /** Does the asker understand a nack? */
  readonly nack: boolean;
}

export interface Ack {
  readonly type: "ack";
  readonly seqNo: number;
  readonly payload: Uint8Array | null;
}

export interface Nack {
  readonly type: "nack";
  readonly seqNo: number;
}

export interface Suspect {
  readonly type: "suspect";
  readonly incarnation: number;
  readonly node: string;
  readonly from: string;
}

/** `from` equal to `node`: it left. */
export interface Dead {
  readonly type: "dead";
  readonly incarnation: number;
  readonly node: string;
  readonly from: string;
}

export interface Alive {
  readonly type: "alive";
  readonly incarnation: number;
  readonly node: string;
  readonly addr: Uint8Array | null;
  readonly port: number;
  readonly meta: Uint8Array | null;
  /** Protocol min, max, current, delegate min, max, current. */
  readonly vsn: Uint8Array | null;
}

export interface User {
  readonly type: "user";
  readonly bytes: Uint8Array;
}

/** What travels in packets, besides compounds of them. */
export type PacketMessage = Ping | IndirectPing | Ack | Nack | Suspect | Dead | Alive | User;

export type NodeState = "alive" | "suspect" | "dead" | "left";

/** One entry of a push/pull. */
export interface PushNodeState {
  readonly name: string;
  readonly addr: Uint8Array | null;
  readonly port: number;
  readonly meta: Uint8Array | null;
  readonly incarnation: number;
  readonly state: NodeState;
  readonly vsn: Uint8Array | null;
}

export interface PushPull {
  readonly type: "pushPull";
  readonly join: boolean;
  readonly nodes: readonly PushNodeState[];
  readonly userState: Uint8Array;
}

export interface ErrorAnswer {
  readonly type: "error";
  readonly error: string;
}

/** What travels in streams: one message for each connection and direction. */
export type StreamMessage = Ping | Ack | User | PushPull | ErrorAnswer;

/** The versions that we announce: what memberlist does. */
export const VSN: Uint8Array = Uint8Array.of(1, 5, 2, 0, 0, 0);
/** Bytes of metadata that a member may announce. A Go sender panics above. */
export const META_MAX_BYTES = GOSSIP_METADATA_BYTES;

/**
 * Something that came in and was refused. `reason` is a fixed word (a label of a metric), the message is for the log.
 * It never escapes gossip/: what throws it is caught where packets and streams come in.
 */
export class Refused extends Error {
  readonly reason: string;

  constructor(reason: string, message: string) {
    super(message);
    this.name = "Refused";
    this.reason = reason;
  }
}
