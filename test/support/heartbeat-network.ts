import { Cluster } from "../../src/cluster/cluster.ts";
import { Heartbeat } from "../../src/cluster/heartbeat.ts";
import { Join } from "../../src/cluster/join.ts";
import type { KnownMember } from "../../src/cluster/membership.ts";
import { UuidConflict } from "../../src/cluster/node-client.ts";
import { CaskError, hasCode } from "../../src/core/errors.ts";
import { silentLogger } from "../../src/core/log.ts";
import { type Announcement, parseAnnouncement } from "../../src/peer/protocol.ts";
import { FakePeer } from "./fake-peer.ts";
import { ManualClock } from "./manual-clock.ts";

export const INTERVAL_MS = 1_000;

export interface NodeOptions {
  readonly uuid: string;
  /** Default `http://<uuid>`. */
  readonly url?: string;
  readonly seeds?: readonly string[];
  readonly store?: string;
  readonly known?: readonly KnownMember[];
  readonly replication?: number;
}

/** A node's cluster code, with what it would have told the outside world. */
export interface NetworkNode {
  readonly url: string;
  readonly cluster: Cluster;
  readonly heartbeat: Heartbeat;
  readonly join: Join;
  /** Why this process would have ended. */
  readonly refusals: CaskError[];
  /** What it would have kept on disk. */
  saved: readonly KnownMember[];
  incomplete: boolean;
}

/** Some nodes' heartbeats in one process, on a network that can be cut, under a clock that stands still by itself. */
export class HeartbeatNetwork {
  readonly clock = new ManualClock();
  readonly signal = new AbortController().signal;
  /** May a request go from this URL to that one? */
  connected: (from: string, to: string) => boolean = () => true;
  /** Requests that were sent, whether they arrived or not, as `from > to`. */
  readonly requests: string[] = [];
  private readonly listening = new Map<string, NetworkNode>();
  private readonly made: NetworkNode[] = [];

  /** Makes a node that listens at once. One at the same URL before it is gone. */
  node(options: NodeOptions): NetworkNode {
    const { uuid, url = `http://${uuid}`, seeds = [] } = options;
    const cluster = this.cluster(options, url, () => node);
    const refusals: CaskError[] = [];
    const heartbeat = new Heartbeat({
      cluster,
      client: { exchange: (to, own) => this.exchange(url, to, own) },
      identity: {
        markIncomplete: async () => {
          node.incomplete = true;
        },
      },
      onRefused: (error) => refusals.push(error),
      log: silentLogger(),
    });
    const join = new Join({ seeds, cluster, heartbeat, clock: this.clock, log: silentLogger() });
    const node: NetworkNode = { url, cluster, heartbeat, join, refusals, saved: [], incomplete: false };
    this.made.push(node);
    this.listening.set(url, node);
    return node;
  }

  /** The process at this URL is killed: nothing listens there any more. */
  kill(node: NetworkNode): void {
    this.listening.delete(node.url);
    this.made.splice(this.made.indexOf(node), 1);
  }

  /** Lets so many heartbeat intervals pass: each node tries its seeds and tells its members. */
  async pass(intervals = 1): Promise<void> {
    for (let i = 0; i < intervals; i++) {
      await this.clock.advance(INTERVAL_MS);
      for (const node of [...this.made]) {
        await node.join.step(this.signal);
        await node.heartbeat.step(this.signal);
      }
    }
  }

  async stop(): Promise<void> {
    await Promise.all(this.made.map((node) => node.cluster.stop()));
  }

  private cluster(options: NodeOptions, url: string, self: () => NetworkNode): Cluster {
    const { uuid, seeds = [], store = `store-of-${uuid}`, known = [], replication } = options;
    return new Cluster({
      uuid,
      baseUrl: url,
      store,
      version: "0.1.0",
      startNonce: `${uuid} at ${url} from ${this.clock.wallMs()}`,
      startedMs: this.clock.wallMs(),
      points: 16,
      settings: { replication, maxReplication: undefined },
      hasNeighbors: seeds.length > 0,
      heartbeatIntervalMs: INTERVAL_MS,
      ownPeer: new FakePeer(uuid),
      isWriteable: () => true,
      isIncomplete: () => self().incomplete,
      freeBytes: () => null,
      known,
      save: async (members) => {
        self().saved = members;
      },
      nodeSecret: "derived",
      authorities: undefined,
      clock: this.clock,
      log: silentLogger(),
    });
  }

  /** As over HTTP: what is said is written and read, a conflict is a 409. */
  private async exchange(from: string, to: string, own: Announcement): Promise<Announcement> {
    this.requests.push(`${from} > ${to}`);
    const target = this.listening.get(to);
    if (!target || !this.connected(from, to)) throw new CaskError("PEER_FAILED", `${to} cannot be reached`);
    try {
      const answer = copy(await target.heartbeat.receive(copy(own)));
      if (!this.connected(to, from)) throw new CaskError("PEER_FAILED", `the answer of ${to} was lost`);
      return answer;
    } catch (error) {
      if (!hasCode(error, "UUID_IN_USE")) throw error;
      throw new UuidConflict(
        error.message,
        target.cluster.uuid === own.uuid ? copy(target.cluster.announcement()) : null,
      );
    }
  }
}

function copy(announcement: Announcement): Announcement {
  return parseAnnouncement(JSON.parse(JSON.stringify(announcement)) as Record<string, unknown>);
}

/** How a node sees each of the others, by UUID. */
export function statesSeenBy(node: NetworkNode): Record<string, string> {
  return Object.fromEntries(node.cluster.members().map(({ announcement, state }) => [announcement.uuid, state]));
}
