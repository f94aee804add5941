import { CaskError, messageOf } from "../core/errors.ts";
import { Gate } from "../core/gate.ts";
import { INTRODUCTIONS_AT_ONCE_COUNT, MEMBERS_MAX_COUNT } from "../core/limits.ts";
import type { Logger } from "../core/log.ts";
import { isGoNode } from "../peer/protocol.ts";
import type { Cluster } from "./cluster.ts";
import type { Member } from "./membership.ts";
import type { NodeClient } from "./node-client.ts";

export interface ForgetOptions {
  readonly cluster: Pick<Cluster, "uuid" | "baseUrl" | "member" | "members" | "forget" | "hasForgotten">;
  readonly client: Pick<NodeClient, "forget">;
  readonly log: Logger;
}

/** Base URLs of the nodes that know it now, and of those that could not be told, with the reason. */
export interface Forgotten {
  readonly told: readonly string[];
  readonly notTold: ReadonlyArray<{ readonly base_url: string; readonly reason: string }>;
}

/**
 * An operator says that a member never returns. Nodes learn of members from each other, so one that is not told would bring it back: the node
 * that is asked tells all others. Which of them could not be told is in its answer; asked again, it tells them again.
 */
export class Forget {
  private readonly options: ForgetOptions;
  private readonly gate = new Gate("telling what to forget", INTRODUCTIONS_AT_ONCE_COUNT, MEMBERS_MAX_COUNT);

  constructor(options: ForgetOptions) {
    this.options = options;
  }

  /** `forwarded`: another node passes it on, and tells the others itself. Rejects with BAD_REQUEST, or when it can't be kept on disk. */
  async forget(uuid: string, forwarded: boolean, signal?: AbortSignal): Promise<Forgotten> {
    const { cluster, log } = this.options;
    this.refuse(uuid, forwarded);
    await cluster.forget(uuid);
    log.warn({}, `an operator had ${uuid} forgotten`);
    const result = { told: [cluster.baseUrl], notTold: [] as Array<{ base_url: string; reason: string }> };
    if (forwarded) return result;
    const others = cluster.members().filter((member) => !isGoNode(member.announcement)); // they remember nobody
    await Promise.all(
      others.map(async (member) => {
        const { base_url } = member.announcement;
        const reason = await this.tell(member, uuid, signal);
        if (reason === null) result.told.push(base_url);
        else result.notTold.push({ base_url, reason });
      }),
    );
    return result;
  }

  private refuse(uuid: string, forwarded: boolean): void {
    const { cluster } = this.options;
    if (uuid === cluster.uuid) throw new CaskError("BAD_REQUEST", "uuid: that is this node itself");
    const member = cluster.member(uuid);
    if (!member && !forwarded && !cluster.hasForgotten(uuid)) {
      throw new CaskError("BAD_REQUEST", "uuid: no member with that UUID is known");
    }
    if (member && isLive(member)) {
      throw new CaskError("BAD_REQUEST", `${uuid} is ${member.state}: stop it first, it would be met again at once`);
    }
  }

  /** Null when the member knows it now. */
  private async tell(member: Member, uuid: string, signal?: AbortSignal): Promise<string | null> {
    if (!isLive(member)) return `it is ${member.state}: tell it when it is back`;
    try {
      await this.gate.run(() => this.options.client.forget(member.announcement.base_url, uuid, signal), signal);
      return null;
    } catch (error) {
      return messageOf(error);
    }
  }
}

function isLive({ state }: Member): boolean {
  return state === "alive" || state === "suspect";
}
