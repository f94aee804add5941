import * as promises from "node:fs/promises";

/** What storage asks of the operating system: handed in, so that tests can watch the order of calls and let one fail. */
export type FileSystem = Pick<
  typeof promises,
  "lstat" | "mkdir" | "open" | "readdir" | "readFile" | "rename" | "rmdir" | "stat" | "statfs" | "unlink"
>;

export const systemFiles: FileSystem = promises;
