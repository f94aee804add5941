import type { Clock } from "../core/clock.ts";
import { CaskError, messageOf } from "../core/errors.ts";
import { Gate } from "../core/gate.ts";
import { INTRODUCTION_RETRY_MS, INTRODUCTIONS_AT_ONCE_COUNT, MEMBERS_MAX_COUNT } from "../core/limits.ts";
import type { Logger } from "../core/log.ts";
import type { GossipMember, MemberEvent } from "../gossip/swim-contract.ts";
import { type Announcement, isGoNode } from "../peer/protocol.ts";
import type { Cluster } from "./cluster.ts";
import type { Heartbeat } from "./heartbeat.ts";
import type { MemberState } from "./membership.ts";
import { encodeMetadata, parseMetadata } from "./metadata.ts";

export interface GossipMembersOptions {
  readonly cluster: Cluster;
  readonly heartbeat: Pick<Heartbeat, "meet">;
  /** Tells the others new metadata. */
  readonly updateMeta: (meta: Uint8Array) => void;
  /** In the metadata, for nodes that want it there: only where gossip is not all encrypted. */
  readonly secretInClear: string | undefined;
  /** Members that do not show it are ignored, as Go nodes do: then nothing else tells who belongs here. */
  readonly wantsSecretInClear: boolean;
  readonly clock: Pick<Clock, "timer">;
  readonly log: Logger;
}

/** What gossip says of members, as the cluster needs it: metadata into announcements, and the other way round. */
export class GossipMembers {
  private readonly options: GossipMembersOptions;
  private readonly introductions = new Gate("introductions", INTRODUCTIONS_AT_ONCE_COUNT, MEMBERS_MAX_COUNT);
  private readonly introducing = new Map<string, Promise<void>>();
  private readonly warned = new Set<string>();
  private told = "";

  constructor(options: GossipMembersOptions) {
    this.options = options;
  }

  /** What gossip tells of this node at present. Throws BAD_CONFIG when it does not fit. */
  metadata(): Buffer {
    const { cluster, secretInClear } = this.options;
    return encodeMetadata(cluster.announcement(), secretInClear);
  }

  /** Tells the others if anything of it has changed. */
  announce(): void {
    const meta = this.metadata();
    const text = meta.toString("latin1");
    if (text === this.told) return;
    this.told = text;
    this.options.updateMeta(meta);
  }

  onEvent(event: MemberEvent): void {
    if (event.kind === "forgotten") return; // by gossip: the cluster remembers whom it ever met
    if (event.kind === "unrefuted") {
      this.options.log.error(
        {},
        `somebody says that this node is gone, with the incarnation ${event.incarnation}, which leaves no higher one to deny it: forged? Restart this node`,
      );
      return;
    }
    const announcement = this.announcementOf(
      event.member.name,
      event.kind === "conflict" ? event.otherMeta : event.member.meta,
    );
    if (!announcement) return;
    if (event.kind === "conflict") this.twice(announcement);
    else if (announcement.uuid !== this.options.cluster.uuid) this.observe(announcement, event.kind, event.member);
  }

  /** Resolves when those that were met lately have been asked what they know of this node. */
  async introduced(): Promise<void> {
    await Promise.all(this.introducing.values());
  }

  private observe(announcement: Announcement, kind: MemberEvent["kind"], member: GossipMember): void {
    const { cluster, log } = this.options;
    const state: MemberState = kind === "dead" || kind === "left" ? kind : member.state;
    cluster.observed(announcement, state).catch((error: unknown) => log.error({ err: error }, messageOf(error)));
    if (kind === "joined") this.introduce(announcement);
  }

  /**
   * The later one asks the earlier one over HTTP, until it answers: whether the other knows this node with another disk, or at another place, and
   * whom else it knows.
   */
  private introduce(announcement: Announcement): void {
    const { uuid, base_url, started_ms } = announcement;
    const { cluster, heartbeat, log } = this.options;
    const own = cluster.announcement();
    const isMine = !own.joined || started_ms < own.started_ms;
    if (!isMine || this.introducing.has(uuid)) return;
    const asked = this.introductions
      .run(() => heartbeat.meet(base_url))
      .then(
        () => cluster.noteMeeting(),
        (error: unknown) => {
          // What others hold, and whom it knows, is not known then: only a Go node has nothing to say of that.
          if (isGoNode(announcement)) cluster.noteMeeting();
          else this.introduceLater(announcement);
          log.debug({ err: error }, `${base_url} could not be asked what it knows of this node`);
        },
      )
      .finally(() => {
        this.introducing.delete(uuid);
        this.announce();
      });
    this.introducing.set(uuid, asked);
  }

  /** For as long as it lives: after a restart it is the later one, and asks itself. */
  private introduceLater({ uuid, start_nonce }: Announcement): void {
    const { cluster, clock } = this.options;
    clock.timer(INTRODUCTION_RETRY_MS, () => {
      const member = cluster.member(uuid);
      const isLive = member?.state === "alive" || member?.state === "suspect";
      if (member && isLive && member.announcement.start_nonce === start_nonce) this.introduce(member.announcement);
    });
  }

  /** Somebody claims a member's name from elsewhere. If it is ours, the two processes settle it between them. */
  private twice(announcement: Announcement): void {
    const { cluster, heartbeat, log } = this.options;
    if (announcement.uuid !== cluster.uuid) {
      log.warn({}, `two nodes claim the UUID ${announcement.uuid}, one of them at ${announcement.base_url}`);
      return;
    }
    heartbeat.meet(announcement.base_url).catch((error: unknown) => log.debug({ err: error }, messageOf(error)));
  }

  private announcementOf(name: string, meta: Uint8Array): Announcement | null {
    const { secretInClear, wantsSecretInClear } = this.options;
    const parsed = parseMetadata(meta);
    if (!parsed) return this.ignored(name, "is no cask node");
    if (wantsSecretInClear && parsed.secret !== secretInClear) return this.ignored(name, "has another secret");
    return parsed.announcement;
  }

  private ignored(name: string, why: string): null {
    if (!this.warned.has(name) && this.warned.size < MEMBERS_MAX_COUNT) {
      this.warned.add(name);
      this.options.log.warn({}, `the gossip member ${name.slice(0, 100)} ${why}: ignored`);
    }
    return null;
  }
}

/** For `POST /join/` and the log: the gossip address that a node told, or why there is none. */
export function gossipAddressOf(announcement: Announcement): string {
  if (announcement.gossip_address !== "") return announcement.gossip_address;
  throw new CaskError(
    "PEER_FAILED",
    `${announcement.base_url} does not say where its gossip port is: name that (host:port) in place of its base URL`,
  );
}
