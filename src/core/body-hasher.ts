import { HashThread, type ThreadHash } from "./hash-thread.ts";
import { type Key, KeyHasher } from "./key.ts";
import { HASHED_BEHIND_MAX_COUNT } from "./limits.ts";
import { isShared, recycle, retain } from "./piece-pool.ts";

let sharedThread: Pick<HashThread, "open"> = { open: () => null };

/** To be called once, by the program: from now on large bodies are hashed in another thread. Simulated clusters have no use for one. */
export function hashInThread(): void {
  sharedThread = new HashThread();
}

/**
 * Hashes a body as it passes: in another thread, when that one sees the body's memory and runs, else here. Pieces are kept from being
 * recycled as long as they are looked at.
 */
export class BodyHasher {
  private readonly thread: Pick<HashThread, "open">;
  private here: KeyHasher | undefined;
  private there: ThreadHash | null = null;
  private readonly underWay: Promise<void>[] = [];

  constructor(thread: Pick<HashThread, "open"> = sharedThread) {
    this.thread = thread;
  }

  /**
   * The bytes must not change, but may be recycled. What is answered is to be waited for before the next call: the thread is a few pieces
   * behind at most, so that none of reading, hashing and sending waits for the other two each time. Other memory is copied for it: of that, none.
   */
  update(bytes: Uint8Array): Promise<void> | undefined {
    if (!this.here && !this.there) this.begin(bytes);
    this.here?.update(bytes);
    if (!this.there) return undefined;
    const { there } = this;
    const hashed = lookingAt(bytes, () => there.update(bytes));
    hashed.catch(() => undefined); // told to who waits; nobody does when the body is given up meanwhile
    this.underWay.push(hashed);
    return this.untilBehindBy(isShared(bytes) ? HASHED_BEHIND_MAX_COUNT : 0);
  }

  /** May be called once. `last`: bytes as for `update`, which are hashed before. */
  digest(last?: Uint8Array): Promise<Key> | Key {
    if (last && !this.here && !this.there) this.begin(last);
    const { there } = this;
    this.there = null;
    if (there) return last ? lookingAt(last, () => there.digest(last)) : there.digest();
    if (last) this.here?.update(last);
    return (this.here ?? new KeyHasher()).digest();
  }

  /** Gives up what was begun. Nothing happens after `digest`. */
  close(): void {
    this.there?.forget();
    this.there = null;
  }

  private begin(first: Uint8Array): void {
    if (isShared(first)) this.there = this.thread.open();
    if (!this.there) this.here = new KeyHasher();
  }

  private async untilBehindBy(count: number): Promise<void> {
    while (this.underWay.length > count) await this.underWay.shift();
  }
}

/** The bytes are not used again before the work is done. */
async function lookingAt<T>(bytes: Uint8Array, work: () => Promise<T>): Promise<T> {
  retain(bytes);
  try {
    return await work();
  } finally {
    recycle(bytes);
  }
}
