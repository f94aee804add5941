import type { FileHandle } from "node:fs/promises";
import type { FileSystem } from "../../../src/storage/file-system.ts";

/** The same files, with a defect: syncs that are answered and not made. */
export function withoutSyncs(isLeftOut: (what: "file" | "folder") => boolean): (files: FileSystem) => FileSystem {
  return (files) => ({
    ...files,
    open: (async (...args: Parameters<FileSystem["open"]>) => {
      const handle = await files.open(...args);
      const isFolder = (await handle.stat()).isDirectory();
      if (!isLeftOut(isFolder ? "folder" : "file")) return handle;
      return new Proxy(handle, {
        get: (target, name) => {
          if (name === "sync" || name === "datasync") return async () => undefined;
          const value: unknown = Reflect.get(target, name);
          return typeof value === "function" ? value.bind(target) : value;
        },
      }) as FileHandle;
    }) as FileSystem["open"],
  });
}
