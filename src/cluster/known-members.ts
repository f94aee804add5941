import { CaskError } from "../core/errors.ts";
import { parseAnnouncement } from "../peer/protocol.ts";
import type { FileSystem } from "../storage/file-system.ts";
import type { KnownMember } from "./membership.ts";
import { StateFile } from "./state-file.ts";

/**
 * All members ever met that no operator has forgotten, kept on disk: a 404 is only honest when each of them was asked.
 */
export class KnownMembers {
  private readonly file: StateFile;
  private written = "";

  constructor(stateFolder: string, files?: FileSystem) {
    this.file = new StateFile(stateFolder, "members.json", files);
  }

  async load(): Promise<KnownMember[]> {
    const value = await this.file.read();
    if (value === null) return [];
    const members = (value as { members?: unknown }).members;
    if (!Array.isArray(members)) throw notUnderstood();
    return members.map(parseMember);
  }

  /** Writes only when something changed. */
  async save(members: readonly KnownMember[]): Promise<void> {
    const sorted = [...members].sort((a, b) => (a.uuid < b.uuid ? -1 : 1));
    const text = JSON.stringify(sorted);
    if (text === this.written) return;
    await this.file.write({ members: sorted });
    this.written = text;
  }
}

function parseMember(value: unknown): KnownMember {
  const { uuid, baseUrl, store, points, replication } = (value ?? {}) as Record<string, unknown>;
  try {
    // The checks of what comes over the network are good enough for what lies on a disk.
    const said = parseAnnouncement({ uuid, base_url: baseUrl, store, points, replication });
    return {
      uuid: said.uuid,
      baseUrl: said.base_url,
      store: said.store,
      points: said.points,
      replication: said.replication,
    };
  } catch (error) {
    throw notUnderstood(error);
  }
}

function notUnderstood(cause?: unknown): CaskError {
  const message = "members.json is not understood; restore it, or move it away to start without it";
  return new CaskError("BAD_ROOT", message, cause);
}
