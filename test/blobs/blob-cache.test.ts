import { BlobCache } from "../../src/blobs/blob-cache.ts";
import { keyOfBytes } from "../../src/core/key.ts";
import { CACHE_ENTRY_BYTES } from "../../src/core/limits.ts";
import { PiecePool } from "../../src/core/piece-pool.ts";

const KIB = 1024;
const blob = (i: number, size = KIB) => {
  const bytes = Buffer.alloc(size, i);
  return { key: keyOfBytes(bytes), bytes };
};
const ENTRY = KIB + CACHE_ENTRY_BYTES;

test("keeps what was asked for last, within its bytes, its own needs counted", () => {
  const cache = new BlobCache(10 * ENTRY);
  const blobs = Array.from({ length: 11 }, (_, i) => blob(i));
  for (const { key, bytes } of blobs.slice(0, 10)) cache.put(key, bytes);
  expect(cache.figures()).toMatchObject({ blobs: 10, bytes: 10 * ENTRY });
  const [first, second, third] = blobs as [(typeof blobs)[0], (typeof blobs)[0], (typeof blobs)[0]];
  expect(cache.get(first.key)).toEqual(first.bytes);
  const last = blobs[10] as typeof first;
  cache.put(last.key, last.bytes);
  expect(cache.figures()).toMatchObject({ blobs: 10, bytes: 10 * ENTRY });
  expect(cache.get(second.key)).toBeUndefined();
  for (const { key, bytes } of [first, third, last]) expect(cache.get(key)).toEqual(bytes);
  expect(cache.figures()).toMatchObject({ hits: 4, misses: 1 });
});

test("one blob does not drive out all others; with 0 bytes nothing is kept", () => {
  const cache = new BlobCache(16 * KIB);
  expect([cache.takes(KIB), cache.takes(2 * KIB)]).toEqual([true, false]);
  const large = blob(1, 2 * KIB);
  cache.put(large.key, large.bytes);
  const off = new BlobCache(0);
  const empty = blob(0, 0);
  off.put(empty.key, empty.bytes);
  expect([cache.figures().blobs, off.figures().blobs]).toEqual([0, 0]);
});

test("a blob that is put twice counts once", () => {
  const cache = new BlobCache(100 * ENTRY);
  const { key, bytes } = blob(1);
  cache.put(key, bytes);
  cache.put(key, Buffer.from(bytes));
  expect(cache.figures()).toMatchObject({ blobs: 1, bytes: ENTRY });
});

test("a piece of a larger buffer does not keep that one", () => {
  const cache = new BlobCache(100 * ENTRY);
  const { key, bytes } = blob(1);
  const piece = Buffer.concat([bytes, Buffer.alloc(100 * KIB)]).subarray(0, KIB);
  cache.put(key, piece);
  const kept = cache.get(key);
  expect(kept).toEqual(bytes);
  expect(kept?.buffer.byteLength).toBe(KIB);
});

test("of what is in memory of a pool a copy is kept when it is asked for again, before as much else as the cache could hold", () => {
  const cache = new BlobCache(10 * ENTRY);
  const piece = new PiecePool(KIB, 1).take() as Buffer;
  const put = (i: number) => {
    const { key, bytes } = blob(i);
    bytes.copy(piece);
    cache.put(key, piece);
    return key;
  };
  for (const i of [0, 1, 0, 0]) put(i);
  piece.fill(99);
  expect(cache.get(blob(0).key)).toEqual(blob(0).bytes);
  expect(cache.get(blob(1).key)).toBeUndefined();
  expect(cache.figures()).toMatchObject({ blobs: 1, bytes: ENTRY });
  for (let i = 2; i < 12; i++) put(i);
  put(1);
  expect(cache.figures()).toMatchObject({ blobs: 1 }); // forgotten meanwhile
  put(11);
  expect(cache.figures()).toMatchObject({ blobs: 2 });
  for (let i = 20; i < 30; i++) cache.put(blob(i).key, blob(i).bytes);
  put(11);
  expect(cache.get(blob(11).key)).toBeUndefined(); // was driven out, and then asked for once
});
