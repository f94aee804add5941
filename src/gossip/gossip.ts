import { type Clock, StallTimer } from "../core/clock.ts";
import { asCaskError, CaskError, messageOf } from "../core/errors.ts";
import { Gate } from "../core/gate.ts";
import {
  GOSSIP_DIALS_AT_ONCE_COUNT,
  GOSSIP_DIALS_WAITING_MAX_COUNT,
  GOSSIP_LAG_MIN_MS,
  GOSSIP_STREAMS_MAX_COUNT,
} from "../core/limits.ts";
import type { Logger } from "../core/log.ts";
import type { Random } from "../core/random.ts";
import { formatEndpoint } from "./endpoint.ts";
import { GossipStats, type GossipStatsSnapshot } from "./gossip-stats.ts";
import { typeNameOf } from "./message-types.ts";
import type { Endpoint, StreamMessage } from "./messages.ts";
import { Refused } from "./messages.ts";
import { isRefusedConnection } from "./net-transport.ts";
import { sealPacket, type Wire } from "./packet-codec.ts";
import type { Profile } from "./profile.ts";
import { StreamReader, sealStream } from "./stream-codec.ts";
import type { Effect, GossipMember, MemberEvent, StreamPingOutcome, SwimInput, SwimStatus } from "./swim-contract.ts";
import type { GossipStream, GossipTransport } from "./transport.ts";
import type { Wires } from "./wires.ts";

export interface GossipOptions {
  readonly swim: SwimInput;
  readonly transport: GossipTransport;
  readonly wires: Wires;
  readonly profile: Profile;
  /** What push/pulls carry beside the members: Cask's heartbeat as JSON. */
  readonly userState: () => Uint8Array;
  readonly onEvent: (event: MemberEvent) => void;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
}

/** For `/status/` and the page. */
export interface GossipStatus extends SwimStatus, GossipStatsSnapshot {
  readonly address: string;
  readonly encrypted: boolean;
  readonly members: ReadonlyArray<
    Pick<GossipMember, "name" | "state" | "incarnation"> & {
      readonly address: string;
      readonly stateForMs: number;
      readonly probeMs: number | null;
    }
  >;
}

const LEAVE_CHECK_MS = 20;

/** Carries out what the state machine says: sockets, timers, and the one place where what comes in is caught when it is refused. */
export class Gossip {
  readonly stats = new GossipStats();
  private readonly options: GossipOptions;
  private readonly dials = new Gate("gossip exchanges", GOSSIP_DIALS_AT_ONCE_COUNT, GOSSIP_DIALS_WAITING_MAX_COUNT);
  private readonly stopping = new AbortController();
  private incomingStreams = 0;
  private cancelTimer: () => void = () => undefined;

  constructor(options: GossipOptions) {
    this.options = options;
  }

  /** The transport listens already, and hands in what comes (`packet`, `stream`). */
  start(): void {
    this.schedule();
  }

  /** Exchanges everything with whoever has its gossip port there. Rejects with PEER_FAILED when that is not possible. */
  async join(to: Endpoint, signal?: AbortSignal): Promise<void> {
    await this.pushPull(to, true, signal);
  }

  /** Tells the others that this node leaves; resolves when that is out, or after `withinMs`. */
  async leave(withinMs: number): Promise<void> {
    const { swim, clock } = this.options;
    this.carryOut(swim.leave(clock.nowMs()));
    this.schedule();
    const deadlineMs = clock.nowMs() + withinMs;
    while (!swim.hasLeft() && clock.nowMs() < deadlineMs) await clock.sleep(LEAVE_CHECK_MS);
  }

  async stop(): Promise<void> {
    this.stopping.abort(new CaskError("STOPPING", "gossip has stopped"));
    this.cancelTimer();
    await this.options.transport.stop();
  }

  own(): GossipMember {
    return this.options.swim.own();
  }

  members(): readonly GossipMember[] {
    return this.options.swim.members();
  }

  status(): GossipStatus {
    const { swim, wires, clock } = this.options;
    return {
      address: formatEndpoint(swim.own().endpoint),
      encrypted: wires.isSecret,
      ...swim.status(),
      ...this.stats.snapshot(),
      members: swim.members().map(({ name, endpoint, state, stateSinceMs, incarnation }) => ({
        name,
        address: formatEndpoint(endpoint),
        state,
        incarnation,
        stateForMs: Math.round(clock.nowMs() - stateSinceMs),
        probeMs: swim.probeMs(name),
      })),
    };
  }

  updateMeta(meta: Uint8Array): void {
    const { swim, clock } = this.options;
    this.carryOut(swim.updateMeta(meta, clock.nowMs()));
    this.schedule();
  }

