export const RUN_MAX_ENTRIES = 1_024;
/** Entries that a run may hold: 1, 2, 3, then four steps to each doubling, so that a run has a fifth of it to spare at most. */
const CAPACITIES: readonly number[] = [1, 2, 3, ...steps(), RUN_MAX_ENTRIES];
const NONE = 0xffffffff;

const CLASS_OF: Uint8Array = Uint8Array.from({ length: RUN_MAX_ENTRIES + 1 }, (_, entries) =>
  CAPACITIES.findIndex((capacity) => capacity >= entries),
);

/** The smallest class of runs that holds so many entries; the largest there is for too many. */
export function classFor(entries: number): number {
  return CLASS_OF[Math.min(entries, RUN_MAX_ENTRIES)] as number;
}

export function capacityOf(runClass: number): number {
  return CAPACITIES[runClass] as number;
}

/**
 * One piece of memory, cut into runs of entries of one size. A run that was given back is used again for its own class only: who
 * owns the runs packs them into a new slab when this one is full.
 */
export class EntrySlab {
  readonly bytes: Buffer;
  readonly entryBytes: number;
  readonly maxEntries: number;
  private readonly view: DataView;
  private readonly free: Uint32Array = new Uint32Array(CAPACITIES.length).fill(NONE);
  private end = 0;

  /** A run that is free keeps in its first four bytes where the next one is: an entry has room for that. */
  constructor(entryBytes: number, maxEntries: number, allocate: Allocate = own) {
    this.entryBytes = entryBytes;
    this.maxEntries = maxEntries;
    this.bytes = Buffer.from(allocate(entryBytes * maxEntries) as ArrayBuffer);
    this.view = new DataView(this.bytes.buffer);
  }

  /** The number of the run's first entry, or -1 when the slab is full. */
  take(runClass: number): number {
    const freed = this.free[runClass] as number;
    if (freed !== NONE) {
      this.free[runClass] = this.view.getUint32(freed * this.entryBytes);
      return freed;
    }
    const begin = this.end;
    if (begin + capacityOf(runClass) > this.maxEntries) return -1;
    this.end = begin + capacityOf(runClass);
    return begin;
  }

  give(begin: number, runClass: number): void {
    this.view.setUint32(begin * this.entryBytes, this.free[runClass] as number);
    this.free[runClass] = begin;
  }

  /** Within one slab, forwards or backwards, overlapping or not. */
  move(from: number, to: number, entries: number): void {
    this.bytes.copyWithin(to * this.entryBytes, from * this.entryBytes, (from + entries) * this.entryBytes);
  }

  /** From another slab with entries of the same size. */
  copyFrom(other: EntrySlab, from: number, to: number, entries: number): void {
    const { entryBytes } = this;
    other.bytes.copy(this.bytes, to * entryBytes, from * entryBytes, (from + entries) * entryBytes);
  }

  copyOf(begin: number, entries: number): Uint8Array {
    return new Uint8Array(this.bytes.subarray(begin * this.entryBytes, (begin + entries) * this.entryBytes));
  }

  /** Nobody will look at it any more: not left to the garbage collector, which comes when it likes to. */
  release(): void {
    const { buffer } = this.bytes;
    if (buffer instanceof ArrayBuffer) buffer.transfer(0); // what is shared may be read at this moment
  }

  write(begin: number, bytes: Uint8Array): void {
    this.bytes.set(bytes, begin * this.entryBytes);
  }
}

function steps(): number[] {
  const capacities: number[] = [];
  for (let unit = 1; 4 * unit < RUN_MAX_ENTRIES; unit *= 2) capacities.push(4 * unit, 5 * unit, 6 * unit, 7 * unit);
  return capacities;
}

/** Zeroed memory: of this thread, or shared with others. */
export type Allocate = (bytes: number) => ArrayBuffer | SharedArrayBuffer;

export const own: Allocate = (bytes) => new ArrayBuffer(bytes);
export const shared: Allocate = (bytes) => new SharedArrayBuffer(bytes);
