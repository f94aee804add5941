import { CaskError } from "../core/errors.ts";
import { Gate } from "../core/gate.ts";
import { KeyedMutex } from "../core/keyed-mutex.ts";
import { HEARTBEATS_AT_ONCE_COUNT, MEMBERS_MAX_COUNT } from "../core/limits.ts";
import type { Logger } from "../core/log.ts";
import type { StepResult } from "../core/worker.ts";
import type { Announcement } from "../peer/protocol.ts";
import type { Cluster } from "./cluster.ts";
import type { Identity } from "./identity.ts";
import { isSameProcess, type Member } from "./membership.ts";
import { type NodeClient, UuidConflict } from "./node-client.ts";

export interface HeartbeatOptions {
  readonly cluster: Cluster;
  readonly client: Pick<NodeClient, "exchange">;
  readonly identity: Pick<Identity, "markIncomplete">;
  /** Another live node has our UUID and was there first: this process must not go on. */
  readonly onRefused: (error: CaskError) => void;
  readonly log: Logger;
}

/** What became of an exchange with a base URL. */
export type Meeting = "met" | "self";

/** Tells all members that this node lives, takes in what they tell, and finds two processes with one UUID. */
export class Heartbeat {
  private readonly options: HeartbeatOptions;
  private readonly gate = new Gate("heartbeats", HEARTBEATS_AT_ONCE_COUNT, MEMBERS_MAX_COUNT);
  private readonly introductions = new Gate("introductions", HEARTBEATS_AT_ONCE_COUNT, MEMBERS_MAX_COUNT);
  /** Base URLs of strangers that are being asked at present. */
  private readonly introducing = new Set<string>();
  private readonly bySender = new KeyedMutex();
  private deadTurn = 0;

  constructor(options: HeartbeatOptions) {
    this.options = options;
  }

  /** One round: all that live are told, and some of the dead too (they may be back). */
  async step(signal: AbortSignal): Promise<StepResult> {
    const { cluster } = this.options;
    const members = cluster.members();
    const live = members.filter(({ state }) => state === "alive" || state === "suspect");
    const dead = members.filter(({ state }) => state === "dead");
    const told = [...live, ...this.takeTurns(dead)];
    await Promise.all(told.map(({ announcement }) => this.beat(announcement.base_url, signal)));
    cluster.tick();
    return "idle";
  }

  /** Says good-bye to all that are alive; who can't be reached finds out by silence. */
  async sayLeaving(signal: AbortSignal): Promise<void> {
    this.options.cluster.announceLeaving();
    const alive = this.options.cluster.members().filter((member) => member.state === "alive");
    await Promise.all(alive.map(({ announcement }) => this.beat(announcement.base_url, signal)));
  }

  /** Exchanges announcements with a base URL and gets to know those that it knows. Rejects when it can't be met. */
  async meet(baseUrl: string, signal?: AbortSignal): Promise<Meeting> {
    const { cluster, client } = this.options;
    try {
      const answer = await client.exchange(baseUrl, cluster.announcement(), signal);
      if (answer.uuid === cluster.uuid) return this.metOwnUuid(answer);
      await this.takeIn(answer, signal);
      cluster.noteMeeting();
      await this.meetNeighborsOf(answer, signal);
      return "met";
    } catch (error) {
      if (error instanceof UuidConflict) throw this.conflict(error.announcement, error.message);
      throw error;
    }
  }

  /**
   * A member's heartbeat came in. Answers with our own announcement.
   * Rejects with UUID_IN_USE when the sender's UUID belongs to another live process (or to this one).
   */
  async receive(announcement: Announcement, signal?: AbortSignal): Promise<Announcement> {
    const { cluster } = this.options;
    const own = cluster.announcement();
    if (announcement.uuid === cluster.uuid) {
      if (!isSameProcess(announcement, own)) {
        this.conflict(announcement, `${announcement.base_url} has the UUID of this node, ${announcement.uuid}`);
        throw new CaskError("UUID_IN_USE", conflictMessage(announcement.uuid, cluster.baseUrl));
      }
      return own;
    }
    const knownStore = await this.takeIn(announcement, signal);
    if (!cluster.joined) void this.askBack(announcement.base_url);
    return { ...own, ...(knownStore ? { known_store: knownStore } : {}) };
  }

  /** Asking the dead may take long: a few in each round, one after the other, so that the living need not wait. */
  private takeTurns(dead: readonly Member[]): readonly Member[] {
    if (dead.length <= HEARTBEATS_AT_ONCE_COUNT) return dead;
    const begin = this.deadTurn % dead.length;
    this.deadTurn = begin + HEARTBEATS_AT_ONCE_COUNT;
    return [...dead, ...dead].slice(begin, this.deadTurn);
  }

  /** A node that is called before it was answered by anybody need not wait for its next round. */
  private async askBack(baseUrl: string): Promise<void> {
    if (this.introducing.has(baseUrl)) return;
    this.introducing.add(baseUrl);
    await this.beat(baseUrl);
    this.introducing.delete(baseUrl);
  }

