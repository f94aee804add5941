import type { Clock } from "../core/clock.ts";
import { CaskError, messageOf } from "../core/errors.ts";
import { inTime } from "../core/in-time.ts";
import { KeyedMutex } from "../core/keyed-mutex.ts";
import { REMEMBER_TIMEOUT_MS } from "../core/limits.ts";
import type { Logger } from "../core/log.ts";
import type { Peer, RemotePeer } from "../peer/peer.ts";
import { type Announcement, GO_POINTS, isGoNode, type Neighbor } from "../peer/protocol.ts";
import { Rings } from "../placement/rings.ts";
import { ClusterView, type ViewNode } from "./cluster-view.ts";
import type { KnownMember, Member, MemberState, MembershipChange } from "./membership.ts";
import { isUnaware, Membership } from "./membership.ts";

/** How many copies, as set; `replication` undefined: 3, or 1 for a node that has never met another and is to meet none. */
export interface ReplicationSettings {
  readonly replication: number | undefined;
  readonly maxReplication: number | undefined;
}

const DEFAULT_REPLICATION = 3;

export interface ClusterOptions {
  readonly uuid: string;
  readonly baseUrl: string;
  readonly store: string;
  readonly version: string;
  readonly startNonce: string;
  readonly startedMs: number;
  readonly points: number;
  readonly settings: ReplicationSettings;
  readonly hasNeighbors: boolean;
  /** For how long a second process with this UUID, once seen, keeps this one from taking blobs. */
  readonly conflictMs: number;
  /** `host:port` that others are told; known once the port is bound. */
  readonly gossipAddress: () => string;
  /** This node as a peer. */
  readonly ownPeer: Peer;
  readonly isWriteable: () => boolean;
  readonly isIncomplete: () => boolean;
  readonly isDraining: () => boolean;
  /** A node that is gone for less is waited for. */
  readonly repairGraceMs: number;
  /** Another node as a peer. */
  readonly makePeer: (announcement: Announcement) => RemotePeer;
  readonly freeBytes: () => number | null;
  readonly known: readonly KnownMember[];
  /** UUIDs that an operator had forgotten, the oldest first. */
  readonly forgotten?: readonly string[];
  /** Called with both lists each time that there is news of a member: they may be the same. */
  readonly save: (known: readonly KnownMember[], forgotten: readonly string[]) => Promise<void>;
  readonly onChange?: (change: MembershipChange) => void;
  readonly onViewChange?: () => void;
  readonly clock: Clock;
  readonly log: Logger;
}

/** The members, and the view of them that the blob code works with. One owner of both. */
export class Cluster {
  private readonly options: ClusterOptions;
  private readonly membership: Membership;
  private readonly peers = new Map<string, RemotePeer>();
  private hasMetSomebody = false;
  /** On their way to the disk, not members yet. */
  private readonly remembering = new Map<string, KnownMember>();
  private readonly bySender = new KeyedMutex();
  private conflictUntilMs = Number.NEGATIVE_INFINITY;
  private current: ClusterView | undefined;
  private builtFrom = "";
  private readonly rings = new Rings();
  /** Disagreements that are in the log. */
  private told: ReadonlySet<string> = new Set();
  /** When the next awaited node is given up: the view changes then, without news. */
  private awaitedUntilMs = Number.POSITIVE_INFINITY;
  private stable = { what: "", sinceMs: 0 };

  constructor(options: ClusterOptions) {
    this.options = options;
    // A root that another node used before may remember this one.
    const others = options.known.filter(({ uuid }) => uuid !== options.uuid);
    this.membership = new Membership(others, options.clock.nowMs(), options.forgotten);
  }

  get uuid(): string {
    return this.options.uuid;
  }

  get baseUrl(): string {
    return this.options.baseUrl;
  }

  /** False while there are neighbors to meet and none was met. */
  get joined(): boolean {
    return this.hasMetSomebody || !this.options.hasNeighbors;
  }

  members(): Member[] {
    return this.membership.all();
  }

  member(uuid: string): Member | undefined {
    return this.membership.get(uuid);
  }

  hasForgotten(uuid: string): boolean {
    return this.membership.hasForgotten(uuid);
  }

  get replication(): number {
    const alone = this.membership.all().length === 0 && !this.options.hasNeighbors;
    return this.options.settings.replication ?? (alone ? 1 : DEFAULT_REPLICATION);
  }

  get maxReplication(): number {
    return this.options.settings.maxReplication ?? this.replication + 1;
  }

  /** Is another live process using this UUID? Then this node takes no new blobs. */
  get inConflict(): boolean {
    return this.options.clock.nowMs() < this.conflictUntilMs;
  }

