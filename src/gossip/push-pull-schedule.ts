import type { Random } from "../core/random.ts";
import { pushPullScaleMs } from "./formulas.ts";
import type { Member, Members } from "./members.ts";
import type { Profile } from "./profile.ts";
import type { TcpNews } from "./tcp-news.ts";

/** One of the dead is called on every so many probe intervals. */
const CALL_ON_DEAD_PROBES = 5;

/** Who just met the first others asks again after about so long: what happened while it joined may have missed it. */
const AFTER_JOIN_MS = 1_000;

export interface PushPullScheduleOptions {
  readonly members: Members;
  readonly news: TcpNews;
  readonly profile: Profile;
  readonly random: Random;
  readonly nowMs: number;
}

/** Regular exchanges of everything with one member: what gossip missed comes right, and parted halves that know of each other meet again. */
export class PushPullSchedule {
  private readonly options: PushPullScheduleOptions;
  private nextMs: number;
  private callOnDeadMs: number;
  private afterJoinMs = Number.POSITIVE_INFINITY;

  constructor(options: PushPullScheduleOptions) {
    this.options = options;
    const { nowMs, random, profile } = options;
    this.nextMs = nowMs + (1 + random.next()) * profile.pushPullIntervalMs;
    this.callOnDeadMs = nowMs + (1 + random.next()) * this.callOnDeadEveryMs();
  }

  /** We are not alone any more. */
  met(nowMs: number): void {
    this.afterJoinMs = nowMs + (0.5 + this.options.random.next()) * AFTER_JOIN_MS;
  }

  nextDueMs(): number {
    return Math.min(this.nextMs, this.callOnDeadMs, this.afterJoinMs);
  }

  tick(nowMs: number): void {
    const { members, profile } = this.options;
    if (nowMs >= this.nextMs) {
      this.nextMs = nowMs + pushPullScaleMs(profile.pushPullIntervalMs, members.count);
      this.exchangeWith((member) => member.shown.state === "alive");
    }
    if (nowMs >= this.afterJoinMs) {
      this.afterJoinMs = Number.POSITIVE_INFINITY;
      this.exchangeWith((member) => member.shown.state === "alive");
    }
    if (nowMs >= this.callOnDeadMs) {
      this.callOnDeadMs = nowMs + this.callOnDeadEveryMs();
      this.exchangeWith((member) => member.shown.state === "dead");
    }
  }

  private exchangeWith(eligible: (member: Member) => boolean): void {
    const { members, news } = this.options;
    const [member] = members.pick(1, (candidate) => candidate !== members.own && eligible(candidate));
    if (member) news.exchange(member);
  }

  private callOnDeadEveryMs(): number {
    return CALL_ON_DEAD_PROBES * this.options.profile.probeIntervalMs;
  }
}
