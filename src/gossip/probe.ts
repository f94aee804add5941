import type { Random } from "../core/random.ts";
import type { Awareness } from "./awareness.ts";
import type { Claims } from "./claims.ts";
import { sameEndpoint } from "./endpoint.ts";
import { confirmationsWanted } from "./formulas.ts";
import { MemberRound } from "./member-round.ts";
import { isGone, type Member, type Members, maxProtocol } from "./members.ts";
import type { Endpoint, PacketMessage, Source } from "./messages.ts";
import type { Outbox } from "./outbox.ts";
import type { Profile } from "./profile.ts";
import type { StreamPingOutcome } from "./swim-contract.ts";
import type { TcpNews } from "./tcp-news.ts";

/** From these protocols on a member understands a ping over TCP, and answers a request that failed with a nack. */
const STREAM_PING_PROTOCOL = 3;
const NACK_PROTOCOL = 4;
/** New members, and those of whom only TCP answered a probe, are asked at once whether their UDP answers, so many at a time. */
const GREETINGS_AT_ONCE_COUNT = 4;
/** Of new ones not more than so many: about the others, regular probes tell. */
const GREETINGS_ENOUGH_COUNT = 16;
/** So often a suspected member is told of it within the least time that it has. */
const TELLINGS_COUNT = 4;
/** Suspected TCP-only members that are looked at again, at a time. */
const SECOND_LOOKS_AT_ONCE_COUNT = 16;

/**
 * A relay of memberlist's says that it failed after the whole timeout, when with its LAN and WAN timing our verdict has just been spoken: so long
 * after asking, in timeouts, a nack still counts.
 */
const NACKS_WITHIN_TIMEOUTS = 1.5;

/** `regular`: its turn in the round. `second`: a suspected TCP-only member again. `greeting`: does its UDP answer? No verdict follows. */
type ProbeKind = "regular" | "second" | "greeting";

interface Probe {
  readonly kind: ProbeKind;
  readonly member: Member;
  readonly seqNo: number;
  /** Of the member when the probe began: what a verdict is about. */
  readonly incarnation: number;
  beganMs: number;
  /** When other ways are tried, and when they have failed. */
  askOthersMs: number;
  endsMs: number;
  streamPinged: boolean;
  streamAnswered: boolean;
  streamRefused: boolean;
  nacksWanted: number;
  nacks: number;
  nacksUntilMs: number;
  /** The verdict was spoken, and `endsMs` is now when the nacks are counted. */
  isDecided: boolean;
}

export interface ProberOptions {
  readonly members: Members;
  readonly outbox: Outbox;
  readonly claims: Claims;
  readonly awareness: Awareness;
  readonly news: TcpNews;
  readonly profile: Profile;
  readonly random: Random;
  readonly source: () => Required<Source>;
  readonly nextSeqNo: () => number;
  readonly nowMs: number;
}

/**
 * Asks one member after the other whether it is there: directly, then by way of others and over TCP at once, and suspects it when none of that
 * was answered within an interval (a longer one while this node is unwell).
 */
export class Prober {
  private readonly options: ProberOptions;
  private readonly probes = new Map<number, Probe>();
  /** The regular probe: one at a time. */
  private current: Probe | null = null;
  private readonly round: MemberRound;
  /** Whose UDP is not known yet, and of how many it is. */
  private readonly strangers = new Set<Member>();
  private knownCount = 0;
  private nextMs: number;

  constructor(options: ProberOptions) {
    this.options = options;
    this.round = new MemberRound(options.members, options.random);
    this.nextMs = options.nowMs + options.random.next() * options.profile.probeIntervalMs;
  }

  joined(member: Member): void {
    this.round.joined(member);
    if (!member.udp.known && this.knownCount < GREETINGS_ENOUGH_COUNT) this.strangers.add(member);
  }

  nextDueMs(): number {
    let dueMs = this.current ? Number.POSITIVE_INFINITY : this.nextMs;
    for (const { askOthersMs, endsMs } of this.probes.values()) dueMs = Math.min(dueMs, askOthersMs, endsMs);
    return Math.min(dueMs, this.nextSecondLookMs(), this.nextGreetingMs());
  }

