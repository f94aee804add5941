import type { Random } from "../core/random.ts";
import type { Member, Members } from "./members.ts";

/** Everybody in turn, in an order that is chosen anew for each round: chance, but nobody is passed over twice. */
export class MemberRound {
  private readonly members: Members;
  private readonly random: Random;
  /** Who is still to come; the last one first. */
  private ahead: Member[] = [];

  constructor(members: Members, random: Random) {
    this.members = members;
    this.random = random;
  }

  /** A new one takes its turn in this round already. */
  joined(member: Member): void {
    const place = Math.floor(this.random.next() * (this.ahead.length + 1));
    if (!this.ahead.includes(member)) this.ahead.splice(place, 0, member);
  }

  /** Null at the end of the round. */
  next(eligible: (member: Member) => boolean): Member | null {
    for (let member = this.ahead.pop(); member; member = this.ahead.pop())
      if (this.members.get(member.name) === member && eligible(member)) return member;
    return null;
  }

  again(): void {
    this.ahead = this.members.pick(this.members.count, (member) => member !== this.members.own);
  }
}
