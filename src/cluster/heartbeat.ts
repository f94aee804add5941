import { CaskError, messageOf } from "../core/errors.ts";
import { KeyedMutex } from "../core/keyed-mutex.ts";
import type { Logger } from "../core/log.ts";
import type { Announcement } from "../peer/protocol.ts";
import type { Cluster } from "./cluster.ts";
import type { Identity } from "./identity.ts";
import { isSameProcess, isUnaware } from "./membership.ts";
import { type NodeClient, UuidConflict } from "./node-client.ts";

export interface HeartbeatOptions {
  readonly cluster: Cluster;
  readonly client: Pick<NodeClient, "exchange">;
  readonly identity: Pick<Identity, "markIncomplete">;
  /** Another live node has our UUID and was there first: this process must not go on. */
  readonly onRefused: (error: CaskError) => void;
  readonly log: Logger;
}

/**
 * Two nodes tell each other what they are, over HTTP, when they meet: where the gossip port is, whether a disk was replaced, whether two
 * processes have one UUID. It changes nobody's state: who is alive is gossip's to say.
 */
export class Heartbeat {
  private readonly options: HeartbeatOptions;
  private readonly bySender = new KeyedMutex();

  constructor(options: HeartbeatOptions) {
    this.options = options;
  }

  /** Exchanges announcements with a base URL. Resolves with the other's, null if that is this process itself. Rejects when it can't be met. */
  async meet(baseUrl: string, signal?: AbortSignal): Promise<Announcement | null> {
    const { cluster, client } = this.options;
    try {
      const answer = await client.exchange(baseUrl, cluster.announcement(), signal);
      if (answer.uuid === cluster.uuid) return this.metOwnUuid(answer);
      const knownStore = await this.check(answer, signal);
      // Itself, too: gossip may show it a moment later, and who is not known is not asked before a 404.
      await cluster.learn([...answer.neighbors, answer]);
      if (knownStore !== undefined && isUnaware({ announcement: answer, knownStore })) {
        await client.exchange(baseUrl, { ...cluster.announcement(), known_store: knownStore }, signal);
      }
      return answer;
    } catch (error) {
      if (error instanceof UuidConflict) throw this.conflict(error.announcement, error.message);
      throw error;
    }
  }

  /**
   * Another node says what it is. Answers with our own announcement.
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
    const knownStore = await this.check(announcement, signal);
    await cluster.learn(announcement.neighbors);
    return { ...own, ...(knownStore ? { known_store: knownStore } : {}) };
  }

  private metOwnUuid(answer: Announcement): null {
    const { cluster } = this.options;
    if (isSameProcess(answer, cluster.announcement())) return null;
    throw this.conflict(answer, `${answer.base_url} has the UUID of this node, ${answer.uuid}`);
  }

  /**
   * Rejects with UUID_IN_USE when another live process has the sender's UUID. Resolves with the store that the sender was known with
   * before. One at a time for each UUID: of two that come at once, one was first.
   */
  private check(announcement: Announcement, signal?: AbortSignal): Promise<string | undefined> {
    return this.bySender.run(announcement.uuid, async () => {
      const known = this.options.cluster.member(announcement.uuid);
      if (known && (await this.livesElsewhere(known.announcement, announcement, signal))) {
        throw new CaskError("UUID_IN_USE", conflictMessage(announcement.uuid, known.announcement.base_url));
      }
      await this.learnOwnStore(announcement);
      return known?.knownStore;
    });
  }

  /** A wiped disk has lost the memory of what was on it: the others have not. */
  private async learnOwnStore(announcement: Announcement): Promise<void> {
    const { cluster, identity, log } = this.options;
    const own = cluster.announcement();
    if (announcement.known_store === undefined || announcement.known_store === own.store || own.incomplete) return;
    log.warn(
      {},
      "the others know this UUID with another data folder: it counts as a replaced disk, to be filled again",
    );
    await identity.markIncomplete();
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
        {},
        `${known.uuid} was at ${known.base_url}, which does not answer (${messageOf(error)}): it moved to ${announcement.base_url}`,
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
