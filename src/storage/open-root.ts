import { basename, join, resolve } from "node:path";
import { CaskError, messageOf, systemCode } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import type { FileSystem } from "./file-system.ts";
import { syncFolder, syncFoldersAbove } from "./folder-sync.ts";
import { folderNames, Layout } from "./layout.ts";
import type { HeldLock, TakeLock } from "./root-lock.ts";
import { makeSettings, readSettings } from "./root-settings.ts";
import { isAbsent, isNoSpace, storageFailure } from "./storage-failure.ts";

export interface OpenRootOptions {
  readonly root: string;
  readonly random: Random;
  readonly files: FileSystem;
  readonly onNotice: (message: string) => void;
  readonly takeLock: TakeLock;
}

/** A data folder that is ours alone, with all its folders made and durable. */
export interface OpenRoot {
  readonly layout: Layout;
  readonly store: string;
  readonly lock: HeldLock;
}

/** Rejects with ROOT_IN_USE, BAD_ROOT, or NO_SPACE (a new root on a full disk; one that was in use before opens). */
export async function openRoot(options: OpenRootOptions): Promise<OpenRoot> {
  const { random, files, onNotice, takeLock } = options;
  const layout = new Layout(resolve(options.root));
  await makeRoot(files, layout);
  const lock = takeLock(layout.lock, layout.root);
  try {
    const known = await readSettings(files, layout);
    const madeCount = await makeFolders(files, layout);
    if (known !== null && madeCount > 0) onNotice(lostFolders(madeCount, layout));
    await removeLeftovers(files, layout);
    await lookForSibling(files, layout, onNotice);
    return { layout, store: known ?? (await makeSettings(files, layout, random)), lock };
  } catch (error) {
    lock.release();
    throw refusal(error, layout.root);
  }
}

async function makeRoot(files: FileSystem, layout: Layout): Promise<void> {
  try {
    await files.mkdir(layout.root, { recursive: true });
    if (!(await exists(files, layout.settings))) await syncFoldersAbove(files, layout.root);
  } catch (error) {
    throw refusal(error, layout.root);
  }
}

/** Rejects when it can't tell. */
async function exists(files: FileSystem, path: string): Promise<boolean> {
  try {
    await files.lstat(path);
    return true;
  } catch (error) {
    if (isAbsent(error)) return false;
    throw error;
  }
}

/**
 * Answers how many of the 256 were missing. All of them are synced, new or not: a process that was killed may have left a name that
 * is in memory only.
 */
async function makeFolders(files: FileSystem, layout: Layout): Promise<number> {
  for (const folder of [layout.stage, layout.quarantine, layout.blobs]) await makeFolder(files, folder);
  const present = new Set(await files.readdir(layout.blobs));
  const folders = folderNames().map((name) => join(layout.blobs, name));
  const missing = folders.filter((folder) => !present.has(basename(folder)));
  await Promise.all(missing.map((folder) => makeFolder(files, folder)));
  await Promise.all(folders.map((folder) => syncFolder(files, folder)));
  await syncFolder(files, layout.blobs);
  await syncFolder(files, layout.quarantine);
  await syncFolder(files, layout.root);
  return missing.length;
}

/** `cask.json` is written last: a root that has it had them all. */
function lostFolders(count: number, layout: Layout): string {
  return (
    `${count} of the folders in ${layout.blobs} had vanished and were made anew, empty: if nobody removed them, check the disk. ` +
    "What was in them is gone from this node until it is repaired from other nodes"
  );
}

async function makeFolder(files: FileSystem, folder: string): Promise<void> {
  try {
    await files.mkdir(folder);
  } catch (error) {
    if (systemCode(error) !== "EEXIST") throw error;
  }
}

/** The lock is ours: whoever staged these is dead. */
async function removeLeftovers(files: FileSystem, layout: Layout): Promise<void> {
  for (const entry of await files.readdir(layout.stage, { withFileTypes: true })) {
    if (!entry.isDirectory()) await files.unlink(layout.staged(entry.name));
  }
}

/** Go Cask joined root and `sha1` as text: a root without a slash at its end wrote beside itself. */
async function lookForSibling(files: FileSystem, layout: Layout, onNotice: (message: string) => void): Promise<void> {
  const sibling = `${layout.root}sha1`;
  try {
    if (!(await exists(files, sibling))) return;
  } catch (error) {
    return onNotice(`can't see whether a Go Cask node stored blobs in ${sibling}: ${messageOf(error)}`);
  }
  onNotice(
    `${sibling} looks like blobs that a Go Cask node stored beside its data folder (its root had no slash at the end). They are not ` +
      `served. To take them over, stop this node, move what lies in ${sibling} into ${layout.blobs} (for example: cp -al ${sibling}/. ` +
      `${layout.blobs}/ && rm -r ${sibling}), and start it again`,
  );
}

function refusal(error: unknown, root: string): CaskError {
  if (error instanceof CaskError) return error;
  if (isNoSpace(error)) return storageFailure(error, `preparing the data folder ${root}`);
  const code = systemCode(error);
  const detail = messageOf(error);
  const advice =
    code === "EEXIST" || code === "ENOTDIR"
      ? "a file is in its way: name another folder (CASK_DISK_BACKEND_ROOT) or move the file"
      : "the folder must be writeable by this process: check its owner, its rights, and that its disk is mounted and not read-only";
  return new CaskError("BAD_ROOT", `can't use the data folder ${root} (${detail}): ${advice}`, error);
}
