import { dirname } from "node:path";
import { CaskError } from "../core/errors.ts";
import { type Key, KeyHasher } from "../core/key.ts";
import type { CommitOutcome } from "./backend.ts";
import { type CopyPlace, type DiskCopy, openCopy, UnreadableCopy } from "./disk-copy.ts";
import type { StagedBytes } from "./disk-stage.ts";
import { syncFolder, syncFoldersUpTo } from "./folder-sync.ts";
import { removeEmptyParents } from "./legacy-parents.ts";
import type { Quarantine } from "./quarantine.ts";
import { sameBytes } from "./same-bytes.ts";
import { isUnreadable, storageFailure } from "./storage-failure.ts";

export interface DiskCommitOptions extends CopyPlace {
  readonly quarantine: Quarantine;
}

type Existing = {
  readonly is: "absent" | "equal" | "other" | "corrupt";
  readonly isLegacy: boolean;
  readonly path: string;
};

/** How a stage becomes the copy of a key. The caller sees to it that one commit, delete or quarantine of a key runs at a time. */
export class DiskCommit {
  private readonly options: DiskCommitOptions;
  /**
   * Once a sync has failed, the kernel may have dropped what it could not write and call the next sync a success. From then on
   * (until a restart, which reads what the disk really has) a copy that is there already is written again, not just synced.
   */
  private syncHasFailed = false;

  constructor(options: DiskCommitOptions) {
    this.options = options;
  }

  async commit(key: Key, staged: StagedBytes, isAbsent: boolean): Promise<CommitOutcome> {
    try {
      if (!isAbsent) return await this.decide(key, staged);
      await this.place(key, staged);
      return "stored";
    } catch (error) {
      throw storageFailure(error, `storing ${key}`);
    }
  }

  private async decide(key: Key, staged: StagedBytes): Promise<CommitOutcome> {
    const existing = await this.examine(key, staged);
    switch (existing.is) {
      case "absent":
        await this.place(key, staged);
        return "stored";
      case "other":
        throw new CaskError(
          "KEY_COLLISION",
          `other bytes are stored under ${key} already, with the same hash; they stay`,
        );
      case "equal":
        if (!(await this.isSynced(key))) await this.rewrite(key, staged, existing);
        return "known";
      case "corrupt":
        await this.replace(key, staged, existing);
        return "replaced";
    }
  }

  private async examine(key: Key, staged: StagedBytes): Promise<Existing> {
    const { layout } = this.options;
    let copy: DiskCopy | null;
    try {
      copy = await openCopy(this.options, key);
    } catch (error) {
      if (!(error instanceof UnreadableCopy)) throw error;
      return { is: "corrupt", isLegacy: error.isLegacy, path: error.path };
    }
    if (!copy) return { is: "absent", isLegacy: false, path: layout.blob(key) };
    try {
      return { is: await judge(copy, key, staged), isLegacy: copy.isLegacy, path: copy.path };
    } finally {
      await copy.close();
    }
  }

  /** Durable file first, name second, folder last: at no instant is there less than a whole blob under the name. */
  private async place(key: Key, staged: StagedBytes): Promise<void> {
    const { files, layout } = this.options;
    const path = layout.blob(key);
    await files.rename(await staged.toDurableFile(), path);
    staged.moved();
    try {
      await syncFolder(files, layout.folder(key));
    } catch (error) {
      this.syncHasFailed = true;
      // A copy that may be gone after a power cut must not be counted by anybody.
      await files.unlink(path).catch((unlinkError: unknown) => {
        throw new AggregateError([error, unlinkError], `${path} could neither be made durable nor removed`);
      });
      throw error;
    }
  }

  private async replace(key: Key, staged: StagedBytes, corrupt: Existing): Promise<void> {
    const { files, layout, quarantine } = this.options;
    await staged.toDurableFile(); // on a full disk the old copy stays where it is
    await quarantine.take(key, corrupt.path);
    if (corrupt.isLegacy) await removeEmptyParents(files, corrupt.path, layout.folder(key));
    await this.place(key, staged);
  }

  /** Over a copy that holds the same bytes, but that perhaps only the page cache has. */
  private async rewrite(key: Key, staged: StagedBytes, unsynced: Existing): Promise<void> {
    const { files, layout } = this.options;
    await files.rename(await staged.toDurableFile(), layout.blob(key));
    staged.moved();
    await syncFolder(files, layout.folder(key));
    if (!unsynced.isLegacy) return;
    await files.unlink(unsynced.path); // else a delete of the new one would bring it back
    await removeEmptyParents(files, unsynced.path, layout.folder(key));
  }

  private async isSynced(key: Key): Promise<boolean> {
    const { files, layout } = this.options;
    if (this.syncHasFailed) return false;
    const copy = await openCopy(this.options, key);
    if (!copy) return false;
    try {
      await copy.sync();
      await syncFoldersUpTo(files, dirname(copy.path), layout.folder(key));
      return true;
    } catch (_whatever) {
      this.syncHasFailed = true; // the bytes are written anew, and that decides
      return false;
    } finally {
      await copy.close();
    }
  }
}

async function judge(copy: DiskCopy, key: Key, staged: StagedBytes): Promise<"equal" | "other" | "corrupt"> {
  try {
    if (copy.sizeBytes === staged.sizeBytes && (await sameBytes(readable(copy), staged.read()))) return "equal";
    const hasher = new KeyHasher();
    for await (const chunk of readable(copy)) hasher.update(chunk);
    return hasher.digest() === key ? "other" : "corrupt";
  } catch (error) {
    if (error instanceof UnreadableCopy) return "corrupt";
    throw error;
  }
}

/** The copy's fault, not the stage's: both are being read when it happens. */
async function* readable(copy: DiskCopy): AsyncGenerator<Uint8Array> {
  try {
    yield* copy.chunks();
  } catch (error) {
    throw isUnreadable(error) ? new UnreadableCopy(copy, error) : error;
  }
}
