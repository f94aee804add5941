import { rename, rmdir, statfs, unlink } from "node:fs/promises";
import path from "node:path";
import { ByteBudget } from "../core/byte-budget.ts";
import { CaskError, hasCode, systemCode } from "../core/errors.ts";
import { type Key, KeyHasher } from "../core/key.ts";
import { KeyLock } from "../core/key-lock.ts";
import { STAGE_RESERVE_BYTES, STAGED_IN_MEMORY_MAX_BYTES, WHOLE_BLOB_MAX_BYTES } from "../core/limits.ts";
import type { Random } from "../core/random.ts";
import type { Backend, CommitOutcome, Seen, Space, Stage, Stat, StoredBlob } from "./backend.ts";
import { DiskCopy } from "./disk-copy.ts";
import { isAbsent, onDisk } from "./disk-errors.ts";
import { DiskListing } from "./disk-listing.ts";
import { type DiskRoot, openDiskRoot } from "./disk-root.ts";
import { DiskStage, stageFile } from "./disk-stage.ts";
import { syncFolder } from "./folders.ts";

export interface DiskBackendOptions {
  readonly root: string;
  readonly random: Random;
  readonly onNotice?: (message: string) => void;
  /** What stages hold in memory together; the default suits a node. */
  readonly stagedInMemoryBytes?: number;
}

type Comparison = "same" | "corrupt" | "collision";

/** Blobs as files on a disk. Serialised by key: commit, delete, quarantine. Reads take no lock: a blob's file never changes. */
export class DiskBackend implements Backend {
  private readonly root: DiskRoot;
  private readonly random: Random;
  private readonly budget: ByteBudget;
  private readonly locks = new KeyLock();

  private constructor(root: DiskRoot, options: DiskBackendOptions) {
    this.root = root;
    this.random = options.random;
    this.budget = new ByteBudget(options.stagedInMemoryBytes ?? STAGED_IN_MEMORY_MAX_BYTES);
  }

  /** Rejects with ROOT_IN_USE or BAD_ROOT. */
  static async open(options: DiskBackendOptions): Promise<DiskBackend> {
    const root = await openDiskRoot(options.root, options.random, options.onNotice ?? (() => undefined));
    return new DiskBackend(root, options);
  }

  get store(): string {
    return this.root.store;
  }

  async stage(sizeHint = 0): Promise<Stage> {
    if (sizeHint > WHOLE_BLOB_MAX_BYTES) {
      const { freeBytes } = await this.space();
      if (freeBytes !== null && sizeHint > freeBytes - STAGE_RESERVE_BYTES) {
        throw new CaskError("NO_SPACE", `${sizeHint} bytes do not fit: ${freeBytes} are free`);
      }
    }
    return new DiskStage({
      file: stageFile(this.root.layout.stageFolder, this.random.hex(16)),
      budget: this.budget,
      commit: (key, stage) => this.locks.run(key, () => onDisk(`storing ${key}`, () => this.commit(key, stage))),
    });
  }

  async get(key: Key): Promise<StoredBlob | null> {
    return this.openCopy(key);
  }

  async stat(key: Key): Promise<Stat | null> {
    const copy = await this.openCopy(key);
    if (!copy) return null;
    await copy.close();
    return { sizeBytes: copy.sizeBytes, seen: copy.seen };
  }

  delete(key: Key, seen: Seen): Promise<boolean> {
    return this.ifStill(key, seen, async (file) => {
      await unlink(file);
      await syncFolder(path.dirname(file));
      await this.removeEmptyGoFolders(file);
    });
  }

  quarantine(key: Key, seen: Seen): Promise<boolean> {
    return this.ifStill(key, seen, (file) => this.moveToQuarantine(key, file));
  }

  async isQuarantined(key: Key): Promise<boolean> {
    return this.root.quarantined.has(key);
  }

  keys(from?: Key, to?: Key): AsyncIterable<Key> {
    return new DiskListing(this.root.layout).keys(from, to);
  }

  async space(): Promise<Space> {
    return onDisk("looking at free space", async () => {
      const { bavail, blocks, bsize } = await statfs(this.root.layout.root);
      return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
    });
  }

  async close(): Promise<void> {
    this.root.lock.release();
  }

  private async openCopy(key: Key): Promise<DiskCopy | null> {
    const { layout } = this.root;
    return (await DiskCopy.open(layout.file(key))) ?? (await DiskCopy.open(layout.goFile(key)));
  }

  private async commit(key: Key, stage: DiskStage): Promise<CommitOutcome> {
    const replaced = await this.removeCorrupt(key, stage);
    if (replaced === "known") {
      stage.markCommitted();
      return "known";
    }
    const target = this.root.layout.file(key);
    await stage.moveTo(target);
    await syncFolder(path.dirname(target));
    return replaced ? "replaced" : "stored";
  }