  packet(bytes: Uint8Array, from: Endpoint): void {
    if (this.stopping.signal.aborted) return;
    const { swim, wires, clock } = this.options;
    this.stats.packetIn(bytes.length);
    try {
      const onRefusedPart = (error: Refused) => this.dropped(error, from);
      for (const { message, bytes: length } of wires.openPacket(bytes, from, onRefusedPart)) {
        this.stats.messageIn(message.type, length);
        this.carryOut(swim.received(message, from, clock.nowMs()));
      }
    } catch (error) {
      this.dropped(error, from);
    }
    this.schedule();
  }

  stream(stream: GossipStream): void {
    if (this.stopping.signal.aborted || this.incomingStreams >= GOSSIP_STREAMS_MAX_COUNT) {
      this.stats.dropped("busy");
      stream.destroy();
      return;
    }
    this.incomingStreams++;
    void this.answer(stream).finally(() => {
      this.incomingStreams--;
    });
  }

  /** One timer for all that is due next. That it fires late says something about this process. */
  private schedule(): void {
    this.cancelTimer();
    if (this.stopping.signal.aborted) return;
    const { swim, clock } = this.options;
    const dueMs = swim.nextDueMs();
    if (!Number.isFinite(dueMs)) return;
    this.cancelTimer = clock.timer(Math.max(0, dueMs - clock.nowMs()), () => this.onTimer(dueMs));
  }

  private onTimer(dueMs: number): void {
    const { swim, clock } = this.options;
    const nowMs = clock.nowMs();
    if (nowMs - dueMs >= GOSSIP_LAG_MIN_MS) swim.lagged(nowMs - dueMs, nowMs);
    this.carryOut(swim.tick(nowMs));
    this.schedule();
  }

  private carryOut(effects: readonly Effect[]): void {
    const { transport, wires, random, onEvent } = this.options;
    for (const effect of effects) {
      switch (effect.do) {
        case "packet": {
          const packet = sealPacket(wires.to(effect.to), effect.parts, { crc: effect.crc }, random);
          this.stats.packetOut(packet.length);
          for (const part of effect.parts) this.stats.messageOut(typeNameOf(part), part.length);
          transport.send(effect.to, packet);
          break;
        }
        case "streamPing":
          void this.streamPing(effect);
          break;
        case "pushPull":
          this.pushPull(effect.to, effect.join).catch((error: unknown) => this.notExchanged(effect.to, error));
          break;
        case "tell":
          onEvent(effect.event);
          break;
        case "user":
          break; // nobody here sends any
      }
    }
  }

  private async streamPing({ to, node, seqNo, timeoutMs }: Extract<Effect, { do: "streamPing" }>): Promise<void> {
    const { swim, clock } = this.options;
    let outcome: StreamPingOutcome = "silent";
    try {
      const answer = await this.exchange(to, { type: "ping", seqNo, node }, timeoutMs);
      if (answer.type === "ack" && answer.seqNo === seqNo) outcome = "answered";
    } catch (error) {
      if (isRefusedConnection(error)) outcome = "refused";
      this.options.log.debug({ err: error }, `no answer to a ping over TCP from ${node}`);
    }
    if (this.stopping.signal.aborted) return;
    this.carryOut(swim.streamPinged(seqNo, outcome, clock.nowMs()));
    this.schedule();
  }

  private async pushPull(to: Endpoint, join: boolean, signal?: AbortSignal): Promise<void> {
    const { swim, profile, clock } = this.options;
    const message = this.ownState(join);
    const answer = await this.exchange(to, message, profile.tcpTimeoutMs, signal);
    if (answer.type === "error") throw new CaskError("PEER_FAILED", `${formatEndpoint(to)} refuses: ${answer.error}`);
    if (answer.type !== "pushPull") throw new CaskError("PEER_FAILED", `${formatEndpoint(to)} answered something else`);
    this.carryOut(swim.merge(answer, clock.nowMs()));
    this.schedule();
  }

  private ownState(join: boolean): StreamMessage {
    return { type: "pushPull", join, nodes: this.options.swim.localState(), userState: this.options.userState() };
  }