  tick(nowMs: number): void {
    for (const probe of this.probes.values()) {
      if (nowMs >= probe.endsMs) this.end(probe, nowMs);
      else if (nowMs >= probe.askOthersMs) this.askOthers(probe, nowMs);
    }
    if (!this.current && nowMs >= this.nextMs) {
      this.nextMs = Math.max(this.nextMs + this.options.profile.probeIntervalMs, nowMs);
      const member = this.nextInRound(nowMs);
      if (member) this.current = this.begin("regular", member, nowMs);
    }
    if (nowMs >= this.nextSecondLookMs()) this.lookAgain(nowMs);
    if (nowMs >= this.nextGreetingMs()) this.greet(nowMs);
  }

  /** False when no probe of ours is meant. */
  acked(seqNo: number, from: Endpoint, nowMs: number): boolean {
    const probe = this.probes.get(seqNo);
    if (!probe) return false;
    if (sameEndpoint(from, probe.member.shown.endpoint)) this.udpAnswers(probe.member);
    if (probe.isDecided) {
      probe.nacks++; // too late for the member, but a relay that passes an answer on is as good as one that has none
      return true;
    }
    this.probes.delete(seqNo);
    probe.member.probeMs = nowMs - probe.beganMs;
    this.succeeded(probe);
    return true;
  }

  nacked(seqNo: number): void {
    const probe = this.probes.get(seqNo);
    if (probe) probe.nacks++;
  }

  streamPinged(seqNo: number, outcome: StreamPingOutcome, nowMs: number): void {
    const probe = this.probes.get(seqNo);
    if (!probe || probe.streamAnswered || probe.isDecided) return;
    if (outcome === "refused") probe.streamRefused = true;
    if (outcome !== "answered") return;
    probe.streamAnswered = true;
    probe.member.probeMs = nowMs - probe.beganMs;
    if (probe.kind !== "greeting") probe.askOthersMs = Number.POSITIVE_INFINITY;
    this.succeeded(probe); // it stays until its end: an answer over UDP may still come, and tells about the way
  }

  postpone(ms: number): void {
    for (const probe of this.probes.values()) {
      probe.beganMs += ms;
      probe.askOthersMs += ms;
      probe.endsMs += ms;
      probe.nacksUntilMs += ms;
    }
  }

  private begin(kind: ProbeKind, member: Member, nowMs: number): Probe {
    const { profile, nextSeqNo } = this.options;
    const lastsMs = kind === "greeting" ? 2 * profile.probeTimeoutMs : this.scaledIntervalMs();
    const probe: Probe = {
      kind,
      member,
      seqNo: nextSeqNo(),
      incarnation: member.shown.incarnation,
      beganMs: nowMs,
      askOthersMs: nowMs + (kind === "greeting" ? profile.probeTimeoutMs / 2 : profile.probeTimeoutMs),
      endsMs: nowMs + lastsMs,
      streamPinged: false,
      streamAnswered: false,
      streamRefused: false,
      nacksWanted: 0,
      nacks: 0,
      nacksUntilMs: nowMs,
      isDecided: false,
    };
    this.probes.set(probe.seqNo, probe);
    this.ping(probe);
    if (member.udp.tcpOnly) this.pingStream(probe, nowMs);
    return probe;
  }

  private ping({ kind, member, seqNo, incarnation }: Probe): void {
    const { outbox, source, members } = this.options;
    const ping: PacketMessage = { type: "ping", seqNo, node: member.name, ...source() };
    const { name, shown } = member;
    if (kind === "greeting") outbox.sendTogether(member, [ping]);
    else if (shown.state === "alive") outbox.send(shown.endpoint, name, ping);
    // In the same packet, so that it can refute at once.
    else outbox.sendTogether(member, [ping, { type: "suspect", node: name, incarnation, from: members.own.name }]);
  }

  /** Once for each probe. */
  private pingStream(probe: Probe, nowMs: number): void {
    const { member, seqNo, endsMs } = probe;
    if (probe.streamPinged || maxProtocol(member) < STREAM_PING_PROTOCOL) return;
    probe.streamPinged = true;
    const { endpoint, name } = member.shown;
    this.options.outbox.add({ do: "streamPing", to: endpoint, node: name, seqNo, timeoutMs: endsMs - nowMs });
  }