  get isWriteable(): boolean {
    return this.options.isWriteable() && !this.inConflict && !this.options.isDraining();
  }

  noteConflict(): void {
    this.conflictUntilMs = this.options.clock.nowMs() + this.options.conflictMs;
  }

  /** The cluster as it is now. The same object as long as nothing changed. */
  view(): ClusterView {
    const nowMs = this.options.clock.nowMs();
    const builtFrom = `${this.membership.version} ${this.isWriteable} ${this.joined} ${this.options.isDraining()}`;
    if (this.current && builtFrom === this.builtFrom && nowMs < this.awaitedUntilMs) return this.current;
    this.builtFrom = builtFrom;
    this.current = this.build(nowMs);
    this.options.onViewChange?.();
    return this.current;
  }

  private build(nowMs: number): ClusterView {
    const nodes = this.viewNodes(nowMs);
    const placed = (which: (node: ViewNode) => boolean) =>
      nodes.filter(which).map(({ uuid }) => ({ uuid, points: this.pointsOf(uuid) }));
    const { ring, digest: ringDigest } = this.rings.of(placed((node) => node.live));
    const awaitsSome = nodes.some((node) => node.awaited);
    const disagreements = this.disagreements();
    this.tellOfDisagreements(disagreements);
    const stable = [ringDigest, this.replication, this.maxReplication, ...disagreements].join(" ");
    if (stable !== this.stable.what) this.stable = { what: stable, sinceMs: nowMs };
    return new ClusterView({
      self: this.uuid,
      nodes,
      placement: ring,
      repairPlacement: awaitsSome ? this.rings.of(placed((node) => node.live || node.awaited)).ring : ring,
      replication: this.replication,
      lowestReplication: this.lowestReplication(),
      maxReplication: this.maxReplication,
      ringDigest,
      stableSinceMs: this.stable.sinceMs,
      disagreements,
      joined: this.joined,
    });
  }

  /** What this node tells others of itself, at this moment. */
  announcement(): Announcement {
    const { options } = this;
    return {
      uuid: options.uuid,
      base_url: options.baseUrl,
      writeable: this.isWriteable,
      version: options.version,
      store: options.store,
      start_nonce: options.startNonce,
      started_ms: options.startedMs,
      joined: this.joined,
      incomplete: options.isIncomplete(),
      draining: options.isDraining(),
      replication: this.replication,
      max_replication: this.maxReplication,
      points: options.points,
      free_bytes: options.freeBytes(),
      neighbors: this.membership
        .all()
        .map(({ announcement: { uuid, base_url, replication } }) => ({ uuid, base_url, replication })),
      gossip_address: options.gossipAddress(),
    };
  }

  /** Takes in how gossip sees a member, in the order in which it is told. A new one is on disk before it is given copies. */
  observed(announcement: Announcement, state: MemberState): Promise<void> {
    return this.bySender.run(announcement.uuid, async () => {
      // Only its own life brings back a member that an operator had forgotten, not late news of its end.
      if (state !== "alive" && this.membership.hasForgotten(announcement.uuid)) return;
      await this.remember(this.membership.knownOnceObserved(announcement));
      const change = this.membership.observed(announcement, state, this.options.clock.nowMs());
      if (change) this.tell(change);
      this.view(); // so that no change of the ring goes unnoticed, however short it was
    });
  }

  /**
   * Members that another node knows and this one has never met: they may hold blobs, so they are asked too before a 404. On disk before it
   * resolves.
   */
  async learn(neighbors: readonly Neighbor[]): Promise<void> {
    const nowMs = this.options.clock.nowMs();
    const others = neighbors.filter(({ uuid }) => uuid !== this.uuid);
    if (!others.map((neighbor) => this.membership.heardOf(neighbor, nowMs)).includes(true)) return;
    await this.options.save(this.membership.known(), this.membership.forgotten());
    this.view();
  }

  /** Another node has answered this one, and so has told it, too, whether its disk was replaced. */
  noteMeeting(): void {
    this.hasMetSomebody = true;
  }

  /**
   * Takes a member off the list of those that must be asked: an operator says that it never returns. Answers whether it was known. On disk
   * when it resolves.
   */
  async forget(uuid: string): Promise<boolean> {
    const known = this.membership.forget(uuid);
    await this.options.save(this.membership.known(), this.membership.forgotten());
    return known;
  }

  async stop(): Promise<void> {
    await Promise.all([...this.peers.values()].map((peer) => peer.close()));
  }

