import { Cluster } from "../../src/cluster/cluster.ts";
import { GossipMembers } from "../../src/cluster/gossip-members.ts";
import { Heartbeat } from "../../src/cluster/heartbeat.ts";
import { Join } from "../../src/cluster/join.ts";
import type { KnownMember } from "../../src/cluster/membership.ts";
import { UuidConflict } from "../../src/cluster/node-client.ts";
import { CaskError, hasCode } from "../../src/core/errors.ts";
import { silentLogger } from "../../src/core/log.ts";
import { SeededRandom } from "../../src/core/random.ts";
import type { NeighborAddress } from "../../src/core/setting-values.ts";
import { addrOf, formatEndpoint } from "../../src/gossip/endpoint.ts";
import type { Gossip } from "../../src/gossip/gossip.ts";
import { openGossip } from "../../src/gossip/open-gossip.ts";
import type { Encryption } from "../../src/gossip/wires.ts";
import { type Announcement, parseAnnouncement } from "../../src/peer/protocol.ts";
import { FakePeer } from "./fake-peer.ts";
import { ManualClock } from "./manual-clock.ts";
import { MemoryNetwork } from "./memory-transport.ts";

const STEP_MS = 50;
const SECRET = "the cluster's secret";

export interface NodeOptions {
  readonly uuid: string;
  /** Default `http://<uuid>`. */
  readonly url?: string;
  /** Base URLs, or gossip addresses of nodes that were made before. */
  readonly seeds?: readonly string[];
  readonly store?: string;
  readonly known?: readonly KnownMember[];
  readonly replication?: number;
  readonly secret?: string;
  /** Accepted too. */
  readonly oldSecret?: string;
  readonly encryption?: Encryption;
}

interface Outside {
  /** What it would have kept on disk. */
  saved: readonly KnownMember[];
  incomplete: boolean;
  writeable: boolean;
}

/** The cluster code of a node, with what it would have told the outside world. */
export interface NetworkNode extends Outside {
  readonly url: string;
  readonly gossipAddress: string;
  readonly cluster: Cluster;
  readonly heartbeat: Heartbeat;
  readonly gossip: Gossip;
  readonly join: Join;
  /** Why this process would have ended. */
  readonly refusals: CaskError[];
}

/** Nodes' gossip and cluster code in one process, on a network that can be cut, under a clock that stands still by itself. */
export class ClusterNetwork {
  readonly clock = new ManualClock();
  readonly gossip = new MemoryNetwork();
  readonly signal = new AbortController().signal;
  /** Requests over HTTP that were sent, whether they arrived or not, as `from > to`. */
  readonly requests: string[] = [];
  private readonly random: SeededRandom;
  private readonly listening = new Map<string, NetworkNode>();
  private readonly made: NetworkNode[] = [];
  private httpConnected: (from: string, to: string) => boolean = () => true;

  constructor(seed = 1) {
    this.random = new SeededRandom(seed);
  }

  /** Makes a node that listens at once. One at the same URL before it is gone. */
  async node(options: NodeOptions): Promise<NetworkNode> {
    const { uuid, url = `http://${uuid}`, secret = SECRET, encryption = "true" } = options;
    const { transport, endpoint } = this.gossip.transport();
    const gossipAddress = formatEndpoint(endpoint);
    const outside: Outside = { saved: [], incomplete: false, writeable: true };
    const cluster = this.cluster(options, url, gossipAddress, outside);
    const refusals: CaskError[] = [];
    const log = silentLogger();
    const heartbeat = new Heartbeat({
      cluster,
      client: { exchange: (to, own) => this.exchange(url, to, own) },
      identity: {
        markIncomplete: async () => {
          outside.incomplete = true;
        },
      },
      onRefused: (error) => refusals.push(error),
      log,
    });
    let gossip: Gossip | undefined;
    await transport.start({
      packet: (bytes, from) => gossip?.packet(bytes, from),
      stream: (stream) => (gossip ? gossip.stream(stream) : stream.destroy()),
    });
    const updateMeta = (meta: Uint8Array) => gossip?.updateMeta(meta);
    const gossipMembers = new GossipMembers({
      cluster,
      heartbeat,
      updateMeta,
      secretInClear: encryption === "true" ? undefined : secret,
      wantsSecretInClear: encryption === "false",
      clock: this.clock,
      log,
    });
    gossip = openGossip({
      name: uuid,
      transport,
      endpoint,
      profile: "local",
      encryption,
      secrets: options.oldSecret === undefined ? [secret] : [secret, options.oldSecret],
      metadata: () => gossipMembers.metadata(),
      onEvent: (event) => gossipMembers.onEvent(event),
      clock: this.clock,
      random: this.random,
      log,
    });
    const seeds = (options.seeds ?? []).map(addressOf);
    const resolve = async (host: string) => [addrOf(host) as Uint8Array];
    const join = new Join({ seeds, cluster, heartbeat, gossip, gossipMembers, resolve, clock: this.clock, log });
    const node: NetworkNode = Object.assign(outside, {
      url,
      gossipAddress,
      cluster,
      heartbeat,
      gossip,
      join,
      refusals,
    });
    gossip.start();
    this.made.push(node);
    this.listening.set(url, node);
    return node;
  }

