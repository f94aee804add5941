import { readFile, rm, writeFile } from "node:fs/promises";

/** Where one copy lies, to be read and damaged behind a node's back. */
export interface CopyPlace {
  /** Null: there is none. */
  read(): Promise<Buffer | null>;
  write(bytes: Uint8Array): Promise<void>;
  remove(): Promise<void>;
}

export function filePlace(path: string): CopyPlace {
  return {
    read: () => readFile(path).catch(nullIfMissing),
    write: (bytes) => writeFile(path, bytes),
    remove: () => rm(path),
  };
}

function nullIfMissing(error: unknown): null {
  const { code } = error as { code?: unknown };
  if (code === "ENOENT" || code === "ENOTDIR") return null; // nor where a folder was replaced by a file
  throw error;
}
