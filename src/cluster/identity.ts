import { CaskError } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import { parseNodeId } from "../peer/protocol.ts";
import { StateFile } from "./state-file.ts";

export interface IdentityState {
  readonly uuid: string;
  /** The store that this UUID was last seen with. */
  readonly store: string;
  /** The store is new under a known UUID and has not been compared with the others since: absence says nothing. */
  readonly incomplete: boolean;
}

/** Who this node is: its UUID, made once and kept, and whether its data folder still is what the others think it is. */
export class Identity {
  private readonly file: StateFile;
  private state: IdentityState;

  private constructor(file: StateFile, state: IdentityState) {
    this.file = file;
    this.state = state;
  }

  static async load(options: {
    stateFolder: string;
    configuredUuid: string | undefined;
    store: string;
    random: Random;
  }): Promise<Identity> {
    const file = new StateFile(options.stateFolder, "node.json");
    const kept = parseKept(await file.read());
    const uuid = options.configuredUuid ?? kept?.uuid ?? options.random.uuid();
    const sameUuid = kept?.uuid === uuid;
    const replaced = sameUuid && kept.store !== options.store;
    const incomplete = replaced || (sameUuid && kept.incomplete);
    const identity = new Identity(file, { uuid, store: options.store, incomplete });
    await file.write(identity.state);
    return identity;
  }

  get uuid(): string {
    return this.state.uuid;
  }

  get incomplete(): boolean {
    return this.state.incomplete;
  }

  /** Another member knew this UUID with another store: the disk was replaced, and with it the memory of that. */
  async markIncomplete(): Promise<void> {
    if (this.state.incomplete) return;
    this.state = { ...this.state, incomplete: true };
    await this.file.write(this.state);
  }
}

function parseKept(value: object | null): IdentityState | null {
  if (value === null) return null;
  const { uuid, store, incomplete } = value as Record<string, unknown>;
  try {
    if (typeof store === "string") return { uuid: parseNodeId(uuid), store, incomplete: incomplete === true };
  } catch (error) {
    throw notUnderstood(error);
  }
  throw notUnderstood();
}

function notUnderstood(cause?: unknown): CaskError {
  const message = "node.json has no uuid or store; restore it, or move it away and set CASK_UUID";
  return new CaskError("BAD_ROOT", message, cause);
}
