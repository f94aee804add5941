import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Folders that are gone after the test file, whatever happened in it. */
export class TemporaryFolders {
  private readonly made: string[] = [];

  async make(): Promise<string> {
    const folder = await mkdtemp(join(tmpdir(), "cask-test-"));
    this.made.push(folder);
    return folder;
  }

  async removeAll(): Promise<void> {
    for (const folder of this.made.splice(0)) await rm(folder, { recursive: true, force: true });
  }
}