  /** On disk first: who is given copies must still be known after a crash, or its blobs would be answered with 404. */
  private async remember(member: KnownMember): Promise<void> {
    const { clock, save, log } = this.options;
    this.remembering.set(member.uuid, member);
    const list = new Map([...this.membership.known(), ...this.remembering.values()].map((each) => [each.uuid, each]));
    const late = () => new CaskError("STORAGE_FAILED", `not written within ${REMEMBER_TIMEOUT_MS} ms`);
    try {
      await inTime(clock, REMEMBER_TIMEOUT_MS, save([...list.values()], this.membership.forgotten()), late);
    } catch (error) {
      // A node whose disk is full or hangs stays in the cluster, and saves with the next news.
      log.error({ err: error }, `the list of members is not on the disk yet: ${messageOf(error)}`);
    } finally {
      if (this.remembering.get(member.uuid) === member) this.remembering.delete(member.uuid);
    }
  }

  private tell(change: MembershipChange): void {
    const text = `node ${change.uuid} at ${change.baseUrl} is ${change.to} (was ${change.from})`;
    if (change.to === "alive" || change.to === "left") this.options.log.info({}, text);
    else this.options.log.warn({}, text);
    this.options.onChange?.(change);
  }

  private viewNodes(nowMs: number): ViewNode[] {
    this.awaitedUntilMs = Number.POSITIVE_INFINITY;
    const own: ViewNode = {
      uuid: this.uuid,
      baseUrl: this.baseUrl,
      peer: this.options.ownPeer,
      writeable: this.isWriteable,
      live: true,
      suspect: false,
      awaited: false,
      draining: this.options.isDraining(),
      unaware: false,
      knownStore: "",
    };
    return [own, ...this.membership.all().map((member) => this.viewNode(member, nowMs))];
  }

  private viewNode(member: Member, nowMs: number): ViewNode {
    const { uuid, base_url, writeable, draining } = member.announcement;
    const goneAtMs = member.stateSinceMs + this.options.repairGraceMs;
    const live = member.state === "alive" || member.state === "suspect";
    const awaited = !live && nowMs < goneAtMs;
    if (awaited) this.awaitedUntilMs = Math.min(this.awaitedUntilMs, goneAtMs);
    return {
      uuid,
      baseUrl: base_url,
      peer: this.peerOf(member.announcement),
      writeable: writeable && live && !draining,
      live,
      suspect: member.state === "suspect",
      awaited,
      draining,
      unaware: isUnaware(member),
      knownStore: member.knownStore,
    };
  }

  private peerOf(announcement: Announcement): RemotePeer {
    const { uuid, base_url } = announcement;
    const before = this.peers.get(uuid);
    if (before?.baseUrl === base_url && before.isGo === isGoNode(announcement)) return before;
    // It moved, or is another program now: requests under way to the old one end by themselves.
    const peer = this.options.makePeer(announcement);
    this.peers.set(uuid, peer);
    return peer;
  }

  /** Each of them once, when it appears. */
  private tellOfDisagreements(now: readonly string[]): void {
    for (const line of now)
      if (!this.told.has(line)) this.options.log.warn({}, `${line}; nothing is trimmed until then`);
    this.told = new Set(now);
  }

  /** What keeps this node from deleting surplus copies: others may count on them. */
  private disagreements(): string[] {
    return this.membership
      .all()
      .flatMap(({ state, announcement }) =>
        state === "alive" || state === "suspect" ? this.differing(announcement) : this.promisingMore(announcement),
      )
      .sort();
  }

  private differing(announcement: Announcement): string[] {
    const { base_url: url, points, replication, max_replication: max } = announcement;
    const own = { replication: this.replication, max: this.maxReplication, points: this.options.points };
    if (isGoNode(announcement)) {
      if (own.points === GO_POINTS && points === GO_POINTS) return [];
      return [
        `${url} is a Go node, which places blobs by ${GO_POINTS} points a node: set CASK_VNODES=${GO_POINTS} on all`,
      ];
    }
    if (replication === own.replication && max === own.max) return [];
    return [
      `${url} keeps ${replication} to ${max} copies, this node ${own.replication} to ${own.max}: ` +
        "set CASK_REPLICATION and CASK_MAX_REPLICATION alike",
    ];
  }

  /** Who is away has not been told of a lower number, and may have acknowledged uploads with its own. */
  private promisingMore({ base_url: url, replication }: Announcement): string[] {
    if (replication <= this.maxReplication) return [];
    return [
      `${url}, which is away, promised ${replication} copies, this node keeps ${this.maxReplication}: start it with the same settings, or forget it`,
    ];
  }

  private pointsOf(uuid: string): number {
    return uuid === this.uuid ? this.options.points : (this.membership.get(uuid)?.announcement.points ?? 0);
  }

  private lowestReplication(): number {
    const others = this.membership.all().map((member) => member.announcement.replication);
    return Math.min(this.replication, ...others);
  }
}
