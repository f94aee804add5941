import type { Endpoint, NodeState, PacketMessage, PushNodeState, PushPull } from "./messages.ts";

/**
 * The state machine of gossip has no socket and no timer: it is told what came in and what time it is, and answers with effects for
 * gossip.ts to carry out. Times are monotonic milliseconds. The simulator drives the same code.
 */

/** A member as it is known here. The own node is one too. */
export interface GossipMember {
  readonly name: string;
  readonly endpoint: Endpoint;
  readonly meta: Uint8Array;
  readonly vsn: Uint8Array;
  readonly incarnation: number;
  readonly state: NodeState;
  readonly stateSinceMs: number;
}

export type MemberEvent =
  /** `joined`: new, or back from dead or left. `updated`: new metadata or address. `state`: any other change of state (to suspect, back to alive). */
  | { readonly kind: "joined" | "updated" | "state" | "dead" | "left"; readonly member: GossipMember }
  /** Forgotten: dead or left for longer than gossipToTheDeadMs. */
  | { readonly kind: "forgotten"; readonly name: string }
  /** Two processes claim one name: `other` is where the second one is, `otherMeta` what it says of itself. */
  | {
      readonly kind: "conflict";
      readonly member: GossipMember;
      readonly other: Endpoint;
      readonly otherMeta: Uint8Array;
    }
  /** We are said to be dead or suspect under an incarnation so high that it can't be refuted: forged, or a fault. For the log. */
  | { readonly kind: "unrefuted"; readonly member: GossipMember; readonly incarnation: number };

export type Effect =
  /** One packet with these encoded messages (a compound when more than one), put together so that it fits. `crc`: the receiver understands it. */
  | { readonly do: "packet"; readonly to: Endpoint; readonly parts: readonly Uint8Array[]; readonly crc: boolean }
  /** A ping over TCP; `Swim.streamPinged(seqNo, …)` is told the outcome. */
  | {
      readonly do: "streamPing";
      readonly to: Endpoint;
      readonly node: string;
      readonly seqNo: number;
      readonly timeoutMs: number;
    }
  /** An exchange of everything over TCP; the remote state goes to `Swim.merge`. `join`: the first one with a seed. */
  | { readonly do: "pushPull"; readonly to: Endpoint; readonly node: string; readonly join: boolean }
  /** For whoever listens: the cluster, the log, the metrics. */
  | { readonly do: "tell"; readonly event: MemberEvent }
  | { readonly do: "user"; readonly bytes: Uint8Array };

/** `refused`: its machine said at once that nobody listens there. It says nothing good of the member, but that our side is well. */
export type StreamPingOutcome = "answered" | "refused" | "silent";

/** How well this node does, for `/status/` and the metrics. */
export interface SwimStatus {
  /** 0 is good; up to awarenessMaxMultiplier - 1. */
  readonly healthScore: number;
  readonly queuedBroadcasts: number;
  /** Members whose UDP does not answer, while their TCP does. */
  readonly tcpOnlyMembers: number;
  /** What was said about members and refused, by reason (a fixed list of words). */
  readonly refused: Readonly<Record<string, number>>;
}

export interface SwimInput {
  /** When `tick` has something to do next. */
  nextDueMs(): number;
  /** Everything that is due: probes and their verdicts, gossip, push/pull, suspicions that ran out, members to forget. */
  tick(nowMs: number): Effect[];
  /** A message of a packet. */
  received(message: PacketMessage, from: Endpoint, nowMs: number): Effect[];
  streamPinged(seqNo: number, outcome: StreamPingOutcome, nowMs: number): Effect[];
  /** What a push/pull sends of us. */
  localState(): readonly PushNodeState[];
  /** What a push/pull brought. Throws Refused when it must not be merged (a short Vsn, an incompatible protocol). */
  merge(remote: PushPull, nowMs: number): Effect[];
  /** New metadata of ours: a higher incarnation, broadcast. */
  updateMeta(meta: Uint8Array, nowMs: number): Effect[];
  /** Broadcasts that we leave. It is out when `hasLeft()`. */
  leave(nowMs: number): Effect[];
  hasLeft(): boolean;
  /** The event loop was late by so much: this node is unwell. */
  lagged(lateMs: number, nowMs: number): void;
  /** How long the last answered probe of a member took; null when there was none. */
  probeMs(name: string): number | null;
  /** This node. */
  own(): GossipMember;
  /** All, this node among them, in no order that means anything. */
  members(): readonly GossipMember[];
  member(name: string): GossipMember | undefined;
  status(): SwimStatus;
}
