import type { Dirent } from "node:fs";
import { join } from "node:path";
import { systemCode } from "../core/errors.ts";
import { hexOf, type Key } from "../core/key.ts";
import { IncompleteListing } from "./backend.ts";
import type { FileSystem } from "./file-system.ts";
import { folderNames, isPair, keyOfFile, keyOfLegacyFile, type Layout, LEGACY_DEPTH } from "./layout.ts";

/** One walk over all keys of a root, both layouts merged, one of the 256 folders in memory at a time. */
export class DiskListing {
  /** Files and folders that are nobody's blob. Complete when the listing is. */
  foreignFiles = 0;
  private readonly files: FileSystem;
  private readonly layout: Layout;
  private readonly unreadable: Array<{ readonly folder: string; readonly error: unknown }> = [];

  constructor(files: FileSystem, layout: Layout) {
    this.files = files;
    this.layout = layout;
  }

  /** A folder that can't be read does not end the listing, but its end: it then rejects with STORAGE_FAILED. */
  async *keys(from: Key | undefined, to: Key | undefined): AsyncGenerator<Key> {
    await this.countForeignFolders();
    for (const name of folderNames()) {
      if (from !== undefined && name < hexOf(from).slice(0, 2)) continue;
      if (to !== undefined && name > hexOf(to).slice(0, 2)) break;
      const entries = await this.entries(join(this.layout.blobs, name));
      if (entries.length === 0) continue; // most of them, where blobs are few
      for (const key of await this.keysOf(name, entries)) {
        if ((from === undefined || key >= from) && (to === undefined || key < to)) yield key;
      }
    }
    this.failIfIncomplete();
  }

  private async countForeignFolders(): Promise<void> {
    const entries = await this.entries(this.layout.blobs);
    this.foreignFiles += entries.filter((entry) => !isPair(entry.name)).length;
  }

  private async keysOf(name: string, entries: readonly Dirent[]): Promise<Key[]> {
    const keys = new Set<Key>();
    const folder = join(this.layout.blobs, name);
    for (const entry of entries) {
      const key = keyOfFile(name, entry.name);
      if (key && entry.isFile()) keys.add(key);
      else if (isPair(entry.name) && entry.isDirectory()) await this.legacy(folder, [name, entry.name], keys);
      else this.foreignFiles++;
    }
    return [...keys].sort();
  }

  private async legacy(parent: string, pairs: readonly string[], keys: Set<Key>): Promise<void> {
    const folder = join(parent, pairs[pairs.length - 1] as string);
    for (const entry of await this.entries(folder, { mayVanish: true })) {
      const key = keyOfLegacyFile(pairs, entry.name);
      if (key && entry.isFile()) keys.add(key);
      else if (isPair(entry.name) && entry.isDirectory() && pairs.length < LEGACY_DEPTH)
        await this.legacy(folder, [...pairs, entry.name], keys);
      else this.foreignFiles++;
    }
  }

  private async entries(folder: string, { mayVanish = false } = {}): Promise<Dirent[]> {
    try {
      return await this.files.readdir(folder, { withFileTypes: true });
    } catch (error) {
      if (mayVanish && systemCode(error) === "ENOENT") return []; // its last blob was deleted meanwhile
      this.unreadable.push({ folder, error });
      return [];
    }
  }

  private failIfIncomplete(): void {
    const [first] = this.unreadable;
    if (!first) return;
    const folders = this.unreadable.map((each) => each.folder).slice(0, 10);
    throw new IncompleteListing(
      `the listing is incomplete: ${this.unreadable.length} folders can't be read, among them ${folders.join(", ")}`,
      { nothingRead: this.unreadable.length >= folderNames().length, cause: first.error },
    );
  }
}
