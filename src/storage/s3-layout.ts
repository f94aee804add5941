import { hexOf, isKey, type Key } from "../core/key.ts";

/** The version of what lies below a prefix. One with a higher number is refused: an older cask must not guess. */
export const S3_FORMAT = 1;

const QUARANTINED_PATTERN = /^([0-9a-f]{40})\.[0-9a-f]+$/;

/** Where things lie below one prefix of a bucket. Pure. */
export class S3Layout {
  /** Without a slash at its ends; empty: the whole bucket. */
  readonly prefix: string;
  readonly all: string;
  readonly owner: string;
  readonly blobs: string;
  readonly quarantine: string;

  constructor(prefix: string) {
    this.prefix = prefix.replace(/^\/+|\/+$/g, "");
    this.all = this.prefix === "" ? "" : `${this.prefix}/`;
    this.owner = `${this.all}cask.json`;
    this.blobs = `${this.all}blobs/sha1/`;
    this.quarantine = `${this.all}quarantine/sha1/`;
  }

  blob(key: Key): string {
    return this.blobs + hexOf(key);
  }

  quarantined(key: Key, suffix: string): string {
    return `${this.quarantine}${hexOf(key)}.${suffix}`;
  }

  /** The key of an object in `blobs`, or null for a foreign name. */
  keyOf(name: string): Key | null {
    const key = `sha1:${name.slice(this.blobs.length)}`;
    return name.startsWith(this.blobs) && isKey(key) ? key : null;
  }

  keyOfQuarantined(name: string): Key | null {
    const match = QUARANTINED_PATTERN.exec(name.slice(this.quarantine.length));
    return match ? (`sha1:${match[1]}` as Key) : null;
  }

  /** A name after which a listing begins with this key: S3 lists what comes strictly after a name. */
  before(key: Key): string {
    const position = BigInt(`0x${hexOf(key)}`);
    if (position === 0n) return this.blobs;
    return this.blobs + (position - 1n).toString(16).padStart(40, "0");
  }
}
