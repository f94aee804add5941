import { basename, join } from "node:path";
import { systemCode } from "../core/errors.ts";
import type { Key } from "../core/key.ts";
import type { Random } from "../core/random.ts";
import type { FileSystem } from "./file-system.ts";
import { syncFolder } from "./folder-sync.ts";
import { keyOfQuarantined, type Layout } from "./layout.ts";
import { storageFailure } from "./storage-failure.ts";

const SUFFIX_BYTES = 8;

/** Corrupt copies, out of sight, kept for the operator. What lies there is read once; memory use is bounded by that. */
export class Quarantine {
  private readonly files: FileSystem;
  private readonly layout: Layout;
  private readonly random: Random;
  private readonly names = new Map<Key, string[]>();

  constructor(files: FileSystem, layout: Layout, random: Random) {
    this.files = files;
    this.layout = layout;
    this.random = random;
  }

  async load(): Promise<void> {
    for (const name of await this.files.readdir(this.layout.quarantine)) {
      const key = keyOfQuarantined(name);
      if (key) this.note(key, name);
    }
  }

  /** Moves a file in, durably here. The caller syncs the folder that it left. */
  async take(key: Key, path: string): Promise<void> {
    const target = this.layout.quarantined(key, this.random.hex(SUFFIX_BYTES));
    // Noted first: whoever finds the key absent from now on must learn that it is here.
    this.note(key, basename(target));
    await this.files.rename(path, target);
    await syncFolder(this.files, this.layout.quarantine);
  }

  /** Costs nothing for keys that were never here. The operator may have removed files meanwhile. */
  async holds(key: Key): Promise<boolean> {
    const names = this.names.get(key);
    if (!names) return false;
    for (const name of names) {
      if (await this.exists(name)) return true;
    }
    return false;
  }

  /** One look into the folder. */
  async count(): Promise<number> {
    const folder = this.layout.quarantine;
    try {
      return (await this.files.readdir(folder)).filter((name) => keyOfQuarantined(name) !== null).length;
    } catch (error) {
      throw storageFailure(error, `listing ${folder}`);
    }
  }

  private note(key: Key, name: string): void {
    this.names.set(key, [...(this.names.get(key) ?? []), name]);
  }

  private async exists(name: string): Promise<boolean> {
    const path = join(this.layout.quarantine, name);
    try {
      await this.files.lstat(path);
      return true;
    } catch (error) {
      if (systemCode(error) === "ENOENT") return false;
      throw storageFailure(error, `looking at ${path}`);
    }
  }
}
