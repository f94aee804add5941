import type { Key } from "../core/key.ts";
import { VERIFIED_TIMES_MAX_COUNT } from "../core/limits.ts";
import type { Seen } from "../storage/backend.ts";

/** When each local copy was last hashed and matched, as long as it is the same copy. Bounded: the oldest are forgotten. */
export class VerifiedTimes {
  private readonly times = new Map<Key, { seen: Seen; atMs: number }>();

  note(key: Key, seen: Seen, atMs: number): void {
    this.times.delete(key); // to the end of the order
    this.times.set(key, { seen, atMs });
    if (this.times.size > VERIFIED_TIMES_MAX_COUNT) {
      for (const oldest of this.times.keys()) {
        this.times.delete(oldest);
        break;
      }
    }
  }

  /** Wall clock, or null: never, forgotten, or the copy has changed since. */
  at(key: Key, seen: Seen): number | null {
    const entry = this.times.get(key);
    return entry?.seen === seen ? entry.atMs : null;
  }

  forget(key: Key): void {
    this.times.delete(key);
  }
}
