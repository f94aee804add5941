export interface Timed {
  readonly atMs: number;
  readonly then: () => void;
}

/** What is to happen when: a binary heap, equal times in the order in which they were added. */
export class TimedQueue {
  private readonly heap: (Timed & { readonly id: number })[] = [];
  private nextId = 0;

  get nextMs(): number {
    return this.heap[0]?.atMs ?? Number.POSITIVE_INFINITY;
  }

  add(atMs: number, then: () => void): void {
    const entry = { atMs, then, id: this.nextId++ };
    let i = this.heap.length;
    this.heap.push(entry);
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!isBefore(entry, this.at(parent))) break;
      this.heap[i] = this.at(parent);
      i = parent;
    }
    this.heap[i] = entry;
  }

  /** The earliest. Throws when there is none. */
  take(): Timed {
    const first = this.heap[0];
    const last = this.heap.pop();
    if (!first || !last) throw new Error("nothing is to happen");
    if (this.heap.length > 0) this.sink(last);
    return first;
  }

  private sink(entry: Timed & { readonly id: number }): void {
    let i = 0;
    for (let child = 1; child < this.heap.length; child = 2 * i + 1) {
      if (child + 1 < this.heap.length && isBefore(this.at(child + 1), this.at(child))) child++;
      if (!isBefore(this.at(child), entry)) break;
      this.heap[i] = this.at(child);
      i = child;
    }
    this.heap[i] = entry;
  }

  private at(i: number): Timed & { readonly id: number } {
    return this.heap[i] as Timed & { readonly id: number };
  }
}

function isBefore(a: Timed & { readonly id: number }, b: Timed & { readonly id: number }): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.id < b.id);
}
