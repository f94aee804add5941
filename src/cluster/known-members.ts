import { CaskError } from "../core/errors.ts";
import type { KnownMember } from "./membership.ts";
import { StateFile } from "./state-file.ts";

/**
 * All members ever met that no operator has forgotten, kept on disk: a 404 is only honest when each of them was asked.
 */
export class KnownMembers {
  private readonly file: StateFile;
  private written = "";

  constructor(stateFolder: string) {
    this.file = new StateFile(stateFolder, "members.json");
  }

  async load(): Promise<KnownMember[]> {
    const value = await this.file.read();
    if (value === null) return [];
    const members = (value as { members?: unknown }).members;
    if (!Array.isArray(members) || !members.every(isKnownMember)) {
      throw new CaskError(
        "BAD_ROOT",
        "members.json is not understood; restore it, or move it away to start without it",
      );
    }
    return members;
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

function isKnownMember(value: unknown): value is KnownMember {
  if (typeof value !== "object" || value === null) return false;
  const { uuid, baseUrl, store, points } = value as Record<string, unknown>;
  return (
    typeof uuid === "string" && typeof baseUrl === "string" && typeof store === "string" && typeof points === "number"
  );
}
