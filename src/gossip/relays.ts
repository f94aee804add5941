import { hostOf } from "./endpoint.ts";
import type { Endpoint, IndirectPing, Source } from "./messages.ts";
import type { Outbox } from "./outbox.ts";

/** Pings for others under way at a time; more are not taken on. */
const RELAYS_MAX_COUNT = 1_024;

interface Relay {
  readonly asker: Endpoint;
  readonly askerSeqNo: number;
  readonly wantsNack: boolean;
  readonly endsMs: number;
}

export interface RelaysOptions {
  readonly outbox: Outbox;
  readonly source: () => Required<Source>;
  readonly nextSeqNo: () => number;
  readonly probeTimeoutMs: number;
}

/** Pings on behalf of others: an answer is passed on, and that none came in time is said too (a nack shows that we are well). */
export class Relays {
  private readonly options: RelaysOptions;
  /** By the number of our ping; the oldest first, and all take equally long. */
  private readonly pending = new Map<number, Relay>();

  constructor(options: RelaysOptions) {
    this.options = options;
  }

  asked(request: IndirectPing, from: Endpoint, nowMs: number): void {
    const { outbox, nextSeqNo, source, probeTimeoutMs } = this.options;
    const target = { addr: request.target ?? new Uint8Array(), port: request.port || source().sourcePort };
    if (hostOf(target.addr) === "" || this.pending.size >= RELAYS_MAX_COUNT) return;
    const seqNo = nextSeqNo();
    this.pending.set(seqNo, {
      asker: answerTo(request, from),
      askerSeqNo: request.seqNo,
      wantsNack: request.nack,
      endsMs: nowMs + probeTimeoutMs,
    });
    outbox.send(target, { type: "ping", seqNo, node: request.node, ...source() });
  }

  /** False when this answers nothing that was asked for others. */
  acked(seqNo: number): boolean {
    const relay = this.pending.get(seqNo);
    if (!relay) return false;
    this.pending.delete(seqNo);
    this.options.outbox.send(relay.asker, { type: "ack", seqNo: relay.askerSeqNo, payload: null });
    return true;
  }

  tick(nowMs: number): void {
    for (const [seqNo, { asker, askerSeqNo, wantsNack, endsMs }] of this.pending) {
      if (endsMs > nowMs) return;
      this.pending.delete(seqNo);
      if (wantsNack) this.options.outbox.send(asker, { type: "nack", seqNo: askerSeqNo });
    }
  }

  nextDueMs(): number {
    for (const { endsMs } of this.pending.values()) return endsMs;
    return Number.POSITIVE_INFINITY;
  }

  postpone(ms: number): void {
    for (const [seqNo, relay] of this.pending) this.pending.set(seqNo, { ...relay, endsMs: relay.endsMs + ms });
  }
}

/** Where the one who asks wants the answer; if it does not say so in full, where the question came from. */
export function answerTo({ sourceAddr, sourcePort }: Source, from: Endpoint): Endpoint {
  if (!sourceAddr || !sourcePort || hostOf(sourceAddr) === "") return from;
  return { addr: new Uint8Array(sourceAddr), port: sourcePort };
}