  /** Looks at what lies under the key. A good copy is left and synced ("known"); corrupt ones are moved away (true). */
  private async removeCorrupt(key: Key, stage: DiskStage): Promise<"known" | boolean> {
    let removed = false;
    for (let copy = await this.openCopy(key); copy; copy = await this.openCopy(key)) {
      const comparison = await this.compare(copy, key, stage);
      if (comparison === "same") return "known";
      if (comparison === "collision") {
        throw new CaskError(
          "KEY_COLLISION",
          `other bytes with the key ${key} are stored already; they stay, these are refused`,
        );
      }
      await this.moveToQuarantine(key, copy.file);
      removed = true;
    }
    return removed;
  }

  private async compare(copy: DiskCopy, key: Key, stage: DiskStage): Promise<Comparison> {
    try {
      if (await hasSameBytes(copy, stage)) {
        // It may have been written by a process that died before its own sync.
        await syncCopy(copy.file);
        return "same";
      }
      return (await this.hashesTo(copy.file, key)) ? "collision" : "corrupt";
    } catch (error) {
      // A copy that can't be read to its end counts as corrupt: the good bytes are at hand, and it is kept in quarantine.
      if (hasCode(error, "STORAGE_FAILED") && (await this.isUnreadable(copy.file))) return "corrupt";
      throw error;
    }
  }

  private async isUnreadable(file: string): Promise<boolean> {
    try {
      const copy = await DiskCopy.open(file);
      for await (const _ of copy?.chunks() ?? []); // only whether it can be read
      return false;
    } catch (error) {
      if (hasCode(error, "STORAGE_FAILED")) return true;
      throw error;
    }
  }

  private async hashesTo(file: string, key: Key): Promise<boolean> {
    const copy = await DiskCopy.open(file);
    const hasher = new KeyHasher();
    for await (const chunk of copy?.chunks() ?? []) hasher.update(chunk);
    return hasher.digest() === key;
  }

  private ifStill(key: Key, seen: Seen, work: (file: string) => Promise<void>): Promise<boolean> {
    return this.locks.run(key, async () => {
      const copy = await this.openCopy(key);
      await copy?.close();
      if (copy?.seen !== seen) return false;
      await onDisk(`removing ${copy.file}`, () => work(copy.file));
      return true;
    });
  }

  private async moveToQuarantine(key: Key, file: string): Promise<void> {
    const { layout, quarantined } = this.root;
    quarantined.add(key); // before the move: in between the answer is "don't know", never "absent"
    await rename(file, layout.quarantineFile(key, this.random.hex(8)));
    await syncFolder(layout.quarantineFolder);
    await syncFolder(path.dirname(file));
    await this.removeEmptyGoFolders(file);
  }

  /** Go's layout spends 19 folders on a blob: they go with it. What else lies in one keeps it. */
  private async removeEmptyGoFolders(file: string): Promise<void> {
    if (path.basename(file) !== "data") return;
    const top = this.root.layout.blobFolder;
    for (let folder = path.dirname(file); path.dirname(folder) !== top; folder = path.dirname(folder)) {
      try {
        await rmdir(folder);
      } catch (error) {
        if (isAbsent(error)) continue;
        if (["ENOTEMPTY", "EEXIST"].includes(systemCode(error) ?? "")) return;
        throw error;
      }
    }
  }
}

async function hasSameBytes(copy: DiskCopy, stage: DiskStage): Promise<boolean> {
  if (copy.sizeBytes !== stage.sizeBytes) {
    await copy.close();
    return false;
  }
  const staged = new ByteReader(stage.read());
  for await (const chunk of copy.chunks()) {
    const other = await staged.next(chunk.length);
    if (!other.equals(chunk)) return false;
  }
  return true;
}

async function syncCopy(file: string): Promise<void> {
  const copy = await DiskCopy.open(file);
  try {
    await copy?.sync();
  } finally {
    await copy?.close();
  }
  await syncFolder(path.dirname(file));
}

/** Takes chunks of any size apart into the sizes that are asked for. */
class ByteReader {
  private readonly iterator: AsyncIterator<Uint8Array>;
  private rest: Buffer = Buffer.alloc(0);

  constructor(source: AsyncIterable<Uint8Array>) {
    this.iterator = source[Symbol.asyncIterator]();
  }

  async next(size: number): Promise<Buffer> {
    const parts = [this.rest];
    let have = this.rest.length;
    while (have < size) {
      const { done, value } = await this.iterator.next();
      if (done) break;
      parts.push(Buffer.from(value.buffer, value.byteOffset, value.byteLength));
      have += value.length;
    }
    const all = Buffer.concat(parts);
    this.rest = all.subarray(size);
    return all.subarray(0, size);
  }
}
