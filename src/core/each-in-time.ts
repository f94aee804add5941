/**
 * The items of `items`, each waited for through `inTime`, which rejects when it takes too long. One that hangs is left behind: asking it to
 * end would hang as well.
 */
export async function* eachInTime<T>(
  items: AsyncIterable<T>,
  inTime: (step: Promise<IteratorResult<T>>) => Promise<IteratorResult<T>>,
): AsyncGenerator<T> {
  const iterator = items[Symbol.asyncIterator]();
  let hangs = false;
  try {
    while (true) {
      const step = iterator.next();
      hangs = true;
      const { done, value } = await inTime(step);
      hangs = false;
      if (done) return;
      yield value;
    }
  } finally {
    if (!hangs && iterator.return) await inTime(iterator.return(undefined));
  }
}
