/** Lets one piece of work at a time run for each key, in the order in which they came. */
export class KeyLock {
  private readonly last = new Map<string, Promise<unknown>>();

  async run<T>(key: string, work: () => Promise<T>): Promise<T> {
    const before = this.last.get(key);
    const mine = (before ?? Promise.resolve()).then(work);
    const ended = mine.catch(() => undefined); // the caller gets the rejection; the next in line must not
    this.last.set(key, ended);
    try {
      return await mine;
    } finally {
      if (this.last.get(key) === ended) this.last.delete(key);
    }
  }
}
