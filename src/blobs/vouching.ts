import type { ClusterView } from "../cluster/cluster-view.ts";
import type { Clock } from "../core/clock.ts";
import { messageOf } from "../core/errors.ts";
import type { Key } from "../core/key.ts";
import type { BlobBody, Vouch, VouchRequest } from "../peer/peer.ts";
import type { Seen } from "../storage/backend.ts";
import type { TrimMarks } from "./trim-marks.ts";
import { verify } from "./verified.ts";

export interface VouchingOptions {
  readonly view: () => ClusterView;
  readonly marks: TrimMarks;
  /** Why this node vouches for nothing at present, whatever the key; null when it does. */
  readonly refusal: () => string | null;
  readonly clock: Clock;
  /** A delete of this process's former life may still be on its way to the store: for so long it vouches for nothing. */
  readonly trimGraceMs: number;
  readonly copy: {
    /** The stored copy, open, and which one it is; null where there is none. */
    open(key: Key): Promise<{ readonly body: BlobBody; readonly seen: Seen } | null>;
    /** Is that copy the stored one now? Serialised with puts, deletes and quarantines of the key. */
    isStored(key: Key, seen: Seen): Promise<boolean>;
  };
  readonly store: string;
}

const NO = (reason: string): Vouch => ({ vouched: false, reason });

/**
 * Answers nodes that want to trim. A vouch says: I hashed my copy after you asked, it matched, it is stored still, and at no moment since you
 * asked did I trim that key myself. Never kept, never shared between two requests: design.md, "Trim", says why that is enough.
 */
export class Vouching {
  private readonly options: VouchingOptions;
  private readonly startedMs: number;

  constructor(options: VouchingOptions) {
    this.options = options;
    this.startedMs = options.clock.nowMs();
  }

  /** In the order of the keys. What can't be vouched for is an answer, not an error. */
  async vouch(request: VouchRequest, signal?: AbortSignal): Promise<Vouch[]> {
    // Before anything is waited for: the marks count from here.
    const watches = request.keys.map((key) => this.options.marks.watch(key));
    try {
      const vouches: Vouch[] = [];
      for (const [i, key] of request.keys.entries()) {
        signal?.throwIfAborted();
        vouches.push(this.refused(request) ?? (await this.vouchFor(key, watches[i] as { wasMarked: boolean })));
      }
      // What was hashed first must hold now, when the answer leaves.
      const refused = this.refused(request);
      return vouches.map((vouch, i) => {
        if (!vouch.vouched) return vouch;
        return refused ?? (watches[i]?.wasMarked ? NO("is trimming it itself") : vouch);
      });
    } finally {
      for (const watch of watches) watch.end();
    }
  }

  private async vouchFor(key: Key, watch: { readonly wasMarked: boolean }): Promise<Vouch> {
    if (watch.wasMarked) return NO("is trimming it itself");
    try {
      const copy = await this.options.copy.open(key);
      if (!copy) return NO("has no copy");
      if (!(await verify(copy.body, key))) return NO("its copy is corrupt");
      if (!(await this.options.copy.isStored(key, copy.seen))) return NO("its copy has changed meanwhile");
      return watch.wasMarked ? NO("is trimming it itself") : { vouched: true, store: this.options.store };
    } catch (error) {
      return NO(messageOf(error));
    }
  }

  private refused({ replication, maxReplication, ring }: VouchRequest): Vouch | null {
    const { view, refusal, clock, trimGraceMs } = this.options;
    const reason = refusal();
    if (reason !== null) return NO(reason);
    if (clock.nowMs() - this.startedMs < trimGraceMs) return NO("has started less than CASK_TRIM_GRACE ago");
    const own = view();
    if (own.replication !== replication || own.maxReplication !== maxReplication) {
      return NO(`keeps ${own.replication} to ${own.maxReplication} copies, not ${replication} to ${maxReplication}`);
    }
    return own.ringDigest === ring ? null : NO("sees another ring");
  }
}