  private async beat(baseUrl: string, signal?: AbortSignal): Promise<void> {
    try {
      await this.gate.run(() => this.meet(baseUrl, signal), signal);
    } catch (error) {
      // Silence is judged by membership; here it is only worth a line for who looks closely.
      this.options.log.debug({ err: error }, `no heartbeat exchanged with ${baseUrl}`);
    }
  }

  private metOwnUuid(answer: Announcement): Meeting {
    const { cluster } = this.options;
    if (isSameProcess(answer, cluster.announcement())) return "self";
    throw this.conflict(answer, `${answer.base_url} has the UUID of this node, ${answer.uuid}`);
  }

  /**
   * Believes what a node says of itself, unless another live process has its UUID: then it rejects with UUID_IN_USE.
   * Resolves with the store that the node was known with before. One at a time for each UUID: of two that come at once, one was first.
   */
  private takeIn(announcement: Announcement, signal?: AbortSignal): Promise<string | undefined> {
    return this.bySender.run(announcement.uuid, async () => {
      const known = this.options.cluster.member(announcement.uuid);
      if (known && (await this.livesElsewhere(known.announcement, announcement, signal))) {
        throw new CaskError("UUID_IN_USE", conflictMessage(announcement.uuid, known.announcement.base_url));
      }
      await this.believe(announcement);
      return known?.knownStore;
    });
  }

  private async believe(announcement: Announcement): Promise<void> {
    const { cluster, identity, log } = this.options;
    const own = cluster.announcement();
    if (announcement.known_store !== undefined && announcement.known_store !== own.store && !own.incomplete) {
      log.warn(
        {},
        "the others know this UUID with another data folder: it counts as a replaced disk, to be filled again",
      );
      await identity.markIncomplete();
    }
    await cluster.heard(announcement);
  }

  private async meetNeighborsOf(announcement: Announcement, signal?: AbortSignal): Promise<void> {
    const { cluster } = this.options;
    const strangers = announcement.neighbors.filter(
      ({ uuid, base_url }) => uuid !== cluster.uuid && !cluster.member(uuid) && !this.introducing.has(base_url),
    );
    await Promise.all(strangers.map(({ base_url }) => this.introduce(base_url, signal)));
  }

  /** What others say of a node is only where to ask: the node itself is believed. */
  private async introduce(baseUrl: string, signal?: AbortSignal): Promise<void> {
    const { cluster, client, log } = this.options;
    this.introducing.add(baseUrl);
    try {
      const exchange = () => client.exchange(baseUrl, cluster.announcement(), signal);
      const answer = await this.introductions.run(exchange, signal);
      if (answer.uuid !== cluster.uuid) await this.takeIn(answer, signal);
    } catch (error) {
      if (error instanceof UuidConflict) throw error;
      log.debug({ err: error }, `a neighbor's neighbor at ${baseUrl} cannot be reached`);
    } finally {
      this.introducing.delete(baseUrl);
    }
  }

  /** A known UUID comes from another process: a restart, a move, or two at once? The old address is asked. */
  private async livesElsewhere(
    known: Announcement,
    announcement: Announcement,
    signal?: AbortSignal,
  ): Promise<boolean> {
    if (isSameProcess(known, announcement) || known.start_nonce === "" || known.base_url === announcement.base_url)
      return false;
    const { cluster, client, log } = this.options;
    try {
      const answer = await client.exchange(known.base_url, cluster.announcement(), signal);
      return answer.uuid === known.uuid && isSameProcess(answer, known);
    } catch (error) {
      log.info(
        { err: error },
        `${known.uuid} was at ${known.base_url}, which does not answer: it moved to ${announcement.base_url}`,
      );
      return false;
    }
  }

  /** Decides who gives way: the one that has not joined yet; of two that have, both stop taking blobs. */
  private conflict(other: Announcement | null, message: string): CaskError {
    const { cluster, log, onRefused } = this.options;
    const own = cluster.announcement();
    const error = new CaskError(
      "UUID_IN_USE",
      `${message}. Give each node a CASK_UUID of its own, or stop the other one`,
    );
    const bothStarting = other !== null && !own.joined && !other.joined;
    if (bothStarting ? startedLater(own, other) : !own.joined) {
      onRefused(error);
    } else if (other === null || other.joined) {
      cluster.noteConflict();
      log.error({}, `${error.message}. This node is read-only until the other one is gone`);
    }
    return error;
  }
}

function startedLater(a: Announcement, b: Announcement): boolean {
  if (a.started_ms !== b.started_ms) return a.started_ms > b.started_ms;
  return a.start_nonce > b.start_nonce;
}

function conflictMessage(uuid: string, holder: string): string {
  return `the UUID ${uuid} belongs to the live node at ${holder}`;
}
