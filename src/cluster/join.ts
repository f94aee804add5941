import type { Clock } from "../core/clock.ts";
import { CaskError, hasCode } from "../core/errors.ts";
import { SEED_RETRY_MAX_MS, SEED_RETRY_MS } from "../core/limits.ts";
import type { Logger } from "../core/log.ts";
import type { StepResult } from "../core/worker.ts";
import { parseBaseUrl } from "../peer/protocol.ts";
import type { Cluster } from "./cluster.ts";
import type { Heartbeat } from "./heartbeat.ts";

interface Seed {
  readonly url: string;
  state: "waiting" | "met" | "self";
  uuid: string | undefined;
  failures: number;
  retryAtMs: number;
}

export interface JoinOptions {
  readonly seeds: readonly string[];
  readonly cluster: Pick<Cluster, "member" | "members">;
  readonly heartbeat: Pick<Heartbeat, "meet">;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Meets the configured neighbors, and goes on trying those that do not answer, for ever. */
export class Join {
  private readonly options: JoinOptions;
  private readonly seeds: Seed[];

  constructor(options: JoinOptions) {
    this.options = options;
    this.seeds = options.seeds.map((url) => ({ url, state: "waiting", uuid: undefined, failures: 0, retryAtMs: 0 }));
  }

  /** Tries each seed whose time has come. */
  async step(signal: AbortSignal): Promise<StepResult> {
    const { clock } = this.options;
    const due = this.seeds.filter((seed) => this.isMissing(seed) && seed.retryAtMs <= clock.nowMs());
    await Promise.all(due.map((seed) => this.try(seed, signal)));
    return { afterMs: SEED_RETRY_MS };
  }

  /** An operator names a node to meet (`POST /join/`). Rejects with the reason when it can't be met. */
  async joinNow(url: string, signal?: AbortSignal): Promise<void> {
    const meeting = await this.options.heartbeat.meet(parseBaseUrl(url), signal);
    if (meeting === "self") throw new CaskError("BAD_REQUEST", `${url} is this node itself`);
  }

  /** Seeds that were not met, or whose node is dead: after a partition they lead back. */
  private isMissing(seed: Seed): boolean {
    if (seed.state === "self") return false;
    if (seed.state === "waiting") return true;
    const members = this.options.cluster.members();
    return !members.some(({ announcement, state }) => announcement.base_url === seed.url && state === "alive");
  }

  private async try(seed: Seed, signal: AbortSignal): Promise<void> {
    const { heartbeat, clock, log } = this.options;
    try {
      seed.state = await heartbeat.meet(parseBaseUrl(seed.url), signal);
      seed.failures = 0;
      seed.retryAtMs = clock.nowMs() + SEED_RETRY_MAX_MS;
    } catch (error) {
      if (signal.aborted) return;
      seed.failures++;
      seed.retryAtMs = clock.nowMs() + Math.min(SEED_RETRY_MAX_MS, SEED_RETRY_MS * 2 ** Math.min(seed.failures, 10));
      const loud = seed.failures === 5 || hasCode(error, "FORBIDDEN");
      log[loud ? "warn" : "debug"]({ err: error }, `neighbor ${seed.url} cannot be met, will try again`);
    }
  }
}
