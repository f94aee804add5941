/** Compares two streams of equal length, however each of them is cut into chunks. */
export async function sameBytes(one: AsyncIterable<Uint8Array>, two: AsyncIterable<Uint8Array>): Promise<boolean> {
  const other = two[Symbol.asyncIterator]();
  let rest: Uint8Array = new Uint8Array(0);
  try {
    for await (let chunk of one) {
      while (chunk.length > 0) {
        if (rest.length === 0) {
          const next = await other.next();
          if (next.done) return false;
          rest = next.value;
        }
        const length = Math.min(chunk.length, rest.length);
        if (Buffer.compare(chunk.subarray(0, length), rest.subarray(0, length)) !== 0) return false;
        chunk = chunk.subarray(length);
        rest = rest.subarray(length);
      }
    }
    return true;
  } finally {
    await other.return?.();
  }
}
