import { CaskError } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import { parseNodeId } from "../peer/protocol.ts";
import type { FileSystem } from "../storage/file-system.ts";
import { StateFile } from "./state-file.ts";

export interface IdentityState {
  readonly uuid: string;
  /** The store that this UUID was last seen with; null: none yet. */
  readonly store: string | null;
  /** The store is new under a known UUID and has not been compared with the others since: absence says nothing. */
  readonly incomplete: boolean;
  /** An operator had this node emptied, since then (wall clock); null: no. */
  readonly drainingSinceMs: number | null;
}

/** Who this node is: its UUID, made once and kept, and whether its data folder still is what the others think it is. */
export class Identity {
  private readonly file: StateFile;
  private state: IdentityState;

  private constructor(file: StateFile, state: IdentityState) {
    this.file = file;
    this.state = state;
  }

  /** The UUID alone, for a store that belongs to one. A new one is on disk when it is answered. */
  static async uuidOf(options: {
    stateFolder: string;
    configuredUuid: string | undefined;
    random: Random;
    files?: FileSystem;
  }): Promise<string> {
    const file = new StateFile(options.stateFolder, "node.json", options.files);
    const kept = parseKept(await file.read());
    const uuid = options.configuredUuid ?? kept?.uuid ?? options.random.uuid();
    if (!kept)
      await file.write({ uuid, store: null, incomplete: false, drainingSinceMs: null } satisfies IdentityState);
    return uuid;
  }

  static async load(options: {
    stateFolder: string;
    configuredUuid: string | undefined;
    store: string;
    random: Random;
    files?: FileSystem;
  }): Promise<Identity> {
    const file = new StateFile(options.stateFolder, "node.json", options.files);
    const kept = parseKept(await file.read());
    const uuid = options.configuredUuid ?? kept?.uuid ?? options.random.uuid();
    const sameUuid = kept?.uuid === uuid;
    const replaced = sameUuid && kept.store !== null && kept.store !== options.store;
    // A folder that was another node's is not what the others know this UUID with, if they know it.
    const fromElsewhere = kept !== null && !sameUuid;
    const incomplete = replaced || fromElsewhere || (sameUuid && kept.incomplete);
    const drainingSinceMs = sameUuid ? kept.drainingSinceMs : null;
    const identity = new Identity(file, { uuid, store: options.store, incomplete, drainingSinceMs });
    await file.write(identity.state);
    return identity;
  }

  get uuid(): string {
    return this.state.uuid;
  }

  get incomplete(): boolean {
    return this.state.incomplete;
  }

  get drainingSinceMs(): number | null {
    return this.state.drainingSinceMs;
  }

  /** What the others hold of what this node should have is here again. */
  async markComplete(): Promise<void> {
    if (this.state.incomplete) await this.change({ incomplete: false });
  }

  /** Resolves when it is on disk: from then on, over restarts too, this node vouches for nothing. `null`: not any more. */
  async markDraining(sinceMs: number | null): Promise<void> {
    if (this.state.drainingSinceMs === null || sinceMs === null) await this.change({ drainingSinceMs: sinceMs });
  }

  /** Another member knew this UUID with another store: the disk was replaced, and with it the memory of that. */
  async markIncomplete(): Promise<void> {
    if (!this.state.incomplete) await this.change({ incomplete: true });
  }

  private async change(what: Partial<IdentityState>): Promise<void> {
    this.state = { ...this.state, ...what };
    await this.file.write(this.state);
  }
}

function parseKept(value: object | null): IdentityState | null {
  if (value === null) return null;
  const { uuid, store, incomplete, drainingSinceMs } = value as Record<string, unknown>;
  try {
    if (typeof store === "string" || store === null) {
      const since = typeof drainingSinceMs === "number" ? drainingSinceMs : null;
      return { uuid: parseNodeId(uuid), store, incomplete: incomplete === true, drainingSinceMs: since };
    }
  } catch (error) {
    throw notUnderstood(error);
  }
  throw notUnderstood();
}

function notUnderstood(cause?: unknown): CaskError {
  const message = "node.json has no uuid or store; restore it, or move it away and set CASK_UUID";
  return new CaskError("BAD_ROOT", message, cause);
}
