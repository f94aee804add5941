import type { Random } from "../core/random.ts";
import { retransmitLimit } from "./formulas.ts";
import { isGone, type Member, type Members } from "./members.ts";
import type { Outbox } from "./outbox.ts";
import type { Profile } from "./profile.ts";

/** Each piece of news goes to so many members, times the logarithm of their number: as many as hear a broadcast of memberlist's. */
const FAN_OUT_MULT = 4;
/** At most one exchange in this time: it carries everything, so what happens meanwhile goes with the next one. */
const SPACING_MS = 150;

export interface TcpNewsOptions {
  readonly members: Members;
  readonly outbox: Outbox;
  readonly profile: Profile;
  readonly random: Random;
}

/**
 * Brings news to members whose UDP does not answer. memberlist leaves them to the regular push/pull, 15 seconds or more away. Over TCP only
 * push/pulls carry what is known, so each piece of news is followed by exchanges with some of those who have not heard it from us.
 */
export class TcpNews {
  private readonly options: TcpNewsOptions;
  private version = 0;
  private budget = 0;
  private nextMs = Number.POSITIVE_INFINITY;
  private notBeforeMs = 0;

  constructor(options: TcpNewsOptions) {
    this.options = options;
  }

  heard(nowMs: number): void {
    const { members, random, profile } = this.options;
    this.version++;
    this.budget = retransmitLimit(FAN_OUT_MULT, members.count);
    const soonMs = nowMs + random.next() * profile.gossipIntervalMs;
    this.nextMs = Math.max(this.notBeforeMs, Math.min(this.nextMs, soonMs));
  }

  /** This member was found to answer over TCP only: it has not heard what is new. */
  found(member: Member, nowMs: number): void {
    member.toldVersion = -1;
    this.budget++;
    this.nextMs = Math.max(this.notBeforeMs, Math.min(this.nextMs, nowMs));
  }

  nextDueMs(): number {
    return this.nextMs;
  }

  tick(nowMs: number): void {
    if (nowMs < this.nextMs) return;
    this.nextMs = Number.POSITIVE_INFINITY;
    if (this.budget === 0) return;
    const [member] = this.options.members.pick(1, (candidate) => this.isOwed(candidate));
    if (!member) return;
    this.budget--;
    this.exchange(member);
    this.notBeforeMs = nowMs + SPACING_MS;
    this.nextMs = this.notBeforeMs;
  }

  /** At once, and with some who answer over UDP too: for what may not wait. Says with how many. */
  exchangeNow(count: number): number {
    const { members } = this.options;
    const listens = (m: Member) => m !== members.own && !isGone(m);
    const first = members.pick(count, (m) => listens(m) && m.udp.tcpOnly);
    const others = members.pick(count - first.length, (m) => listens(m) && !m.udp.tcpOnly);
    for (const member of [...first, ...others]) this.exchange(member);
    return first.length + others.length;
  }

  exchange(member: Member): void {
    member.toldVersion = this.version;
    const { endpoint, name } = member.shown;
    this.options.outbox.add({ do: "pushPull", to: endpoint, node: name, join: false });
  }

  private isOwed(member: Member): boolean {
    return (
      member.udp.tcpOnly && member.toldVersion < this.version && !isGone(member) && member !== this.options.members.own
    );
  }
}
