import type { Clock } from "../../../src/core/clock.ts";

interface Due {
  readonly atMs: number;
  readonly order: number;
  /** Undefined: cancelled, or done. */
  act: (() => void) | undefined;
}

/** Fewer of them are not worth a look through the heap. */
const CANCELLED_LEAST_COUNT = 100;

/** Simulated time: a heap of what falls due. Nothing happens but when it is run; what falls due at the same time comes in the order of asking. */
export class SimTime {
  nowMs = 0;
  private readonly heap: Due[] = [];
  private asked = 0;
  /** Of those in the heap. */
  private cancelled = 0;

  at(atMs: number, then: () => void): () => void {
    const due: Due = { atMs: Math.max(atMs, this.nowMs), order: this.asked++, act: then };
    this.push(due);
    return () => this.cancel(due);
  }

  /** Runs what falls due until `untilMs`; after each of it everything that can go on without time goes on. */
  async runUntil(untilMs: number, afterEach: () => void = () => undefined): Promise<void> {
    await turn();
    for (let next = this.pop(untilMs); next; next = this.pop(untilMs)) {
      const { act } = next;
      if (!act) {
        this.cancelled--;
        continue;
      }
      next.act = undefined;
      this.nowMs = next.atMs;
      act();
      await settle();
      afterEach();
    }
    this.nowMs = untilMs;
  }

  /** Most of what falls due are deadlines that are kept: without them the heap stays small, and what they hold is free before its time. */
  private cancel(due: Due): void {
    if (!due.act) return;
    due.act = undefined;
    this.cancelled++;
    if (this.cancelled < CANCELLED_LEAST_COUNT || this.cancelled < this.heap.length / 2) return;
    const left = this.heap.filter(({ act }) => act).sort((a, b) => (isBefore(a, b) ? -1 : 1)); // in order it is a heap
    this.heap.length = 0;
    this.heap.push(...left);
    this.cancelled = 0;
  }

  private push(due: Due): void {
    const { heap } = this;
    let i = heap.push(due) - 1;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!isBefore(due, heap[parent] as Due)) break;
      heap[i] = heap[parent] as Due;
      i = parent;
    }
    heap[i] = due;
  }

  private pop(untilMs: number): Due | undefined {
    const { heap } = this;
    const first = heap[0];
    if (!first || first.atMs > untilMs) return undefined;
    const last = heap.pop() as Due;
    if (heap.length === 0) return first;
    let i = 0;
    while (true) {
      let child = 2 * i + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1] as Due, heap[child] as Due)) child++;
      if (!isBefore(heap[child] as Due, last)) break;
      heap[i] = heap[child] as Due;
      i = child;
    }
    heap[i] = last;
    return first;
  }
}

function isBefore(a: Due, b: Due): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

/** All promises: no real input or output is ever waited for, and `nextTick` comes when no promise can go on any more. */
function settle(): Promise<void> {
  return new Promise((resolve) => process.nextTick(resolve));
}

/** Once round the event loop, which is dearer: it gets its turn now and then. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

const WALL_START_MS = 1_700_000_000_000;

/** The clock of one process: it stops with it, stands still while it is frozen, and its wall clock may be wrong. */
export class SimClock implements Clock {
  private readonly time: SimTime;
  private readonly wallOffsetMs: number;
  readonly startedMs: number;
  private dead = false;
  private frozenUntilMs = 0;

  constructor(time: SimTime, wallOffsetMs: number) {
    this.time = time;
    this.wallOffsetMs = wallOffsetMs;
    this.startedMs = time.nowMs;
  }

  kill(): void {
    this.dead = true;
  }

  freeze(ms: number): void {
    this.frozenUntilMs = Math.max(this.frozenUntilMs, this.time.nowMs + ms);
  }

  get isFrozen(): boolean {
    return this.time.nowMs < this.frozenUntilMs;
  }

  wallMs(): number {
    return WALL_START_MS + this.wallOffsetMs + this.time.nowMs;
  }

  nowMs(): number {
    return this.time.nowMs;
  }

  timer(ms: number, then: () => void): () => void {
    const fire = () => {
      if (this.dead) return;
      if (this.isFrozen) cancel = this.time.at(this.frozenUntilMs, fire);
      else then();
    };
    let cancel = this.time.at(this.time.nowMs + ms, fire);
    return () => cancel();
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const onAbort = () => {
        cancel();
        reject(signal?.reason);
      };
      const cancel = this.timer(ms, () => {
        signal?.removeEventListener("abort", onAbort);
        resolve();
      });
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  }
}
