import { LRUCache } from "lru-cache";
import type { Key } from "../core/key.ts";
import { VERIFIED_TIMES_MAX_COUNT } from "../core/limits.ts";
import type { Seen } from "../storage/backend.ts";

interface VerifiedTime {
  readonly seen: Seen;
  readonly atMs: number;
}

/** When each local copy was last hashed and matched, as long as it is the same copy. Bounded: the oldest are forgotten. */
export class VerifiedTimes {
  /** By size, each of 1: for a `max` in number the memory of all would be taken at once. */
  private readonly times = new LRUCache<Key, VerifiedTime>({ maxSize: VERIFIED_TIMES_MAX_COUNT });

  note(key: Key, seen: Seen, atMs: number): void {
    this.times.set(key, { seen, atMs }, { size: 1 });
  }

  /** Wall clock, or null: never, forgotten, or the copy has changed since. */
  at(key: Key, seen: Seen): number | null {
    const entry = this.times.peek(key); // to be asked about does not make it younger
    return entry?.seen === seen ? entry.atMs : null;
  }

  forget(key: Key): void {
    this.times.delete(key);
  }
}
