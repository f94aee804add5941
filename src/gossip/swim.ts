import { GOSSIP_LAG_MIN_MS, MEMBERS_MAX_COUNT } from "../core/limits.ts";
import type { Random } from "../core/random.ts";
import { Awareness } from "./awareness.ts";
import { BroadcastQueue } from "./broadcast-queue.ts";
import { checkVersions } from "./claim-check.ts";
import { Claims } from "./claims.ts";
import { GossipRound } from "./gossip-round.ts";
import { isGone, type Member, Members } from "./members.ts";
import type {
  Alive,
  Dead,
  Endpoint,
  PacketMessage,
  Ping,
  PushNodeState,
  PushPull,
  Source,
  Suspect,
} from "./messages.ts";
import { Outbox } from "./outbox.ts";
import { Prober } from "./probe.ts";
import type { Profile } from "./profile.ts";
import { PushPullSchedule } from "./push-pull-schedule.ts";
import { answerTo, Relays } from "./relays.ts";
import type { Effect, GossipMember, StreamPingOutcome, SwimInput, SwimStatus } from "./swim-contract.ts";
import { TcpNews } from "./tcp-news.ts";

export interface SwimOptions {
  readonly name: string;
  /** Where the others reach us, as it is to be announced. */
  readonly endpoint: Endpoint;
  readonly meta: Uint8Array;
  readonly vsn: Uint8Array;
  readonly profile: Profile;
  readonly random: Random;
  readonly nowMs: number;
  /** Room for the parts of a packet and two bytes for the length of each: what layers and headers leave of it. */
  readonly packetBytes: number;
  readonly incarnation?: number;
}

interface Parts {
  readonly profile: Profile;
  readonly members: Members;
  readonly queue: BroadcastQueue;
  readonly awareness: Awareness;
  readonly outbox: Outbox;
  readonly news: TcpNews;
  readonly claims: Claims;
}

/** Who leaves tells so many at once, by an exchange, and goes on answering for so long that these can be made. */
const LEAVE_EXCHANGES_COUNT = 4;
const LEAVE_LINGER_MS = 300;

/** Membership as hashicorp/memberlist keeps it: put together from the files beside this one, complete as soon as it is constructed. */
export class Swim implements SwimInput {
  private readonly parts: Parts;
  private readonly prober: Prober;
  private readonly relays: Relays;
  private readonly gossip: GossipRound;
  private readonly schedule: PushPullSchedule;
  private seqNo: number;
  /** When there is something to do next, as of the last call. */
  private plannedMs: number;
  private leaving = false;
  /** Exchanges about our leave are under way until then, we suppose. */
  private lingersUntilMs = Number.POSITIVE_INFINITY;

  constructor(options: SwimOptions) {
    const { name, endpoint, meta, vsn, profile, random, nowMs, incarnation = 1 } = options;
    const own = { name, endpoint, meta, vsn, incarnation, state: "alive", stateSinceMs: nowMs } as const;
    // Not from 0: an answer to our former life must not count.
    this.seqNo = Math.floor(random.next() * 2 ** 32);
    const members = new Members(own, MEMBERS_MAX_COUNT, random);
    const queue = new BroadcastQueue(MEMBERS_MAX_COUNT);
    const awareness = new Awareness(profile.awarenessMaxMultiplier);
    const { retransmitMult } = profile;
    const outbox = new Outbox({ queue, members, retransmitMult, packetBytes: options.packetBytes });
    const news = new TcpNews({ members, outbox, profile, random });
    const onNews = (atMs: number) => news.heard(atMs);
    const onJoined = (member: Member, atMs: number) => {
      this.prober.joined(member);
      this.gossip.joined(member);
      if (members.count === 2) this.schedule.met(atMs);
    };
    const claims = new Claims({ members, queue, outbox, awareness, profile, onNews, onJoined });
    const asking = { outbox, source: () => this.source(), nextSeqNo: () => this.nextSeqNo() };
    this.prober = new Prober({ ...asking, members, claims, awareness, news, profile, random, nowMs });
    this.relays = new Relays({ ...asking, profile });
    this.gossip = new GossipRound({ members, queue, outbox, profile, random, nowMs });
    this.schedule = new PushPullSchedule({ members, news, profile, random, nowMs });
    this.parts = { profile, members, queue, awareness, outbox, news, claims };
    claims.introduce(nowMs);
    this.plannedMs = Math.max(nowMs, this.dueMs());
  }

  nextDueMs(): number {
    return this.plannedMs;
  }

  tick(nowMs: number): Effect[] {
    const { claims, news } = this.parts;
    this.begin(nowMs);
    if (nowMs >= this.lingersUntilMs) this.lingersUntilMs = Number.POSITIVE_INFINITY;
    this.relays.tick(nowMs);
    if (!this.leaving) {
      claims.suspicionsDue(nowMs);
      this.prober.tick(nowMs);
      this.schedule.tick(nowMs);
      news.tick(nowMs);
    }
    this.gossip.tick(nowMs);
    return this.end(nowMs);
  }

  received(message: PacketMessage, from: Endpoint, nowMs: number): Effect[] {
    this.begin(nowMs);
    switch (message.type) {
      case "ping":
        this.pinged(message, from);
        break;
      case "indirectPing":
        this.relays.asked(message, from, nowMs);
        break;
      case "ack":
        if (!this.prober.acked(message.seqNo, from, nowMs)) this.relays.acked(message.seqNo);
        break;
      case "nack":
        this.prober.nacked(message.seqNo);
        break;
      case "user":
        this.parts.outbox.add({ do: "user", bytes: message.bytes });
        break;
      default:
        this.claimed(message, from, nowMs);
    }
    return this.end(nowMs);
  }

