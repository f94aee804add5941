import type { Random } from "../core/random.ts";
import type { BroadcastQueue } from "./broadcast-queue.ts";
import { MemberRound } from "./member-round.ts";
import type { Member, Members } from "./members.ts";
import type { Outbox } from "./outbox.ts";
import type { Profile } from "./profile.ts";

export interface GossipRoundOptions {
  readonly members: Members;
  readonly queue: BroadcastQueue;
  readonly outbox: Outbox;
  readonly profile: Profile;
  readonly random: Random;
  readonly nowMs: number;
}

/** While there is news, a few members hear it in every interval. Nothing is due while there is none. */
export class GossipRound {
  private readonly options: GossipRoundOptions;
  private readonly round: MemberRound;
  private nextMs: number;

  constructor(options: GossipRoundOptions) {
    this.options = options;
    this.round = new MemberRound(options.members, options.random);
    this.nextMs = options.nowMs + options.random.next() * options.profile.gossipIntervalMs;
  }

  joined(member: Member): void {
    this.round.joined(member);
  }

  nextDueMs(): number {
    return this.options.queue.size > 0 ? this.nextMs : Number.POSITIVE_INFINITY;
  }

  tick(nowMs: number): void {
    if (nowMs >= this.nextDueMs()) this.run(nowMs);
  }

  run(nowMs: number): void {
    const { members, outbox, profile, queue } = this.options;
    this.nextMs = nowMs + profile.gossipIntervalMs;
    // The recently dead too: who lives after all says so when it hears of its death.
    const listens = (member: Member) =>
      member !== members.own &&
      (member.shown.state === "alive" ||
        member.shown.state === "suspect" ||
        (member.shown.state === "dead" && nowMs - member.shown.stateSinceMs <= profile.gossipToTheDeadMs));
    const toldSome = [...this.nextOnes(profile.gossipNodesCount, listens)].filter((member) => outbox.sendNews(member));
    // Nobody is there but whom it is about: whoever comes later hears everything in the exchange with which it joins.
    if (toldSome.length === 0) queue.clear();
  }

  /** In turn, where memberlist draws anew each time and so may pass over one node of a few until its news is stale. */
  private nextOnes(count: number, eligible: (member: Member) => boolean): Set<Member> {
    const chosen = new Set<Member>();
    for (let rounds = 0; rounds < 2 && chosen.size < count; rounds++) {
      if (rounds > 0) this.round.again();
      const isNew = (member: Member) => eligible(member) && !chosen.has(member);
      for (let member = this.round.next(isNew); member; member = this.round.next(isNew)) {
        chosen.add(member);
        if (chosen.size === count) break;
      }
    }
    return chosen;
  }
}
