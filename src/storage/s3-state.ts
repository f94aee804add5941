import { constants } from "node:fs";
import { join } from "node:path";
import { CaskError, messageOf, systemCode } from "../core/errors.ts";
import type { FileSystem } from "./file-system.ts";
import { syncFolder, syncFoldersAbove } from "./folder-sync.ts";
import type { Layout } from "./layout.ts";
import { storageFailure } from "./storage-failure.ts";

/** What an S3 node has on disk: stages, which are of no use to a new process, and notes. */
export async function makeStateFolder(files: FileSystem, state: Layout): Promise<void> {
  try {
    await files.mkdir(state.stage, { recursive: true });
    await syncFoldersAbove(files, state.root);
  } catch (error) {
    throw new CaskError(
      "BAD_ROOT",
      `can't use ${state.root} (${messageOf(error)}): CASK_STATE_DIR must be a folder that this process may write to`,
      error,
    );
  }
}

/** To be called by who holds the folder's lock. */
export async function removeStages(files: FileSystem, state: Layout): Promise<void> {
  for (const name of await files.readdir(state.stage)) await files.unlink(state.staged(name));
}

/** The start nonces of processes that ran on this state folder. Its lock says that they are dead. */
export class FormerNonces {
  private readonly files: FileSystem;
  private readonly path: string;
  private readonly folder: string;

  constructor(files: FileSystem, state: Layout) {
    this.files = files;
    this.folder = state.root;
    this.path = join(state.root, "s3-claim.json");
  }

  /** A file that can't be read tells of nobody: the claim of a former life must then grow stale before it is taken over. */
  async load(): Promise<string[]> {
    try {
      const value: unknown = JSON.parse(await this.files.readFile(this.path, "utf8"));
      return Array.isArray(value) ? value.filter((each) => typeof each === "string") : [];
    } catch (error) {
      if (systemCode(error) === "ENOENT" || error instanceof SyntaxError) return [];
      throw storageFailure(error, `reading ${this.path}`);
    }
  }

  async save(nonces: readonly string[]): Promise<void> {
    const temporary = `${this.path}.new`;
    try {
      const handle = await this.files.open(
        temporary,
        constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC,
        0o644,
      );
      try {
        await handle.writeFile(JSON.stringify(nonces.slice(-100)));
        await handle.sync();
      } finally {
        await handle.close();
      }
      await this.files.rename(temporary, this.path);
      await syncFolder(this.files, this.folder);
    } catch (error) {
      throw storageFailure(error, `writing ${this.path}`);
    }
  }
}
