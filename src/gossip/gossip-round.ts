import type { Random } from "../core/random.ts";
import type { BroadcastQueue } from "./broadcast-queue.ts";
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
  private nextMs: number;

  constructor(options: GossipRoundOptions) {
    this.options = options;
    this.nextMs = options.nowMs + options.random.next() * options.profile.gossipIntervalMs;
  }

  nextDueMs(): number {
    return this.options.queue.size > 0 ? this.nextMs : Number.POSITIVE_INFINITY;
  }

  tick(nowMs: number): void {
    if (nowMs >= this.nextDueMs()) this.run(nowMs);
  }

  run(nowMs: number): void {
    const { members, outbox, profile } = this.options;
    this.nextMs = nowMs + profile.gossipIntervalMs;
    // The recently dead too: who lives after all says so when it hears of its death.
    const listens = (member: Member) =>
      member !== members.own &&
      (member.shown.state === "alive" ||
        member.shown.state === "suspect" ||
        (member.shown.state === "dead" && nowMs - member.shown.stateSinceMs <= profile.gossipToTheDeadMs));
    for (const member of members.pick(profile.gossipNodesCount, listens)) if (!outbox.sendNews(member)) return;
  }
}