  streamPinged(seqNo: number, outcome: StreamPingOutcome, nowMs: number): Effect[] {
    this.begin(nowMs);
    this.prober.streamPinged(seqNo, outcome, nowMs);
    return this.end(nowMs);
  }

  /** The own node first. */
  localState(): readonly PushNodeState[] {
    const { members } = this.parts;
    const others = members.list().filter((member) => member !== members.own);
    return [members.own, ...others].map(({ shown }) => ({
      name: shown.name,
      addr: shown.endpoint.addr,
      port: shown.endpoint.port,
      meta: shown.meta.length > 0 ? shown.meta : null,
      incarnation: shown.incarnation,
      state: shown.state,
      vsn: shown.vsn,
    }));
  }

  merge(remote: PushPull, nowMs: number): Effect[] {
    checkVersions(remote.nodes);
    this.begin(nowMs);
    for (const entry of remote.nodes) this.parts.claims.merge(entry, nowMs);
    return this.end(nowMs);
  }

  updateMeta(meta: Uint8Array, nowMs: number): Effect[] {
    this.begin(nowMs);
    if (!this.leaving) this.parts.claims.announce(meta, nowMs);
    return this.end(nowMs);
  }

  leave(nowMs: number): Effect[] {
    const { claims, news } = this.parts;
    this.begin(nowMs);
    if (!this.leaving) {
      this.leaving = true;
      claims.leave(nowMs);
      this.gossip.run(nowMs);
      if (news.exchangeNow(LEAVE_EXCHANGES_COUNT) > 0) this.lingersUntilMs = nowMs + LEAVE_LINGER_MS;
    }
    return this.end(nowMs);
  }

  hasLeft(): boolean {
    const { members, queue } = this.parts;
    if (!this.leaving) return false;
    const isAlone = members.list().every((member) => member === members.own || isGone(member));
    return isAlone || (!queue.has(members.own.name) && this.lingersUntilMs === Number.POSITIVE_INFINITY);
  }

  /**
   * While this process stood still nobody could be heard, so that time counts for no probe and no suspicion; and each begun probe interval of it
   * makes the health score one worse, so that we suspect ourselves first.
   */
  lagged(lateMs: number, nowMs: number): void {
    const { awareness, claims, profile } = this.parts;
    this.plannedMs = Math.max(nowMs, this.plannedMs);
    if (!(lateMs > 0)) return;
    awareness.apply(Math.ceil(lateMs / profile.probeIntervalMs));
    claims.postpone(lateMs);
    this.prober.postpone(lateMs);
    this.relays.postpone(lateMs);
  }

  probeMs(name: string): number | null {
    return this.parts.members.get(name)?.probeMs ?? null;
  }

  own(): GossipMember {
    return this.parts.members.own.shown;
  }

  members(): readonly GossipMember[] {
    return this.parts.members.list().map((member) => member.shown);
  }

  member(name: string): GossipMember | undefined {
    return this.parts.members.get(name)?.shown;
  }

  status(): SwimStatus {
    const { awareness, queue, members, claims } = this.parts;
    const tcpOnly = members.list().filter((member) => member.udp.tcpOnly && !isGone(member));
    const { score: healthScore } = awareness;
    return { healthScore, queuedBroadcasts: queue.size, tcpOnlyMembers: tcpOnly.length, refused: claims.refused };
  }

  private claimed(claim: Alive | Suspect | Dead, from: Endpoint, nowMs: number): void {
    const { claims } = this.parts;
    if (claim.type === "alive") return void claims.alive(claim, nowMs);
    if (claim.type === "suspect") claims.suspect(claim, nowMs);
    else claims.dead(claim, nowMs);
    claims.answerAccusation(claim, from);
  }

  /** What comes may overtake the timer that is late: the time for which we stood still counts from the first of both. */
  private begin(nowMs: number): void {
    const lateMs = nowMs - this.plannedMs;
    if (lateMs >= GOSSIP_LAG_MIN_MS) this.lagged(lateMs, nowMs);
  }

  /** What is due now was not due before, as it would have been done then: the plan never lies in the past. */
  private end(nowMs: number): Effect[] {
    this.plannedMs = Math.max(nowMs, this.dueMs());
    return this.parts.outbox.take();
  }

  private dueMs(): number {
    const { prober, relays, gossip, schedule, parts } = this;
    if (this.leaving) return Math.min(gossip.nextDueMs(), relays.nextDueMs(), this.lingersUntilMs);
    const all = [prober, relays, gossip, schedule, parts.claims, parts.news];
    return Math.min(...all.map((part) => part.nextDueMs()));
  }

  /** A ping for another is dropped: that one is not here. An empty name is for whoever is. */
  private pinged(ping: Ping, from: Endpoint): void {
    if (ping.node !== "" && ping.node !== this.parts.members.own.name) return;
    this.parts.outbox.send(answerTo(ping, from), ping.sourceNode, { type: "ack", seqNo: ping.seqNo, payload: null });
  }

  private source(): Required<Source> {
    const { name, endpoint } = this.parts.members.own.shown;
    return { sourceAddr: endpoint.addr, sourcePort: endpoint.port, sourceNode: name };
  }

  private nextSeqNo(): number {
    this.seqNo = (this.seqNo + 1) >>> 0;
    return this.seqNo;
  }
}
