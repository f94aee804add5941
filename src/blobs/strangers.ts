import type { ClusterView, ViewNode } from "../cluster/cluster-view.ts";
import type { Finding } from "./search.ts";

export interface StrangersOptions {
  readonly view: () => ClusterView;
  /** Asks a node whom it knows, so that they are members from then on. Rejects when it can't be asked. */
  readonly meet: (node: ViewNode) => Promise<unknown>;
}

/**
 * Members that this node has not asked because it does not know them, while one that says "absent" does: it stood still when they joined, or has
 * just met that one. They may have what is sought.
 */
export class Strangers {
  private readonly options: StrangersOptions;
  private readonly meeting = new Map<string, Promise<unknown>>();
  /** By node: what both know, as digests, where it had nobody to tell of. It knows fewer, or some that an operator had forgotten here. */
  private readonly harmless = new Map<string, string>();

  constructor(options: StrangersOptions) {
    this.options = options;
  }

  /** Resolves with the base URLs of nodes that could not be asked whom they know; whom the others know is in the view then. */
  async learn(findings: readonly Finding[], view: ClusterView): Promise<readonly string[]> {
    const failed: string[] = [];
    await Promise.all(
      findings.map(async ({ node, holding }) => {
        const theirs = holding.state === "absent" ? holding.members : undefined;
        if (theirs === undefined || theirs === view.membersDigest) return;
        const both = `${theirs} ${view.membersDigest}`;
        if (this.harmless.get(node.uuid) === both) return;
        try {
          await this.meetOnce(node);
          if (this.options.view().membersDigest === view.membersDigest) this.harmless.set(node.uuid, both);
        } catch (_unknown) {
          failed.push(node.baseUrl);
        }
      }),
    );
    return failed;
  }

  /** Many who look for something at the same time meet it together. */
  private meetOnce(node: ViewNode): Promise<unknown> {
    const underWay = this.meeting.get(node.uuid);
    if (underWay) return underWay;
    const meeting = this.options.meet(node).finally(() => this.meeting.delete(node.uuid));
    this.meeting.set(node.uuid, meeting);
    return meeting;
  }
}
