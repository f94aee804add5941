import type { Dirent } from "node:fs";
import { readdir } from "node:fs/promises";
import path from "node:path";
import { CaskError } from "../core/errors.ts";
import { hexOf, isKey, type Key } from "../core/key.ts";
import { isAbsent } from "./disk-errors.ts";
import type { Layout } from "./layout.ts";

const GO_FOLDERS = 20;

/** Lists the keys of a disk store in order, both layouts, one of the 256 folders in memory at a time. */
export class DiskListing {
  /** Files that are no blobs, so far. */
  foreignFiles = 0;
  private readonly layout: Layout;
  private readonly unreadable: string[] = [];

  constructor(layout: Layout) {
    this.layout = layout;
  }

  /** A folder that can't be read does not end the listing; at its end it rejects with STORAGE_FAILED, as it was not complete. */
  async *keys(from?: Key, to?: Key): AsyncGenerator<Key> {
    const first = from ? hexOf(from).slice(0, 2) : "00";
    const last = to ? hexOf(to).slice(0, 2) : "ff";
    for (const prefix of this.layout.prefixes()) {
      if (prefix < first || prefix > last) continue;
      for (const key of await this.keysBelow(prefix)) {
        if ((from === undefined || key >= from) && (to === undefined || key < to)) yield key;
      }
    }
    if (this.unreadable.length > 0) {
      throw new CaskError(
        "STORAGE_FAILED",
        `the listing is not complete, unreadable: ${this.unreadable.slice(0, 5).join(", ")}`,
      );
    }
  }

  private async keysBelow(prefix: string): Promise<Key[]> {
    const keys = new Set<Key>();
    for (const entry of await this.entries(this.layout.prefixFolder(prefix))) {
      const key = `sha1:${prefix}${entry.name}`;
      if (entry.isFile() && isKey(key)) keys.add(key);
      else if (isGoFolder(entry)) await this.addGoKeys(`${prefix}${entry.name}`, keys);
      else this.foreignFiles++;
    }
    return [...keys].sort();
  }

  /** Below `sha1/ab/cd`: folders of two digits down to the twentieth, in which the file is called "data". */
  private async addGoKeys(hex: string, keys: Set<Key>): Promise<void> {
    const folder = path.join(this.layout.blobFolder, ...(hex.match(/../g) as string[]));
    const isDeepest = hex.length === GO_FOLDERS * 2;
    for (const entry of await this.entries(folder)) {
      const key = `sha1:${hex}`;
      if (isDeepest && entry.isFile() && entry.name === "data" && isKey(key)) keys.add(key);
      else if (!isDeepest && isGoFolder(entry)) await this.addGoKeys(hex + entry.name, keys);
      else this.foreignFiles++;
    }
  }

  private async entries(folder: string): Promise<Dirent[]> {
    try {
      return await readdir(folder, { withFileTypes: true });
    } catch (error) {
      if (!isAbsent(error)) this.unreadable.push(folder); // absent: deleted since its parent was read
      return [];
    }
  }
}

function isGoFolder(entry: Dirent): boolean {
  return entry.isDirectory() && /^[0-9a-f]{2}$/.test(entry.name);
}
