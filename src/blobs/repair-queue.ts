import type { Key } from "../core/key.ts";
import { REPAIR_QUEUE_MAX_COUNT, REPAIR_RETRIES_MAX_COUNT } from "../core/limits.ts";

/** Keys with so many copies or more share the last place in the queue. */
const LEVELS = 8;

/**
 * Keys that want repair, those with the fewest copies first. Bounded: what does not fit is refused, unless it has fewer copies than
 * something that waits; reconcile finds again what was dropped.
 */
export class RepairQueue {
  private readonly levels: Array<Set<Key>> = Array.from({ length: LEVELS }, () => new Set<Key>());
  private readonly retries = new Map<Key, { readonly copies: number; readonly atMs: number }>();
  private count = 0;
  /** Called when there is something to take. */
  onAdd: () => void = () => undefined;

  get size(): number {
    return this.count;
  }

  get waitingForRetry(): number {
    return this.retries.size;
  }

  /** So much waits that nobody need look for more. */
  get isBusy(): boolean {
    return this.count > REPAIR_QUEUE_MAX_COUNT / 10;
  }

  get isFull(): boolean {
    return this.count >= REPAIR_QUEUE_MAX_COUNT;
  }

  /** `copies`: how many are known to be left. Answers whether the key is in the queue now. */
  add(key: Key, copies: number): boolean {
    const level = Math.min(LEVELS - 1, Math.max(0, copies));
    const present = this.levels.findIndex((keys) => keys.has(key));
    if (present >= 0 && present <= level) return true;
    if (present < 0 && this.isFull && !this.dropBeyond(level)) return false;
    if (present >= 0) this.remove(key, present);
    this.retries.delete(key);
    (this.levels[level] as Set<Key>).add(key);
    this.count++;
    this.onAdd();
    return true;
  }

  /** A repair that did not reach what it wanted, to be tried again from `atMs` on. */
  retry(key: Key, copies: number, atMs: number): void {
    if (this.retries.size < REPAIR_RETRIES_MAX_COUNT || this.retries.has(key)) this.retries.set(key, { copies, atMs });
  }

  take(max: number, nowMs: number): Key[] {
    for (const [key, { copies, atMs }] of this.retries) {
      if (atMs <= nowMs) this.add(key, copies);
    }
    const taken: Key[] = [];
    for (const [level, keys] of this.levels.entries()) {
      for (const key of keys) {
        if (taken.length >= max) return taken;
        this.remove(key, level);
        taken.push(key);
      }
    }
    return taken;
  }

  private remove(key: Key, level: number): void {
    if (this.levels[level]?.delete(key)) this.count--;
  }

  private dropBeyond(level: number): boolean {
    for (let i = LEVELS - 1; i > level; i--) {
      for (const key of this.levels[i] as Set<Key>) {
        this.remove(key, i);
        return true;
      }
    }
    return false;
  }
}