  /** The process is killed: nothing listens there any more. */
  async kill(node: NetworkNode): Promise<void> {
    if (this.listening.get(node.url) === node) this.listening.delete(node.url);
    this.made.splice(this.made.indexOf(node), 1);
    await node.gossip.stop();
  }

  /** Only nodes of the same group reach each other, by gossip and by HTTP; none given: all do. */
  partition(...groups: ReadonlyArray<readonly NetworkNode[]>): void {
    const groupOf = (address: string) =>
      groups.findIndex((group) => group.some((node) => node.url === address || node.gossipAddress === address));
    const same = (from: string, to: string) => groups.length === 0 || groupOf(from) === groupOf(to);
    this.gossip.connected = same;
    this.httpConnected = same;
  }

  /** Lets time pass; each node tries its seeds meanwhile. */
  async pass(ms: number): Promise<void> {
    for (let at = 0; at < ms; at += STEP_MS) {
      await this.clock.advance(STEP_MS);
      if (at % 500 === 0) for (const node of [...this.made]) void node.join.step(this.signal);
      await this.clock.advance(0);
    }
  }

  /** Lets time pass until the condition holds; answers how long it took. Rejects after `withinMs`. */
  async until(what: string, withinMs: number, condition: () => boolean): Promise<number> {
    for (let at = 0; at <= withinMs; at += STEP_MS) {
      if (condition()) return at;
      await this.pass(STEP_MS);
    }
    throw new Error(`not within ${withinMs} ms: ${what}`);
  }

  async stop(): Promise<void> {
    await Promise.all(this.made.map((node) => Promise.all([node.cluster.stop(), node.gossip.stop()])));
  }

  private cluster(options: NodeOptions, url: string, gossipAddress: string, outside: Outside): Cluster {
    const { uuid, seeds = [], store = `store-of-${uuid}`, known = [], replication } = options;
    return new Cluster({
      uuid,
      baseUrl: url,
      store,
      version: "0.1.0",
      startNonce: `${this.clock.wallMs()}${gossipAddress}`.slice(-20),
      startedMs: this.clock.wallMs(),
      points: 16,
      settings: { replication, maxReplication: undefined },
      hasNeighbors: seeds.length > 0,
      conflictMs: 30_000,
      gossipAddress: () => gossipAddress,
      ownPeer: new FakePeer(uuid),
      isWriteable: () => outside.writeable,
      isIncomplete: () => outside.incomplete,
      freeBytes: () => null,
      known,
      save: async (members) => {
        outside.saved = members;
      },
      isDraining: () => false,
      repairGraceMs: 600_000,
      makePeer: ({ uuid, base_url }) => new FakePeer(uuid, base_url),
      clock: this.clock,
      log: silentLogger(),
    });
  }

  /** Requests over HTTP arrive, their answers don't. */
  losesAnswers = false;

  /** As over HTTP: what is said is written and read, a conflict is a 409. */
  private async exchange(from: string, to: string, own: Announcement): Promise<Announcement> {
    this.requests.push(`${from} > ${to}`);
    const target = this.listening.get(to);
    if (!target || !this.httpConnected(from, to)) throw new CaskError("PEER_FAILED", `${to} cannot be reached`);
    try {
      const answer = copy(await target.heartbeat.receive(copy(own)));
      if (this.losesAnswers) throw new CaskError("PEER_FAILED", "the connection broke");
      return answer;
    } catch (error) {
      if (!hasCode(error, "UUID_IN_USE")) throw error;
      const holder = target.cluster.uuid === own.uuid ? copy(target.cluster.announcement()) : null;
      throw new UuidConflict(error.message, holder);
    }
  }
}

function addressOf(text: string): NeighborAddress {
  if (text.includes("://")) return { kind: "url", url: text };
  const [host, port] = text.split(":") as [string, string];
  return { kind: "gossip", host, port: Number(port) };
}

function copy(announcement: Announcement): Announcement {
  return parseAnnouncement(JSON.parse(JSON.stringify(announcement)) as Record<string, unknown>);
}

/** How a node sees each of the others, by UUID. */
export function statesSeenBy(node: NetworkNode): Record<string, string> {
  return Object.fromEntries(node.cluster.members().map(({ announcement, state }) => [announcement.uuid, state]));
}
