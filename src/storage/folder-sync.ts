import { constants } from "node:fs";
import { dirname } from "node:path";
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
