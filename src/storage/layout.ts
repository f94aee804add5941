import { join, sep } from "node:path";
import { hexOf, isKey, type Key } from "../core/key.ts";

/** The version of what lies in a root: files alone, or segments too. A root with a higher one is refused: an older cask must not guess. */
export const FORMAT = 1;
export const SEGMENTS_FORMAT = 2;

const FOLDER_COUNT = 256;
const REST_PATTERN = /^[0-9a-f]{38}$/;
const PAIR_PATTERN = /^[0-9a-f]{2}$/;
const QUARANTINED_PATTERN = /^([0-9a-f]{40})\.[0-9a-f]+$/;
/** Folders above a blob of Go Cask, two digits each. */
export const LEGACY_DEPTH = 20;
/** Go Cask: 20 folders of two digits each, and in the last one the blob under this name. */
const LEGACY_NAME = "data";

/** Where things lie below one root. Pure: it opens nothing. Paths of keys are made by hand: `join` takes them apart first, for each look. */
export class Layout {
  readonly root: string;
  readonly settings: string;
  readonly lock: string;
  readonly stage: string;
  readonly quarantine: string;
  readonly blobs: string;

  constructor(root: string) {
    this.root = root;
    this.settings = join(root, "cask.json");
    this.lock = join(root, "lock");
    this.stage = join(root, "stage");
    this.quarantine = join(root, "quarantine");
    this.blobs = join(root, "sha1");
  }

  staged(name: string): string {
    return join(this.stage, name);
  }

  quarantined(key: Key, suffix: string): string {
    return join(this.quarantine, `${hexOf(key)}.${suffix}`);
  }

  /** The one of the 256 folders in which a key's blob lies, in either layout. */
  folder(key: Key): string {
    return `${this.blobs}${sep}${hexOf(key).slice(0, 2)}`;
  }

  /** Where new blobs go: `sha1/ab/<38 digits>`. */
  blob(key: Key): string {
    return `${this.folder(key)}${sep}${hexOf(key).slice(2)}`;
  }

  /** Where Go Cask put them: `sha1/ab/cd/…/data`. */
  legacyBlob(key: Key): string {
    return `${this.blobs}${sep}${hexOf(key).replace(/../g, `$&${sep}`)}${LEGACY_NAME}`;
  }
}

/** `00` to `ff`, in order. */
export function folderNames(): string[] {
  return Array.from({ length: FOLDER_COUNT }, (_, i) => i.toString(16).padStart(2, "0"));
}

/** The key of a file of the new layout, or null for a foreign name. */
export function keyOfFile(folderName: string, fileName: string): Key | null {
  return REST_PATTERN.test(fileName) ? (`sha1:${folderName}${fileName}` as Key) : null;
}

/** The key of `data` below these folders, or null if it lies too high or too deep to be a blob. */
export function keyOfLegacyFile(pairs: readonly string[], fileName: string): Key | null {
  const key = `sha1:${pairs.join("")}`;
  return fileName === LEGACY_NAME && isKey(key) ? key : null;
}

export function isPair(name: string): boolean {
  return PAIR_PATTERN.test(name);
}

/** The key of a file in `quarantine/`, or null for a foreign name. */
export function keyOfQuarantined(name: string): Key | null {
  const match = QUARANTINED_PATTERN.exec(name);
  return match ? (`sha1:${match[1]}` as Key) : null;
}
