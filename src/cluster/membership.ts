import { CaskError } from "../core/errors.ts";
import { MEMBERS_MAX_COUNT } from "../core/limits.ts";
import type { Announcement } from "../peer/protocol.ts";

/** Silent for so many heartbeat intervals: suspect; twice as many: dead. */
export const SUSPECT_AFTER_INTERVALS = 3;
export const DEAD_AFTER_INTERVALS = 6;

export type MemberState = "alive" | "suspect" | "dead" | "left";

/** Another node as it was last heard of. Times are monotonic milliseconds of this process. */
export interface Member {
  readonly announcement: Announcement;
  readonly state: MemberState;
  readonly heardAtMs: number;
  readonly stateSinceMs: number;
  /** The store that this UUID had before its disk was replaced, until the node says that it knows. Else its store. */
  readonly knownStore: string;
}

/** What is kept on disk of a member: enough to ask it again after a restart, and to see that its disk was replaced. */
export interface KnownMember {
  readonly uuid: string;
  readonly baseUrl: string;
  readonly store: string;
  readonly points: number;
  readonly replication: number;
}

export interface MembershipChange {
  readonly uuid: string;
  readonly baseUrl: string;
  readonly from: MemberState | "unknown";
  readonly to: MemberState;
}

/**
 * Who is in the cluster, by heartbeats: a state machine of (announcement or tick, now) without sockets or timers.
 * Members that were only read from disk are "dead" until they are heard.
 */
export class Membership {
  private readonly table = new Map<string, Member>();
  private readonly intervalMs: number;
  private changes = 0;

  constructor(intervalMs: number, known: readonly KnownMember[], nowMs: number) {
    this.intervalMs = intervalMs;
    for (const member of known) {
      this.table.set(member.uuid, {
        announcement: announcementOfKnown(member),
        state: "dead",
        heardAtMs: Number.NEGATIVE_INFINITY,
        stateSinceMs: nowMs,
        knownStore: member.store,
      });
    }
  }

  /** Grows with each change that a view of the cluster shows. */
  get version(): number {
    return this.changes;
  }

  get(uuid: string): Member | undefined {
    return this.table.get(uuid);
  }

  all(): Member[] {
    return [...this.table.values()];
  }

  known(): KnownMember[] {
    return this.all().map(knownMember);
  }

  /** What `known` will say of the sender once this was heard. Throws OVERLOADED when there is no room for it. */
  knownOnceHeard(announcement: Announcement): KnownMember {
    const before = this.table.get(announcement.uuid);
    this.refuseBeyondBound(announcement.uuid);
    if (before && isLate(announcement, before)) return knownMember(before);
    return knownMember({ announcement, knownStore: knownStoreAfter(before, announcement) });
  }

  /** Takes in what a member says of itself. The caller has ruled out that another live process has the same UUID. */
  heard(announcement: Announcement, nowMs: number): MembershipChange | null {
    const before = this.table.get(announcement.uuid);
    this.refuseBeyondBound(announcement.uuid);
    if (before && isLate(announcement, before)) return null;
    return this.set(announcement, announcement.leaving ? "left" : "alive", nowMs, nowMs);
  }

  /** Moves members that have been silent for too long on to suspect and dead. */
  tick(nowMs: number): MembershipChange[] {
    const changes: MembershipChange[] = [];
    for (const member of this.all()) {
      const state = this.stateBySilence(member, nowMs);
      if (state === member.state) continue;
      const change = this.set(member.announcement, state, member.heardAtMs, nowMs);
      if (change) changes.push(change);
    }
    return changes;
  }

  forget(uuid: string): boolean {
    this.changes++;
    return this.table.delete(uuid);
  }

  private refuseBeyondBound(uuid: string): void {
    if (this.table.has(uuid) || this.table.size < MEMBERS_MAX_COUNT) return;
    throw new CaskError("OVERLOADED", `more than ${MEMBERS_MAX_COUNT} members: ${uuid} refused`);
  }

  private stateBySilence(member: Member, nowMs: number): MemberState {
    if (member.state === "left" || member.state === "dead") return member.state;
    const silentMs = nowMs - member.heardAtMs;
    if (silentMs > DEAD_AFTER_INTERVALS * this.intervalMs) return "dead";
    return silentMs > SUSPECT_AFTER_INTERVALS * this.intervalMs ? "suspect" : "alive";
  }

  private set(
    announcement: Announcement,
    state: MemberState,
    heardAtMs: number,
    nowMs: number,
  ): MembershipChange | null {
    const before = this.table.get(announcement.uuid);
    const changed = before?.state !== state;
    if (changed || viewedPart(before.announcement) !== viewedPart(announcement)) this.changes++;
    this.table.set(announcement.uuid, {
      announcement,
      knownStore: knownStoreAfter(before, announcement),
      state,
      heardAtMs,
      stateSinceMs: changed ? nowMs : before.stateSinceMs,
    });
    if (!changed) return null;
    return { uuid: announcement.uuid, baseUrl: announcement.base_url, from: before?.state ?? "unknown", to: state };
  }
}

/** One process keeps its start nonce for its whole life. */
export function isSameProcess(a: Announcement, b: Announcement): boolean {
  return a.start_nonce === b.start_nonce;
}

/** News need not arrive in the order in which they were sent. What was said before the last word heard changes nothing. */
function isLate(announcement: Announcement, { announcement: last, state }: Member): boolean {
  if (announcement.start_nonce === "") return false; // a Go node: nothing tells what is newer
  if (isSameProcess(announcement, last)) return state === "left" || announcement.sequence < last.sequence;
  // Of an earlier process; but a wall clock that was set back must not keep a restarted node out for good.
  return (state === "alive" || state === "suspect") && announcement.started_ms < last.started_ms;
}

/** Once a UUID is known with a store, it is so until the node says that it knows that its disk is another one. */
function knownStoreAfter(before: Member | undefined, { store, incomplete }: Announcement): string {
  return before && before.knownStore !== "" && !incomplete ? before.knownStore : store;
}

function knownMember({ announcement: a, knownStore }: Pick<Member, "announcement" | "knownStore">): KnownMember {
  return { uuid: a.uuid, baseUrl: a.base_url, store: knownStore, points: a.points, replication: a.replication };
}

function viewedPart(a: Announcement): string {
  return [a.base_url, a.writeable, a.points, a.replication].join(" ");
}

function announcementOfKnown(member: KnownMember): Announcement {
  return {
    uuid: member.uuid,
    base_url: member.baseUrl,
    writeable: false,
    version: "unknown",
    store: member.store,
    start_nonce: "",
    started_ms: 0,
    sequence: 0,
    joined: false,
    incomplete: false,
    leaving: false,
    replication: member.replication,
    max_replication: member.replication,
    points: member.points,
    free_bytes: null,
    neighbors: [],
  };
}
