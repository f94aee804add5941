import type { Clock } from "../core/clock.ts";
import { CaskError, hasCode } from "../core/errors.ts";
import { SEED_ADDRESSES_MAX_COUNT, SEED_RETRY_MAX_MS, SEED_RETRY_MS } from "../core/limits.ts";
import type { Logger } from "../core/log.ts";
import type { NeighborAddress } from "../core/setting-values.ts";
import type { StepResult } from "../core/worker.ts";
import { addrOf, formatEndpoint } from "../gossip/endpoint.ts";
import type { Endpoint } from "../gossip/messages.ts";
import type { GossipMember } from "../gossip/swim-contract.ts";
import type { Cluster } from "./cluster.ts";
import { type GossipMembers, gossipAddressOf } from "./gossip-members.ts";
import type { Heartbeat } from "./heartbeat.ts";
import { tlsAdvice } from "./tls-advice.ts";

interface Seed {
  readonly address: NeighborAddress;
  /** Where it was last met. */
  endpoint: string | undefined;
  isSelf: boolean;
  failures: number;
  retryAtMs: number;
  toldOfCertificate: boolean;
}

export interface JoinOptions {
  readonly seeds: readonly NeighborAddress[];
  readonly cluster: Pick<Cluster, "members" | "noteMeeting">;
  readonly heartbeat: Pick<Heartbeat, "meet">;
  readonly gossip: {
    join(to: Endpoint, signal?: AbortSignal): Promise<void>;
    own(): GossipMember;
    members(): readonly GossipMember[];
  };
  readonly gossipMembers: Pick<GossipMembers, "introduced" | "announce">;
  /** All addresses of a host. Rejects when the name can't be resolved. */
  readonly resolve: (host: string) => Promise<readonly Uint8Array[]>;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Members ever met that are tried again in one step: after a long partition they lead back, whatever the neighbors are. */
const LOST_AT_ONCE_COUNT = 4;

/** Meets the configured neighbors, and goes on trying those that are no members, for ever. */
export class Join {
  private readonly options: JoinOptions;
  private readonly seeds: Seed[];
  private lostTurn = 0;
  private lostAtMs = 0;

  constructor(options: JoinOptions) {
    this.options = options;
    this.seeds = options.seeds.map(newSeed);
  }

  /** Tries each seed whose time has come. */
  async step(signal: AbortSignal): Promise<StepResult> {
    const { clock } = this.options;
    const due = this.seeds.filter((seed) => seed.retryAtMs <= clock.nowMs() && this.isMissing(seed));
    await Promise.all([...due.map((seed) => this.try(seed, signal)), this.tryLost(signal)]);
    return { afterMs: SEED_RETRY_MS };
  }

  /** An operator names a node to meet (`POST /join/`), by base URL or gossip address. Rejects with the reason when it can't be met. */
  async joinNow(address: NeighborAddress, signal?: AbortSignal): Promise<void> {
    const { endpoint } = await this.meet(address, signal);
    if (endpoint === null) throw new CaskError("BAD_REQUEST", "that is this node itself");
  }

  private isMissing(seed: Seed): boolean {
    if (seed.isSelf) return false;
    if (seed.endpoint === undefined) return true;
    const { gossip, cluster } = this.options;
    const { address } = seed;
    const isAlive =
      address.kind === "url" &&
      cluster.members().some(({ announcement, state }) => state === "alive" && announcement.base_url === address.url);
    return (
      !isAlive && !gossip.members().some((m) => m.state === "alive" && formatEndpoint(m.endpoint) === seed.endpoint)
    );
  }

  private async try(seed: Seed, signal: AbortSignal): Promise<void> {
    const { clock, log } = this.options;
    try {
      const { endpoint, hasOwn } = await this.meet(seed.address, signal);
      // A name that stands for this node alone today may stand for others, too, tomorrow.
      seed.isSelf = endpoint === null && !isName(seed.address);
      seed.endpoint = endpoint ?? undefined;
      seed.failures = 0;
      seed.retryAtMs = clock.nowMs() + (hasOwn ? SEED_RETRY_MAX_MS : SEED_RETRY_MS);
    } catch (error) {
      if (signal.aborted) return;
      seed.failures++;
      seed.retryAtMs = clock.nowMs() + Math.min(SEED_RETRY_MAX_MS, SEED_RETRY_MS * 2 ** Math.min(seed.failures, 10));
      const isCertificate = error instanceof CaskError && tlsAdvice(error.cause) !== "";
      const loud = seed.failures === 5 || hasCode(error, "FORBIDDEN") || (isCertificate && !seed.toldOfCertificate);
      seed.toldOfCertificate ||= isCertificate;
      log[loud ? "warn" : "debug"]({ err: error }, `neighbor ${nameOf(seed.address)} cannot be met, will try again`);
    }
  }