  /** Sends one message over a connection of its own and waits for the answer, all within a time. */
  private exchange(to: Endpoint, message: StreamMessage, timeoutMs: number, signal?: AbortSignal) {
    const { clock } = this.options;
    return this.dials.run(async () => {
      const late = () => new CaskError("PEER_SLOW", `${formatEndpoint(to)} did not answer within ${timeoutMs} ms`);
      const both = signal ? AbortSignal.any([signal, this.stopping.signal]) : this.stopping.signal;
      const deadline = new StallTimer(clock, timeoutMs, late, both);
      try {
        return await this.tryWires(to, message, deadline.signal);
      } catch (error) {
        deadline.signal.throwIfAborted();
        throw error instanceof Refused
          ? new CaskError("PEER_FAILED", `${formatEndpoint(to)}: ${error.message}`, error)
          : asCaskError(error, "PEER_FAILED", formatEndpoint(to));
      } finally {
        deadline.stop();
      }
    }, signal);
  }

  private async tryWires(to: Endpoint, message: StreamMessage, signal: AbortSignal): Promise<StreamMessage> {
    const { transport, wires, random } = this.options;
    let refusal: unknown;
    for (const wire of wires.forDial(to)) {
      const stream = await transport.dial(to, signal);
      try {
        stream.end(this.counted(message, sealStream(wire, message, "dialer", random)));
        const answer = await this.readOne(stream, "dialer", () => wire);
        wires.answered(to, wire);
        return answer.message;
      } catch (error) {
        signal.throwIfAborted();
        refusal = error;
      } finally {
        stream.destroy();
      }
    }
    throw refusal;
  }

  /** One connection, one message, one answer at most; everything within tcpTimeoutMs. */
  private async answer(stream: GossipStream): Promise<void> {
    const { profile, wires, clock } = this.options;
    const cancel = clock.timer(profile.tcpTimeoutMs, () => stream.destroy());
    try {
      const { message, wire } = await this.readOne(stream, "listener", (first) => wires.ofStream(first));
      this.reply(stream, message, wire);
    } catch (error) {
      this.dropped(error, null);
      this.explain(stream, error);
    } finally {
      cancel();
      clock.timer(profile.tcpTimeoutMs, () => stream.destroy()); // for the answer to be taken
    }
  }

  private reply(stream: GossipStream, message: StreamMessage, wire: Wire): void {
    const { swim, random, clock } = this.options;
    const send = (answer: StreamMessage) =>
      stream.end(this.counted(answer, sealStream(wire, answer, "listener", random)));
    if (message.type === "ping" && isForUs(message.node, swim)) {
      send({ type: "ack", seqNo: message.seqNo, payload: null });
    } else if (message.type === "pushPull") {
      send(this.ownState(false)); // before the other's is looked at, as memberlist does
      this.carryOut(swim.merge(message, clock.nowMs()));
      this.schedule();
    } else stream.destroy();
  }

  /** Says what was wrong, as memberlist does; but nothing at all to who may not have the key. */
  private explain(stream: GossipStream, error: unknown): void {
    const { wires, random } = this.options;
    if (!(error instanceof Refused) || wires.isSecret) {
      stream.destroy();
      return;
    }
    const answer: StreamMessage = { type: "error", error: error.message };
    stream.end(this.counted(answer, sealStream(wires.ofStream(0), answer, "listener", random)));
  }

  private async readOne(stream: GossipStream, role: "dialer" | "listener", wireOf: (firstByte: number) => Wire) {
    let reader: StreamReader | undefined;
    let wire: Wire | undefined;
    let bytes = 0;
    for await (const chunk of stream.chunks) {
      this.stats.streamIn(chunk.length);
      bytes += chunk.length;
      wire ??= wireOf(chunk[0] ?? 0);
      reader ??= new StreamReader(wire, role);
      const message = reader.push(chunk);
      if (!message) continue;
      this.stats.messageIn(message.type, bytes);
      return { message, wire };
    }
    throw new Refused("short", "the connection ended before its message did");
  }

  private counted({ type }: StreamMessage, bytes: Buffer): Buffer {
    this.stats.streamOut(bytes.length);
    this.stats.messageOut(type, bytes.length);
    return bytes;
  }

  private dropped(error: unknown, from: Endpoint | null): void {
    const { log } = this.options;
    if (error instanceof Refused) {
      this.stats.dropped(error.reason);
      log.debug({}, `gossip${from ? ` from ${formatEndpoint(from)}` : ""} refused: ${error.message}`);
    } else {
      this.stats.dropped("broken");
      log.debug({ err: error }, `gossip broke off: ${messageOf(error)}`);
    }
  }

  private notExchanged(to: Endpoint, error: unknown): void {
    if (this.stopping.signal.aborted) return;
    this.options.log.debug({ err: error }, `no exchange with ${formatEndpoint(to)}`);
  }
}

/** A ping for another name is not answered: that node is not here any more. */
function isForUs(name: string, swim: SwimInput): boolean {
  return name === "" || name === swim.own().name;
}
