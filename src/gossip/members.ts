import type { Random } from "../core/random.ts";
import type { Suspicion } from "./suspicion.ts";
import type { GossipMember } from "./swim-contract.ts";
import { UdpPath } from "./udp-path.ts";

/** A member with what only the state machine needs. `shown` is replaced, never changed: whoever got it may keep it. */
export interface Member {
  readonly name: string;
  shown: GossipMember;
  /** While it is suspect. */
  suspicion: Suspicion | null;
  readonly udp: UdpPath;
  /** The version of our news that it was last told over TCP. */
  toldVersion: number;
  /** How long the last probe that it answered took, by whichever way. */
  probeMs: number | null;
  /** While it is suspect: when to tell it so, or to probe it again. */
  lookAgainMs: number;
}

/** Who is known. Bounded: a stranger's inventions push out the dead, never the living. */
export class Members {
  readonly own: Member;
  /** Their suspicions run. */
  readonly suspected = new Set<Member>();
  private readonly byName = new Map<string, Member>();
  /** In no order that means anything: picking shuffles it. */
  private readonly all: Member[] = [];
  private readonly maxCount: number;
  private readonly random: Random;

  constructor(own: GossipMember, maxCount: number, random: Random) {
    this.maxCount = maxCount;
    this.random = random;
    this.own = this.insert(own);
  }

  /** All of them: the own node, and the dead and left that are still remembered. */
  get count(): number {
    return this.all.length;
  }

  get(name: string): Member | undefined {
    return this.byName.get(name);
  }

  list(): readonly Member[] {
    return this.all;
  }

  /** Null when there is no room: `maxCount` members live. */
  add(shown: GossipMember): Member | null {
    if (this.all.length >= this.maxCount && !this.removeLongestGone()) return null;
    return this.insert(shown);
  }

  /** Up to `count` members, chosen at random. */
  pick(count: number, eligible: (member: Member) => boolean): Member[] {
    const picked: Member[] = [];
    for (let i = 0; i < this.all.length && picked.length < count; i++) {
      const j = i + Math.floor(this.random.next() * (this.all.length - i));
      const member = this.all[j] as Member;
      this.all[j] = this.all[i] as Member;
      this.all[i] = member;
      if (eligible(member)) picked.push(member);
    }
    return picked;
  }

  /** Those that are dead or left since before `ms`. */
  forget(ms: number): string[] {
    const names = this.all.filter((m) => isGone(m) && m.shown.stateSinceMs < ms).map((m) => m.name);
    for (const name of names) this.remove(name);
    return names;
  }

  private insert(shown: GossipMember): Member {
    const member: Member = {
      name: shown.name,
      shown,
      suspicion: null,
      udp: new UdpPath(),
      toldVersion: -1,
      probeMs: null,
      lookAgainMs: 0,
    };
    this.byName.set(shown.name, member);
    this.all.push(member);
    return member;
  }

  private removeLongestGone(): boolean {
    let longest: Member | undefined;
    for (const member of this.all)
      if (isGone(member) && !(longest && longest.shown.stateSinceMs <= member.shown.stateSinceMs)) longest = member;
    if (!longest || longest === this.own) return false;
    this.remove(longest.name);
    return true;
  }

  private remove(name: string): void {
    const member = this.byName.get(name);
    if (!member || member === this.own) return;
    this.byName.delete(name);
    this.suspected.delete(member);
    const index = this.all.indexOf(member);
    const last = this.all.pop() as Member;
    if (last !== member) this.all[index] = last;
  }
}

/** Dead or left. */
export function isGone(member: Member): boolean {
  return member.shown.state === "dead" || member.shown.state === "left";
}

/** The newest protocol that it understands. */
export function maxProtocol(member: Member): number {
  return member.shown.vsn[1] ?? 0;
}
