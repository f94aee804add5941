import type { SimFile } from "./sim-file.ts";

export type SimNode = SimFile | SimFolder;

/** A name that came, or went (no node). */
export interface EntryChange {
  readonly order: number;
  readonly folder: SimFolder;
  readonly name: string;
  readonly node: SimNode | undefined;
  /** Of a rename: its two halves. */
  readonly rename?: Rename;
}

/**
 * The new name may be on the platter without the old one being gone, if they are in two folders; the old one is never gone
 * without the new one being there.
 */
export interface Rename {
  added: EntryChange | undefined;
}

/** As kernels do after some seconds, a folder that is never synced gets its older changes to the platter all the same. */
const UNSYNCED_MAX_COUNT = 256;

/** An inode with names: as they are seen now, and as they are on the platter. */
export class SimFolder {
  readonly kind = "folder";
  readonly ino: number;
  mtimeNs = 0n;
  ctimeNs = 0n;
  links = 0;
  handles = 0;
  readonly size = 4096;
  /** Another one after each change of its names. */
  version = 0;
  readonly entries: Map<string, SimNode>;
  readonly synced: Map<string, SimNode>;
  readonly unsynced: EntryChange[] = [];

  constructor(ino: number, entries: ReadonlyMap<string, SimNode> = new Map()) {
    this.ino = ino;
    this.entries = new Map(entries);
    this.synced = new Map(entries);
  }

  change(change: EntryChange): void {
    this.version++;
    setEntry(this.entries, change);
    this.unsynced.push(change);
    if (this.unsynced.length > UNSYNCED_MAX_COUNT) this.syncUpTo(this.unsynced[UNSYNCED_MAX_COUNT / 2]);
  }

  /** Durable are then all changes of this folder, and of others what these can't be without. */
  sync(): void {
    this.syncUpTo(undefined);
  }

  private syncUpTo(last: EntryChange | undefined): void {
    for (let change = this.unsynced.shift(); change; change = this.unsynced.shift()) {
      const added = change.node === undefined ? change.rename?.added : undefined;
      if (added?.folder.unsynced.includes(added)) added.folder.syncUpTo(added);
      setEntry(this.synced, change);
      if (change === last) return;
    }
  }
}

export function setEntry(entries: Map<string, SimNode>, { name, node }: EntryChange): void {
  if (node) entries.set(name, node);
  else entries.delete(name);
}
