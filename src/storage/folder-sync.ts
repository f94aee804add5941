import { constants } from "node:fs";
import { dirname } from "node:path";
import { systemCode } from "../core/errors.ts";
import type { FileSystem } from "./file-system.ts";

/** Puts the names in a folder on stable storage: without it a renamed file may be gone after a power cut. */
export async function syncFolder(files: FileSystem, folder: string): Promise<void> {
  const handle = await files.open(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** The folder and those above it, up to and including `top`. */
export async function syncFoldersUpTo(files: FileSystem, folder: string, top: string): Promise<void> {
  for (let at = folder; at.startsWith(top); at = dirname(at)) await syncFolder(files, at);
}

/** Up to the mount point: one that made some of them, and the root, may have been killed before it synced them. */
export async function syncFoldersAbove(files: FileSystem, root: string): Promise<void> {
  const { dev } = await files.stat(root);
  for (let at = dirname(root); (await files.stat(at)).dev === dev; at = dirname(at)) {
    await syncFolder(files, at).catch((error: unknown) => {
      if (systemCode(error) !== "EACCES") throw error; // it isn't ours, so we didn't make it
    });
    if (at === dirname(at)) return;
  }
}
