import type { Awareness } from "./awareness.ts";
import type { BroadcastQueue } from "./broadcast-queue.ts";
import { aliveProblem, INCARNATION_MAX, sameBytes, trimmedVsn } from "./claim-check.ts";
import { confirmationsWanted, suspicionTimeoutMs } from "./formulas.ts";
import { isGone, type Member, type Members } from "./members.ts";
import { encodeMessage } from "./message-encoder.ts";
import type { Alive, Dead, Endpoint, NodeState, PushNodeState, Suspect } from "./messages.ts";
import type { Outbox } from "./outbox.ts";
import type { Profile } from "./profile.ts";
import { Suspicion } from "./suspicion.ts";
import type { GossipMember } from "./swim-contract.ts";

/** News of its former life that were overtaken have run out by then. */
const DEAD_RECLAIM_MS = 1_000;

export interface ClaimsOptions {
  readonly members: Members;
  readonly queue: BroadcastQueue;
  readonly outbox: Outbox;
  readonly awareness: Awareness;
  readonly profile: Profile;
  /** There is something new to tell. */
  readonly onNews: (nowMs: number) => void;
  readonly onJoined: (member: Member, nowMs: number) => void;
}

/**
 * What is said about members (alive, suspect, dead), and when it is believed. A member's incarnation orders what is said about it: only the
 * member itself raises it, so an old view never overwrites a newer one. What is believed is passed on.
 */
export class Claims {
  private readonly options: ClaimsOptions;
  private readonly refusals = new Map<string, number>();
  private leaving = false;

  constructor(options: ClaimsOptions) {
    this.options = options;
  }