  /** A few of those that were members once and are dead now, in turn. */
  private async tryLost(signal: AbortSignal): Promise<void> {
    const { cluster, clock, log } = this.options;
    if (clock.nowMs() < this.lostAtMs) return;
    this.lostAtMs = clock.nowMs() + SEED_RETRY_MAX_MS / 2;
    const dead = cluster.members().filter(({ state }) => state === "dead");
    const turn =
      dead.length === 0
        ? []
        : Array.from({ length: Math.min(LOST_AT_ONCE_COUNT, dead.length) }, () => dead[this.lostTurn++ % dead.length]);
    const tries = turn.map(async (member) => {
      if (!member) return;
      const url = member.announcement.base_url;
      await this.meet({ kind: "url", url }, signal).catch((error: unknown) =>
        log.debug({ err: error }, `${url}, which was a member, cannot be met`),
      );
    });
    await Promise.all(tries);
  }

  private async meet(address: NeighborAddress, signal?: AbortSignal): Promise<Met> {
    const { heartbeat, cluster, gossipMembers } = this.options;
    let target = address;
    if (address.kind === "url") {
      const answer = await heartbeat.meet(address.url, signal);
      if (answer === null) return { endpoint: null, hasOwn: true };
      target = parseHostPort(gossipAddressOf(answer));
    }
    const met = await this.exchange(target as HostPort, signal);
    await gossipMembers.introduced();
    if (met.endpoint !== null) {
      cluster.noteMeeting();
      gossipMembers.announce();
    }
    return met;
  }

  /**
   * With all of the host's addresses: a name may stand for many nodes, this one among them, and they may not know each other yet. Rejects
   * when none answers.
   */
  private async exchange({ host, port }: HostPort, signal?: AbortSignal): Promise<Met> {
    const { gossip, resolve } = this.options;
    const own = formatEndpoint(gossip.own().endpoint);
    const all = (await resolve(host)).slice(0, SEED_ADDRESSES_MAX_COUNT).map((addr) => ({ addr, port }));
    const others = all.filter((endpoint) => formatEndpoint(endpoint) !== own);
    const hasOwn = others.length < all.length;
    if (hasOwn && others.length === 0) return { endpoint: null, hasOwn };
    const results = await Promise.allSettled(others.map((endpoint) => gossip.join(endpoint, signal)));
    const answered = others.find((_, i) => results[i]?.status === "fulfilled");
    if (answered) return { endpoint: formatEndpoint(answered), hasOwn };
    const failure = results.find((result) => result.status === "rejected");
    throw failure?.reason ?? new CaskError("PEER_FAILED", `${host} has no address`);
  }
}

/** `endpoint`: of one that was met; null: there is none but this node's own. */
interface Met {
  readonly endpoint: string | null;
  /** This node is one of those that the address stands for. */
  readonly hasOwn: boolean;
}

type HostPort = Extract<NeighborAddress, { kind: "gossip" }>;

function newSeed(address: NeighborAddress): Seed {
  return { address, endpoint: undefined, isSelf: false, failures: 0, retryAtMs: 0, toldOfCertificate: false };
}

function isName(address: NeighborAddress): boolean {
  return address.kind === "gossip" && addrOf(address.host) === null;
}

function nameOf(address: NeighborAddress): string {
  return address.kind === "url" ? address.url : `${address.host}:${address.port}`;
}

function parseHostPort(text: string): HostPort {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d+)$/.exec(text);
  if (!match) throw new CaskError("PEER_FAILED", `"${text.slice(0, 100)}" is no gossip address`);
  return { kind: "gossip", host: (match[1] ?? match[2]) as string, port: Number(match[3]) };
}
