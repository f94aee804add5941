import { dirname } from "node:path";
import { systemCode } from "../core/errors.ts";
import type { FileSystem } from "./file-system.ts";
import { syncFolder } from "./folder-sync.ts";

const NOT_EMPTY_CODES = new Set(["ENOTEMPTY", "EEXIST"]);

/**
 * After a blob of the old layout is gone: removes its folders, upward, as long as they are empty, and never `top`. The folder that
 * remains is synced. (Go Cask left 20 folders behind for each; foreign files keep theirs.)
 */
export async function removeEmptyParents(files: FileSystem, path: string, top: string): Promise<void> {
  let folder = dirname(path);
  while (folder !== top && (await removeIfEmpty(files, folder))) folder = dirname(folder);
  // Another key below the same folders may be removed at the same time, and take them all.
  while (!(await syncIfThere(files, folder)) && folder !== top) folder = dirname(folder);
}

async function removeIfEmpty(files: FileSystem, folder: string): Promise<boolean> {
  try {
    await files.rmdir(folder);
    return true;
  } catch (error) {
    if (NOT_EMPTY_CODES.has(systemCode(error) ?? "")) return false;
    if (systemCode(error) === "ENOENT") return true;
    throw error;
  }
}

async function syncIfThere(files: FileSystem, folder: string): Promise<boolean> {
  try {
    await syncFolder(files, folder);
    return true;
  } catch (error) {
    if (systemCode(error) === "ENOENT") return false;
    throw error;
  }
}