  /** How many claims were refused, by reason. */
  get refused(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.refusals);
  }

  alive(claim: Alive, nowMs: number): void {
    const { members, outbox } = this.options;
    if (claim.node === members.own.name && this.leaving) return;
    const problem = aliveProblem(claim);
    if (problem) return void this.refuse(problem);
    // Port 0 is an old node's: it listens where we do, memberlist supposes.
    const named = claim.port === 0 ? { ...claim, port: members.own.shown.endpoint.port } : claim;
    const known = members.get(claim.node);
    if (!known) return void this.firstSeen(named, nowMs);
    const moved = !sameBytes(named.addr, known.shown.endpoint.addr) || named.port !== known.shown.endpoint.port;
    if (moved && !canReclaim(known, nowMs)) {
      const other = { addr: new Uint8Array(named.addr ?? []), port: named.port };
      const otherMeta = new Uint8Array(named.meta ?? []);
      outbox.tell({ kind: "conflict", member: known.shown, other, otherMeta });
    } else if (known === members.own) this.aliveAboutUs(named, nowMs);
    else if (moved || named.incarnation > known.shown.incarnation) this.believeAlive(known, named, nowMs);
  }

  /** To who says that we are suspect or dead: it believes so, and may miss what we broadcast. memberlist leaves that to chance. */
  answerAccusation(claim: Suspect | Dead, from: Endpoint): void {
    const { shown } = this.options.members.own;
    if (shown.state !== "alive" || claim.node !== shown.name || claim.incarnation >= shown.incarnation) return;
    this.options.outbox.sendBare(from, aliveOf(shown));
  }

  suspect(claim: Suspect, nowMs: number): void {
    const { members } = this.options;
    const member = members.get(claim.node);
    if (!member || claim.incarnation < member.shown.incarnation) return;
    if (claim.incarnation > INCARNATION_MAX) return void this.refuse("incarnation");
    if (member.suspicion) {
      if (member.suspicion.confirm(claim.from)) this.broadcast(claim, nowMs);
      return;
    }
    if (member.shown.state !== "alive") return;
    if (member === members.own) return void this.refute(claim.incarnation, nowMs);
    this.broadcast(claim, nowMs);
    member.suspicion = this.newSuspicion(claim.from, nowMs);
    member.lookAgainMs = nowMs;
    members.suspected.add(member);
    this.change(member, "suspect", claim.incarnation, nowMs);
    this.options.outbox.tell({ kind: "state", member: member.shown });
  }

  /**
   * A probe of ours failed. For a member that answers over TCP only, what others find can't arrive as a confirmation (push/pulls don't say
   * who accuses), so each further failure of ours confirms: see docs/decisions/041.
   */
  accuse(member: Member, incarnation: number, nowMs: number): void {
    const own = this.options.members.own.name;
    const { suspicion } = member;
    if (suspicion && member.udp.tcpOnly && incarnation >= member.shown.incarnation)
      suspicion.confirm(`${own}/${suspicion.confirmations}`);
    else this.suspect({ type: "suspect", node: member.name, incarnation, from: own }, nowMs);
  }

  dead(claim: Dead, nowMs: number): void {
    const { members, outbox } = this.options;
    const member = members.get(claim.node);
    if (!member || claim.incarnation < member.shown.incarnation) return;
    if (claim.incarnation > INCARNATION_MAX) return void this.refuse("incarnation");
    this.noLongerSuspected(member);
    if (isGone(member)) return;
    if (member === members.own && !this.leaving) return void this.refute(claim.incarnation, nowMs);
    this.broadcast(claim, nowMs);
    const left = claim.from === claim.node;
    this.change(member, left ? "left" : "dead", claim.incarnation, nowMs);
    outbox.tell({ kind: left ? "left" : "dead", member: member.shown });
  }

  /** One entry of a push/pull. That a member is dead is not believed at once: it may live, seen from here, and say so. */
  merge(entry: PushNodeState, nowMs: number): void {
    const { name: node, incarnation } = entry;
    const { members } = this.options;
    const from = members.own.name;
    const known = members.get(node);
    if (known && known !== members.own && saysNothingNew(entry, known)) return;
    if (entry.state === "alive") this.alive({ ...entry, type: "alive", node }, nowMs);
    else if (entry.state === "left") this.dead({ type: "dead", node, incarnation, from: node }, nowMs);
    else this.suspect({ type: "suspect", node, incarnation, from }, nowMs);
  }

  /** Those whose time is over are dead. */
  suspicionsDue(nowMs: number): void {
    const from = this.options.members.own.name;
    for (const member of [...this.options.members.suspected]) {
      if (!member.suspicion || member.suspicion.dueMs() > nowMs) continue;
      this.dead({ type: "dead", node: member.name, incarnation: member.shown.incarnation, from }, nowMs);
    }
  }

  nextDueMs(): number {
    let dueMs = Number.POSITIVE_INFINITY;
    for (const { suspicion } of this.options.members.suspected) dueMs = Math.min(dueMs, suspicion?.dueMs() ?? dueMs);
    return dueMs;
  }

  postpone(ms: number): void {
    for (const { suspicion } of this.options.members.suspected) suspicion?.postpone(ms);
  }

  /** Says again how we are, under the next incarnation. */
  announce(meta: Uint8Array, nowMs: number): void {
    const { own } = this.options.members;
    const incarnation = own.shown.incarnation + 1;
    if (incarnation > INCARNATION_MAX) return void this.incarnationsUsedUp(incarnation);
    own.shown = { ...own.shown, meta, incarnation };
    this.broadcast(aliveOf(own.shown), nowMs);
    this.options.outbox.tell({ kind: "updated", member: own.shown });
  }

  /** The own node as new: also what others hear first. */
  introduce(nowMs: number): void {
    this.broadcast(aliveOf(this.options.members.own.shown), nowMs);
  }

  leave(nowMs: number): void {
    const { own } = this.options.members;
    this.leaving = true;
    this.dead({ type: "dead", node: own.name, incarnation: own.shown.incarnation, from: own.name }, nowMs);
  }

  private firstSeen(claim: Alive, nowMs: number): void {
    if (claim.incarnation === 0) return; // what nobody says of itself: incarnations begin at 1
    const { members } = this.options;
    const member = members.add(memberOf(claim, nowMs));
    if (!member) return void this.refuse("members");
    this.broadcast(claim, nowMs);
    this.options.onJoined(member, nowMs);
    this.options.outbox.tell({ kind: "joined", member: member.shown });
  }

  private believeAlive(member: Member, claim: Alive, nowMs: number): void {
    const before = member.shown;
    this.noLongerSuspected(member);
    this.broadcast(claim, nowMs);
    const now = memberOf(claim, nowMs);
    member.shown = before.state === "alive" ? { ...now, stateSinceMs: before.stateSinceMs } : now;
    const { outbox } = this.options;
    if (before.state === "dead" || before.state === "left") {
      member.udp.forget();
      this.options.onJoined(member, nowMs);
      outbox.tell({ kind: "joined", member: member.shown });
      return;
    }
    if (before.state === "suspect") outbox.tell({ kind: "state", member: member.shown });
    if (!sameBytes(before.meta, now.meta)) outbox.tell({ kind: "updated", member: member.shown });
  }

  private aliveAboutUs(claim: Alive, nowMs: number): void {
    const { shown } = this.options.members.own;
    if (claim.incarnation < shown.incarnation) return;
    const same = sameBytes(claim.meta, shown.meta) && sameBytes(claim.vsn?.subarray(0, shown.vsn.length), shown.vsn);
    if (claim.incarnation === shown.incarnation && same) return;
    this.refute(claim.incarnation, nowMs);
  }

  /** Above whatever was said of us. It is never said again from 0: nobody would listen. */
  private refute(accused: number, nowMs: number): void {
    const { own } = this.options.members;
    const incarnation = Math.max(own.shown.incarnation, accused) + 1;
    if (incarnation > INCARNATION_MAX) return void this.incarnationsUsedUp(incarnation);
    own.shown = { ...own.shown, incarnation };
    this.options.awareness.apply(1);
    this.broadcast(aliveOf(own.shown), nowMs);
  }

  private incarnationsUsedUp(incarnation: number): void {
    this.refuse("incarnation");
    this.options.outbox.tell({ kind: "unrefuted", member: this.options.members.own.shown, incarnation });
  }

  private newSuspicion(from: string, nowMs: number): Suspicion {
    const { suspicionMult, suspicionMaxTimeoutMult, probeIntervalMs } = this.options.profile;
    const n = this.options.members.count;
    const minMs = suspicionTimeoutMs(suspicionMult, n, probeIntervalMs);
    const maxMs = suspicionMaxTimeoutMult * minMs;
    return new Suspicion({ from, wanted: confirmationsWanted(suspicionMult, n), minMs, maxMs, nowMs });
  }

  private noLongerSuspected(member: Member): void {
    member.suspicion = null;
    this.options.members.suspected.delete(member);
  }

  private change(member: Member, state: NodeState, incarnation: number, nowMs: number): void {
    member.shown = { ...member.shown, state, incarnation, stateSinceMs: nowMs };
  }

  private broadcast(claim: Alive | Suspect | Dead, nowMs: number): void {
    // A member knows itself that it lives; in a cluster of five that would be a quarter of all that is sent.
    this.options.queue.add(claim.node, encodeMessage(claim), claim.type === "alive" ? claim.node : null);
    this.options.onNews(nowMs);
  }

  private refuse(reason: string): void {
    this.refusals.set(reason, (this.refusals.get(reason) ?? 0) + 1);
  }
}

