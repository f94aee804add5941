import type { FileSystem } from "./file-system.ts";
import { isAbsent } from "./storage-failure.ts";

export async function removeIfThere(files: Pick<FileSystem, "unlink">, path: string): Promise<void> {
  try {
    await files.unlink(path);
  } catch (error) {
    if (!isAbsent(error)) throw error;
  }
}
