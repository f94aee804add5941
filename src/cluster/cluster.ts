import type { Clock } from "../core/clock.ts";
import { CaskError, messageOf } from "../core/errors.ts";
import { inTime } from "../core/in-time.ts";
import { KeyedMutex } from "../core/keyed-mutex.ts";
import { REMEMBER_TIMEOUT_MS } from "../core/limits.ts";
import type { Logger } from "../core/log.ts";
import type { Peer } from "../peer/peer.ts";
import type { Announcement } from "../peer/protocol.ts";
import { Ring } from "../placement/ring.ts";
import { ClusterView, type ViewNode } from "./cluster-view.ts";
import { HttpPeer } from "./http-peer.ts";
import type { KnownMember, Member, MemberState, MembershipChange } from "./membership.ts";
import { Membership } from "./membership.ts";

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
  readonly freeBytes: () => number | null;
  readonly known: readonly KnownMember[];
  /** Called with the list of members each time that there is news of one: it may be the same. */
  readonly save: (known: readonly KnownMember[]) => Promise<void>;
  readonly nodeSecret: string;
  readonly authorities: readonly string[] | undefined;
  readonly onChange?: (change: MembershipChange) => void;
  readonly clock: Clock;
  readonly log: Logger;
}

/** The members, and the view of them that the blob code works with. One owner of both. */
export class Cluster {
  private readonly options: ClusterOptions;
  private readonly membership: Membership;
  private readonly peers = new Map<string, HttpPeer>();
  private hasMetSomebody = false;
  /** On their way to the disk, not members yet. */
  private readonly remembering = new Map<string, KnownMember>();
  private readonly bySender = new KeyedMutex();
  private conflictUntilMs = Number.NEGATIVE_INFINITY;
  private current: ClusterView | undefined;
  private builtFrom = "";

  constructor(options: ClusterOptions) {
    this.options = options;
    this.membership = new Membership(options.known, options.clock.nowMs());
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
    return this.options.isWriteable() && !this.inConflict;
  }

  noteConflict(): void {
    this.conflictUntilMs = this.options.clock.nowMs() + this.options.conflictMs;
  }

  /** The cluster as it is now. The same object as long as nothing changed. */
  view(): ClusterView {
    const builtFrom = `${this.membership.version} ${this.isWriteable} ${this.joined}`;
    if (this.current && builtFrom === this.builtFrom) return this.current;
    const nodes = this.viewNodes();
    const placed = nodes.filter((node) => node.live).map(({ uuid }) => ({ uuid, points: this.pointsOf(uuid) }));
    this.builtFrom = builtFrom;
    this.current = new ClusterView({
      self: this.uuid,
      nodes,
      placement: new Ring(placed),
      replication: this.replication,
      lowestReplication: this.lowestReplication(),
      joined: this.joined,
    });
    return this.current;
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
      replication: this.replication,
      max_replication: this.maxReplication,
      points: options.points,
      free_bytes: options.freeBytes(),
      neighbors: this.membership
        .all()
        .filter((member) => member.state !== "left")
        .map(({ announcement: a }) => ({ uuid: a.uuid, base_url: a.base_url })),
      gossip_address: options.gossipAddress(),
    };
  }

  /** Takes in how gossip sees a member, in the order in which it is told. A new one is on disk before it is given copies. */
  observed(announcement: Announcement, state: MemberState): Promise<void> {
    return this.bySender.run(announcement.uuid, async () => {
      await this.remember(this.membership.knownOnceObserved(announcement));
      const change = this.membership.observed(announcement, state, this.options.clock.nowMs());
      if (change) this.tell(change);
    });
  }

  /** Another node has answered this one, and so has told it, too, whether its disk was replaced. */
  noteMeeting(): void {
    this.hasMetSomebody = true;
  }

  /** Takes a member off the list of those that must be asked: an operator says that it never returns. */
  async forget(uuid: string): Promise<boolean> {
    const known = this.membership.forget(uuid);
    await this.options.save(this.membership.known());
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
      await inTime(clock, REMEMBER_TIMEOUT_MS, save([...list.values()]), late);
    } catch (error) {
      // A node whose disk is full or hangs stays in the cluster, and saves with the next news.
      log.error({ err: error }, `the list of members cannot be kept: ${messageOf(error)}`);
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

  private viewNodes(): ViewNode[] {
    const own: ViewNode = {
      uuid: this.uuid,
      baseUrl: this.baseUrl,
      peer: this.options.ownPeer,
      writeable: this.isWriteable,
      live: true,
      suspect: false,
    };
    return [own, ...this.membership.all().map((member) => this.viewNode(member))];
  }

  private viewNode(member: Member): ViewNode {
    const { uuid, base_url, writeable } = member.announcement;
    const live = member.state === "alive" || member.state === "suspect";
    return {
      uuid,
      baseUrl: base_url,
      peer: this.peerOf(uuid, base_url),
      writeable: writeable && live,
      live,
      suspect: member.state === "suspect",
    };
  }

  private peerOf(uuid: string, baseUrl: string): HttpPeer {
    const before = this.peers.get(uuid);
    if (before?.baseUrl === baseUrl) return before;
    // It moved: requests under way to the old address end by themselves.
    const { nodeSecret, authorities, clock } = this.options;
    const peer = new HttpPeer({ uuid, baseUrl, nodeSecret, authorities, clock });
    this.peers.set(uuid, peer);
    return peer;
  }

  private pointsOf(uuid: string): number {
    return uuid === this.uuid ? this.options.points : (this.membership.get(uuid)?.announcement.points ?? 0);
  }

  private lowestReplication(): number {
    const others = this.membership.all().map((member) => member.announcement.replication);
    return Math.min(this.replication, ...others);
  }
}
