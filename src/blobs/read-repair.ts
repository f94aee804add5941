import type { Clock } from "../core/clock.ts";
import type { Key } from "../core/key.ts";
import { READ_REPAIR_INTERVAL_MS, READ_REPAIR_MAX_COUNT } from "../core/limits.ts";
import type { RepairQueue } from "./repair-queue.ts";

/** After everything that is known to lack copies: a key that was fetched is probably fine. */
const PROBABLY_WHOLE = 7;

/** Keys that clients fetch are looked at afterwards, each at most once within READ_REPAIR_INTERVAL_MS, and only so many of them. */
export class ReadRepair {
  private readonly queue: Pick<RepairQueue, "add" | "isBusy">;
  private readonly clock: Clock;
  /** In the order in which they were noted. */
  private readonly notedMs = new Map<Key, number>();

  constructor(queue: Pick<RepairQueue, "add" | "isBusy">, clock: Clock) {
    this.queue = queue;
    this.clock = clock;
  }

  fetched(key: Key): void {
    const nowMs = this.clock.nowMs();
    const before = this.notedMs.get(key);
    if (before !== undefined && nowMs - before < READ_REPAIR_INTERVAL_MS) return;
    if (this.queue.isBusy || !this.makeRoom(nowMs)) return;
    this.notedMs.delete(key);
    this.notedMs.set(key, nowMs);
    this.queue.add(key, PROBABLY_WHOLE);
  }

  /** Of the oldest ones the interval may be over. */
  private makeRoom(nowMs: number): boolean {
    for (const [key, atMs] of this.notedMs) {
      if (nowMs - atMs < READ_REPAIR_INTERVAL_MS) break;
      this.notedMs.delete(key);
    }
    return this.notedMs.size < READ_REPAIR_MAX_COUNT;
  }
}
