import { hostOf } from "./endpoint.ts";
import type { Endpoint, IndirectPing, Source } from "./messages.ts";
import type { Outbox } from "./outbox.ts";
import type { Profile } from "./profile.ts";

/** Pings for others under way at a time; more are not taken on. */
const RELAYS_MAX_COUNT = 1_024;
/**
 * A nack goes out after this part of the probe's timeout, or of what is left of the asker's interval if that is shorter (WAN). memberlist waits for
 * the whole timeout, and with its LAN and WAN timing a nack then comes after the asker's verdict: each death would make all who find it believe
 * that they are unwell themselves.
 */
const NACK_AFTER_SHARE = 0.8;

interface Relay {
  readonly asker: Endpoint;
  readonly askerName: string | undefined;
  readonly askerSeqNo: number;
  /** Infinite when none is wanted, or it was sent. */
  nackMs: number;
  endsMs: number;
}

export interface RelaysOptions {
  readonly outbox: Outbox;
  readonly source: () => Required<Source>;
  readonly nextSeqNo: () => number;
  readonly profile: Pick<Profile, "probeTimeoutMs" | "probeIntervalMs">;
}

/** Pings on behalf of others: an answer is passed on, and that none came in time is said too (a nack shows that we are well). */
export class Relays {
  private readonly options: RelaysOptions;
  /** By the number of our ping. */
  private readonly pending = new Map<number, Relay>();

  constructor(options: RelaysOptions) {
    this.options = options;
  }

  asked(request: IndirectPing, from: Endpoint, nowMs: number): void {
    const { outbox, nextSeqNo, source, profile } = this.options;
    const { probeTimeoutMs, probeIntervalMs } = profile;
    const target = { addr: request.target ?? new Uint8Array(), port: request.port || source().sourcePort };
    if (hostOf(target.addr) === "" || this.pending.size >= RELAYS_MAX_COUNT) return;
    const seqNo = nextSeqNo();
    this.pending.set(seqNo, {
      asker: answerTo(request, from),
      askerName: request.sourceNode,
      askerSeqNo: request.seqNo,
      nackMs: request.nack
        ? nowMs + NACK_AFTER_SHARE * Math.min(probeTimeoutMs, probeIntervalMs - probeTimeoutMs)
        : Number.POSITIVE_INFINITY,
      endsMs: nowMs + probeTimeoutMs,
    });
    outbox.send(target, request.node, { type: "ping", seqNo, node: request.node, ...source() });
  }

  /** False when this answers nothing that was asked for others. */
  acked(seqNo: number): boolean {
    const relay = this.pending.get(seqNo);
    if (!relay) return false;
    this.pending.delete(seqNo);
    this.options.outbox.send(relay.asker, relay.askerName, { type: "ack", seqNo: relay.askerSeqNo, payload: null });
    return true;
  }

  tick(nowMs: number): void {
    for (const [seqNo, relay] of this.pending) {
      if (nowMs >= relay.nackMs) {
        relay.nackMs = Number.POSITIVE_INFINITY;
        this.options.outbox.send(relay.asker, relay.askerName, { type: "nack", seqNo: relay.askerSeqNo });
      }
      if (nowMs >= relay.endsMs) this.pending.delete(seqNo);
    }
  }

  nextDueMs(): number {
    let dueMs = Number.POSITIVE_INFINITY;
    for (const { nackMs, endsMs } of this.pending.values()) dueMs = Math.min(dueMs, nackMs, endsMs);
    return dueMs;
  }

  postpone(ms: number): void {
    for (const relay of this.pending.values()) {
      relay.nackMs += ms;
      relay.endsMs += ms;
    }
  }
}

/** Where the one who asks wants the answer; if it does not say so in full, where the question came from. */
export function answerTo({ sourceAddr, sourcePort }: Source, from: Endpoint): Endpoint {
  if (!sourceAddr || !sourcePort || hostOf(sourceAddr) === "") return from;
  return { addr: new Uint8Array(sourceAddr), port: sourcePort };
}
