import { CaskError } from "../core/errors.ts";
import { MEMBERS_MAX_COUNT } from "../core/limits.ts";
import { type Announcement, GO_POINTS, type Neighbor } from "../peer/protocol.ts";

export type MemberState = "alive" | "suspect" | "dead" | "left";

/** Another node as gossip sees it. Times are monotonic milliseconds of this process. */
export interface Member {
  readonly announcement: Announcement;
  readonly state: MemberState;
  readonly stateSinceMs: number;
  /** Gossip has told of it since this process began; else somebody else's word, or what was kept on disk, is all that there is. */
  readonly isMet: boolean;
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
 * Who was ever in the cluster, and how gossip sees them now. It decides nothing: liveness is gossip's, what a node is its own word.
 * Members that were only read from disk are "dead" until gossip says otherwise; gossip forgets the dead, this list does not.
 */
export class Membership {
  private readonly table = new Map<string, Member>();
  /** UUIDs that an operator had forgotten, the oldest first: no other node may bring them back, but they themselves. */
  private readonly forgottenUuids: Set<string>;
  private changes = 0;

  constructor(known: readonly KnownMember[], nowMs: number, forgotten: readonly string[] = []) {
    this.forgottenUuids = new Set(forgotten);
    for (const member of known) {
      this.forgottenUuids.delete(member.uuid); // it came back
      this.table.set(member.uuid, notMet(member, nowMs));
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

  forgotten(): string[] {
    return [...this.forgottenUuids];
  }

  hasForgotten(uuid: string): boolean {
    return this.forgottenUuids.has(uuid);
  }

  /** What `known` will say of a member once this was observed. Throws OVERLOADED when there is no room for it. */
  knownOnceObserved(announcement: Announcement): KnownMember {
    const before = this.table.get(announcement.uuid);
    this.refuseBeyondBound(announcement.uuid);
    return knownMember({ announcement, knownStore: knownStoreAfter(before, announcement) });
  }

  /** Takes in how gossip sees a member. */
  observed(announcement: Announcement, state: MemberState, nowMs: number): MembershipChange | null {
    this.refuseBeyondBound(announcement.uuid);
    const before = this.table.get(announcement.uuid);
    this.forgottenUuids.delete(announcement.uuid);
    const changed = before?.state !== state;
    if (changed || viewedPart(before.announcement) !== viewedPart(announcement)) this.changes++;
    this.table.set(announcement.uuid, {
      announcement,
      knownStore: knownStoreAfter(before, announcement),
      state,
      isMet: true,
      stateSinceMs: changed ? nowMs : before.stateSinceMs,
    });
    if (!changed) return null;
    const from = before?.isMet ? before.state : "unknown";
    return { uuid: announcement.uuid, baseUrl: announcement.base_url, from, to: state };
  }

  /** Another node knows a member that this one does not. Answers whether it was new; it counts as dead until gossip says otherwise. */
  heardOf({ uuid, base_url, replication }: Neighbor, nowMs: number): boolean {
    if (this.table.has(uuid) || this.forgottenUuids.has(uuid)) return false;
    this.refuseBeyondBound(uuid);
    const known = { uuid, baseUrl: base_url, store: "", points: GO_POINTS, replication };
    this.table.set(uuid, notMet(known, nowMs));
    this.changes++;
    return true;
  }

  /** Answers whether it was known. It is remembered as forgotten either way. */
  forget(uuid: string): boolean {
    this.changes++;
    this.forgottenUuids.delete(uuid);
    this.forgottenUuids.add(uuid);
    if (this.forgottenUuids.size > MEMBERS_MAX_COUNT) {
      const [oldest] = this.forgottenUuids;
      this.forgottenUuids.delete(oldest as string);
    }
    return this.table.delete(uuid);
  }

  private refuseBeyondBound(uuid: string): void {
    if (this.table.has(uuid) || this.table.size < MEMBERS_MAX_COUNT) return;
    throw new CaskError("OVERLOADED", `more than ${MEMBERS_MAX_COUNT} members: ${uuid} refused`);
  }
}

/** One process keeps its start nonce for its whole life. */
export function isSameProcess(a: Announcement, b: Announcement): boolean {
  return a.start_nonce === b.start_nonce;
}

function notMet(known: KnownMember, nowMs: number): Member {
  const announcement = announcementOfKnown(known);
  return { announcement, state: "dead", isMet: false, stateSinceMs: nowMs, knownStore: known.store };
}

/** Once a UUID is known with a store, it is so until the node says that it knows that its disk is another one. */
function knownStoreAfter(before: Member | undefined, { store, incomplete }: Announcement): string {
  return before && before.knownStore !== "" && !incomplete ? before.knownStore : store;
}

function knownMember({ announcement: a, knownStore }: Pick<Member, "announcement" | "knownStore">): KnownMember {
  return { uuid: a.uuid, baseUrl: a.base_url, store: knownStore, points: a.points, replication: a.replication };
}

/** Its disk was replaced, and it does not say so: it does not know. */
export function isUnaware({ announcement, knownStore }: Pick<Member, "announcement" | "knownStore">): boolean {
  return knownStore !== "" && announcement.store !== knownStore && !announcement.incomplete;
}

function viewedPart(a: Announcement): string {
  return [a.base_url, a.store, a.writeable, a.points, a.replication, a.max_replication, a.draining, a.incomplete].join(
    " ",
  );
}

function announcementOfKnown(member: KnownMember): Announcement {
  return {
    uuid: member.uuid,
    base_url: member.baseUrl,
    writeable: false,
    version: "", // not "unknown", which is what a Go node would be
    store: member.store,
    start_nonce: "",
    started_ms: 0,
    joined: false,
    incomplete: false,
    draining: false,
    replication: member.replication,
    max_replication: member.replication,
    points: member.points,
    free_bytes: null,
    neighbors: [],
    gossip_address: "",
  };
}
