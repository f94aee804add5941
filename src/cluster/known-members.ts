import { CaskError } from "../core/errors.ts";
import { parseAnnouncement, parseNodeId } from "../peer/protocol.ts";
import type { FileSystem } from "../storage/file-system.ts";
import type { KnownMember } from "./membership.ts";
import { StateFile } from "./state-file.ts";

/**
 * All members ever met that no operator has forgotten, kept on disk: a 404 is only honest when each of them was asked.
 */
export class KnownMembers {
  private readonly file: StateFile;
  private written = "";
  private forgottenUuids: readonly string[] = [];

  constructor(stateFolder: string, files?: FileSystem) {
    this.file = new StateFile(stateFolder, "members.json", files);
  }

  async load(): Promise<KnownMember[]> {
    const value = await this.file.read();
    if (value === null) return [];
    const { members, forgotten = [] } = value as { members?: unknown; forgotten?: unknown };
    if (!Array.isArray(members) || !Array.isArray(forgotten)) throw notUnderstood();
    this.forgottenUuids = forgotten.map(parseUuid);
    return members.map(parseMember);
  }

  /** UUIDs that an operator had forgotten, the oldest first; as they were loaded. */
  get forgotten(): readonly string[] {
    return this.forgottenUuids;
  }

  /** Writes only when something changed. */
  async save(members: readonly KnownMember[], forgotten = this.forgottenUuids): Promise<void> {
    const content = { members: [...members].sort((a, b) => (a.uuid < b.uuid ? -1 : 1)), forgotten };
    const text = JSON.stringify(content);
    if (text === this.written) return;
    await this.file.write(content);
    this.written = text;
  }
}

function parseUuid(value: unknown): string {
  try {
    return parseNodeId(value);
  } catch (error) {
    throw notUnderstood(error);
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
