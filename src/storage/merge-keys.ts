import type { Key } from "../core/key.ts";

/** Two ascending listings as one; a key that is in both comes once. */
export async function* mergeKeys(
  one: AsyncIterable<Key> | Iterable<Key>,
  two: AsyncIterable<Key>,
): AsyncGenerator<Key> {
  const first = iterate(one);
  const second = two[Symbol.asyncIterator]();
  try {
    let [a, b] = [await first.next(), await second.next()];
    while (!a.done || !b.done) {
      if (b.done || (!a.done && a.value < b.value)) {
        yield a.value as Key;
        a = await first.next();
      } else {
        if (!a.done && a.value === b.value) a = await first.next();
        yield b.value;
        b = await second.next();
      }
    }
  } finally {
    await first.return?.();
    await second.return?.();
  }
}

function iterate(keys: AsyncIterable<Key> | Iterable<Key>): AsyncIterator<Key> | Iterator<Key> {
  return Symbol.asyncIterator in keys ? keys[Symbol.asyncIterator]() : keys[Symbol.iterator]();
}