/** That it lives where it lived when it last said so: most entries of most exchanges. */
function saysNothingNew({ state, incarnation, addr, port }: PushNodeState, { shown }: Member): boolean {
  if (state !== "alive" || incarnation > shown.incarnation) return false;
  return port === shown.endpoint.port && sameBytes(addr, shown.endpoint.addr);
}

/** Copies what it keeps: the claim's bytes may be part of a whole packet. */
function memberOf(claim: Alive, nowMs: number): GossipMember {
  return {
    name: claim.node,
    endpoint: { addr: new Uint8Array(claim.addr ?? []), port: claim.port },
    meta: new Uint8Array(claim.meta ?? []),
    vsn: trimmedVsn(claim.vsn),
    incarnation: claim.incarnation,
    state: "alive",
    stateSinceMs: nowMs,
  };
}

function aliveOf({ name, endpoint, meta, vsn, incarnation }: GossipMember): Alive {
  return { type: "alive", node: name, ...endpoint, meta: meta.length > 0 ? meta : null, vsn, incarnation };
}

/**
 * May another address take the name? memberlist says so of who left, and by default never of the dead (DeadNodeReclaimTime 0): a container that
 * comes back elsewhere then waits until it is forgotten. Here a name is a UUID: once its death was agreed on, whoever has it is the same node.
 */
function canReclaim({ shown }: Member, nowMs: number): boolean {
  if (shown.state === "left") return true;
  return shown.state === "dead" && nowMs - shown.stateSinceMs >= DEAD_RECLAIM_MS;
}
