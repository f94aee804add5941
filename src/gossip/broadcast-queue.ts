interface Broadcast {
  readonly about: string;
  readonly bytes: Uint8Array;
  /** Who gains nothing from it. */
  readonly notFor: string | null;
  /** Newer ones are larger. */
  readonly id: number;
  sentCount: number;
}

export interface Room {
  /** For all messages and their overheads. */
  readonly bytes: number;
  /** Each message costs so many more. */
  readonly overheadBytes: number;
  readonly maxCount: number;
  /** A broadcast that was sent so often is done. */
  readonly sendsMax: number;
  /** Who gets it, if that is known. */
  readonly to?: string | undefined;
}

/**
 * What is still to be told, as memberlist's TransmitLimitedQueue orders it: what was sent least often first, of those the longest that fits,
 * of those the newest. What is newer about a member replaces what is older, so there is at most one for each member.
 */
export class BroadcastQueue {
  private readonly byName = new Map<string, Broadcast>();
  /** By how often they were sent; each list in the order in which they are to go. */
  private readonly bySends = new Map<number, Broadcast[]>();
  private readonly maxCount: number;
  private nextId = 0;

  constructor(maxCount: number) {
    this.maxCount = maxCount;
  }

  get size(): number {
    return this.byName.size;
  }

  has(about: string): boolean {
    return this.byName.has(about);
  }

  add(about: string, bytes: Uint8Array, notFor: string | null = null): void {
    const older = this.byName.get(about);
    if (older) this.remove(older);
    else if (this.byName.size >= this.maxCount) this.dropMostSent();
    this.insert({ about, bytes, notFor, id: this.nextId++, sentCount: 0 });
  }

  clear(): void {
    this.byName.clear();
    this.bySends.clear();
  }

  /** Takes out what goes into one packet; each may be taken `sendsMax` times, but only once here. */
  take(room: Room): Uint8Array[] {
    const taken: Broadcast[] = [];
    let usedBytes = 0;
    for (const sends of [...this.bySends.keys()].sort((a, b) => a - b)) {
      while (taken.length < room.maxCount) {
        const next = this.firstThatFits(sends, room.bytes - usedBytes - room.overheadBytes, room.to);
        if (!next) break;
        this.remove(next);
        taken.push(next);
        usedBytes += room.overheadBytes + next.bytes.length;
      }
    }
    for (const broadcast of taken) {
      broadcast.sentCount++;
      if (broadcast.sentCount < room.sendsMax) this.insert(broadcast);
    }
    return taken.map((broadcast) => broadcast.bytes);
  }

  private firstThatFits(sends: number, freeBytes: number, to: string | undefined): Broadcast | undefined {
    if (freeBytes <= 0) return undefined;
    const list = this.bySends.get(sends) ?? [];
    const first = firstIndex(list, (broadcast) => broadcast.bytes.length <= freeBytes);
    return list[first]?.notFor === to ? list[first + 1] : list[first]; // at most one is about the receiver
  }

  private insert(broadcast: Broadcast): void {
    this.byName.set(broadcast.about, broadcast);
    const list = this.bySends.get(broadcast.sentCount) ?? [];
    list.splice(
      firstIndex(list, (other) => goesBefore(broadcast, other)),
      0,
      broadcast,
    );
    this.bySends.set(broadcast.sentCount, list);
  }

  private remove(broadcast: Broadcast): void {
    this.byName.delete(broadcast.about);
    const list = this.bySends.get(broadcast.sentCount) ?? [];
    list.splice(
      firstIndex(list, (other) => !goesBefore(other, broadcast)),
      1,
    );
    if (list.length === 0) this.bySends.delete(broadcast.sentCount);
  }

  private dropMostSent(): void {
    const list = this.bySends.get(Math.max(...this.bySends.keys()));
    const last = list?.at(-1);
    if (last) this.remove(last);
  }
}

function goesBefore(a: Broadcast, b: Broadcast): boolean {
  return a.bytes.length === b.bytes.length ? a.id > b.id : a.bytes.length > b.bytes.length;
}

/** The first index of a sorted list for which `isAfter` holds, or its length. */
function firstIndex<T>(list: readonly T[], isAfter: (item: T) => boolean): number {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (isAfter(list[middle] as T)) high = middle;
    else low = middle + 1;
  }
  return low;
}