  private askOthers(probe: Probe, nowMs: number): void {
    probe.askOthersMs = Number.POSITIVE_INFINITY;
    if (probe.kind === "greeting") return void this.greetAgain(probe, nowMs);
    this.askRelays(probe);
    probe.nacksUntilMs = nowMs + NACKS_WITHIN_TIMEOUTS * this.options.profile.probeTimeoutMs;
    this.pingStream(probe, nowMs);
  }

  /** Four pings in all: a lossy path is not to be taken for one that is blocked. */
  private greetAgain(probe: Probe, nowMs: number): void {
    const { probeTimeoutMs } = this.options.profile;
    this.ping(probe);
    this.pingStream(probe, nowMs);
    if (nowMs + probeTimeoutMs / 2 < probe.endsMs) probe.askOthersMs = nowMs + probeTimeoutMs / 2;
  }

  private askRelays(probe: Probe): void {
    const { members, profile, outbox, source } = this.options;
    const { member, seqNo } = probe;
    const { addr: target, port } = member.shown.endpoint;
    // Who does not answer us over UDP can't tell us of others either, and its silence says nothing about us.
    const canTell = (m: Member) => m.shown.state === "alive" && m !== member && m !== members.own && !m.udp.tcpOnly;
    for (const other of members.pick(profile.indirectChecksCount, canTell)) {
      const nack = maxProtocol(other) >= NACK_PROTOCOL;
      if (nack) probe.nacksWanted++;
      const request = { type: "indirectPing", seqNo, target, port, node: member.name, nack, ...source() } as const;
      outbox.send(other.shown.endpoint, other.name, request);
    }
  }

  private succeeded(probe: Probe): void {
    if (this.current === probe) this.current = null;
    if (probe.kind === "greeting") return;
    this.options.awareness.apply(-1);
    // Over UDP the ping itself said that it is suspected.
    if (probe.member.suspicion && probe.member.udp.tcpOnly) this.options.news.exchange(probe.member);
  }

  private end(probe: Probe, nowMs: number): void {
    this.probes.delete(probe.seqNo);
    if (this.current === probe) this.current = null;
    if (probe.isDecided) this.blameUs(probe);
    else if (probe.streamAnswered) this.udpMissed(probe, nowMs);
    else this.failed(probe, nowMs);
  }

  private failed(probe: Probe, nowMs: number): void {
    this.supposeTcpOnly(probe.member, nowMs);
    if (probe.kind === "greeting") return;
    if (missingNacks(probe) > 0 && nowMs < probe.nacksUntilMs) this.awaitNacks(probe);
    else this.blameUs(probe);
    this.options.claims.accuse(probe.member, probe.incarnation, nowMs);
  }

  /**
   * Relays that don't even say that they failed: then the fault may be ours. Where none could be asked, a refusal in time by the member's machine
   * says as much as their nacks.
   */
  private blameUs(probe: Probe): void {
    if (probe.nacksWanted > 0) this.options.awareness.apply(missingNacks(probe));
    else if (!probe.streamRefused) this.options.awareness.apply(1);
  }

  private awaitNacks(probe: Probe): void {
    probe.isDecided = true;
    probe.endsMs = probe.nacksUntilMs;
    this.probes.set(probe.seqNo, probe);
  }

  /** Nacks that are still awaited count as missing here: who is slow must not accuse twice before it knows. */
  private scaledIntervalMs(): number {
    let doubts = 0;
    for (const probe of this.probes.values()) if (probe.isDecided) doubts += missingNacks(probe);
    return this.options.awareness.scale(this.options.profile.probeIntervalMs, doubts);
  }

  private udpAnswers(member: Member): void {
    if (!member.udp.known) this.knownCount++;
    this.strangers.delete(member);
    member.udp.acked();
  }

