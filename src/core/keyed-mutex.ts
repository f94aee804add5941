/** Work on one key follows one another, in the order asked for; work on different keys does not wait. */
export class KeyedMutex {
  private readonly tails = new Map<string, Promise<void>>();

  /** Keys that somebody works on or waits for. */
  get size(): number {
    return this.tails.size;
  }

  /** Does somebody work on the key, or wait to? */
  isBusy(key: string): boolean {
    return this.tails.has(key);
  }

  async run<T>(key: string, work: () => Promise<T>): Promise<T> {
    const before = this.tails.get(key) ?? Promise.resolve();
    const result = before.then(work);
    const tail = result.then(
      () => undefined,
      () => undefined, // told to the caller by `result`; those who wait only need to know that it ended
    );
    this.tails.set(key, tail);
    try {
      return await result;
    } finally {
      if (this.tails.get(key) === tail) this.tails.delete(key);
    }
  }
}