  private udpMissed({ kind, member }: Probe, nowMs: number): void {
    if (member.udp.tcpOnly) return;
    if (kind !== "greeting")
      this.strangers.add(member); // found out at once
    else this.foundTcpOnly(member, nowMs);
  }

  /**
   * It answered in no way, and its UDP was never seen to work: it may have died before it could be found out. Where others are reached over TCP
   * only, and too few over UDP to confirm, it is taken for one of the former, or its death would take the longest time.
   */
  private supposeTcpOnly(member: Member, nowMs: number): void {
    const { members, profile } = this.options;
    if (member.udp.known) return;
    let [answering, tcpOnly] = [0, 0];
    for (const other of members.list()) {
      if (other === members.own || isGone(other) || !other.udp.known) continue;
      if (other.udp.tcpOnly) tcpOnly++;
      else answering++;
    }
    if (tcpOnly > 0 && answering < confirmationsWanted(profile.suspicionMult, members.count))
      this.foundTcpOnly(member, nowMs);
  }

  private foundTcpOnly(member: Member, nowMs: number): void {
    if (!member.udp.known) this.knownCount++;
    this.strangers.delete(member);
    member.udp.missed();
    this.options.news.found(member, nowMs);
  }

  /** At the end of a round who is long gone is forgotten, and the order chosen anew. Null when there is nobody to ask. */
  private nextInRound(nowMs: number): Member | null {
    const { members, outbox, profile } = this.options;
    for (let rounds = 0; rounds < 2; rounds++) {
      const member = this.round.next((candidate) => !isGone(candidate) && candidate !== members.own);
      if (member) return member;
      for (const name of members.forget(nowMs - profile.gossipToTheDeadMs)) outbox.tell({ kind: "forgotten", name });
      this.round.again();
    }
    return null;
  }

  private nextSecondLookMs(): number {
    let dueMs = Number.POSITIVE_INFINITY;
    for (const { lookAgainMs } of this.options.members.suspected) dueMs = Math.min(dueMs, lookAgainMs);
    return dueMs;
  }

  /**
   * Until it is decided, the accused is told by each node that suspects it, and answers that node: otherwise one lost refutation would be a death.
   * Whom no packet reaches is probed again instead, as the suspicions of others don't reach us either.
   */
  private lookAgain(nowMs: number): void {
    for (const member of this.options.members.suspected) {
      if (!member.suspicion || member.lookAgainMs > nowMs) continue;
      member.lookAgainMs = nowMs + member.suspicion.minMs / TELLINGS_COUNT;
      if (!member.udp.tcpOnly) this.tellAccused(member);
      else if (this.secondLooks < SECOND_LOOKS_AT_ONCE_COUNT && !this.isUnderWay(member)) {
        member.lookAgainMs = nowMs + this.scaledIntervalMs();
        this.begin("second", member, nowMs);
      }
    }
  }

  private tellAccused(member: Member): void {
    const { name: node, shown } = member;
    const { outbox, members } = this.options;
    outbox.sendTogether(member, [{ type: "suspect", node, incarnation: shown.incarnation, from: members.own.name }]);
  }

  private get secondLooks(): number {
    return [...this.probes.values()].filter(({ kind, isDecided }) => kind === "second" && !isDecided).length;
  }

  private isUnderWay(member: Member): boolean {
    const probes = [...this.probes.values()];
    return probes.some((probe) => probe.member === member && probe.kind !== "greeting" && !probe.isDecided);
  }

  private nextGreetingMs(): number {
    return this.strangers.size > 0 && this.greetings.length < GREETINGS_AT_ONCE_COUNT ? 0 : Number.POSITIVE_INFINITY;
  }

  private get greetings(): readonly Probe[] {
    return [...this.probes.values()].filter(({ kind }) => kind === "greeting");
  }

  private greet(nowMs: number): void {
    for (const member of this.strangers) {
      if (this.greetings.length >= GREETINGS_AT_ONCE_COUNT) return;
      this.strangers.delete(member);
      if (!isGone(member) && !member.udp.tcpOnly) this.begin("greeting", member, nowMs);
    }
  }
}

function missingNacks({ nacksWanted, nacks }: Probe): number {
  return Math.max(0, nacksWanted - nacks);
}
