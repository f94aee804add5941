import { PiecePool, recycle } from "../../src/core/piece-pool.ts";

test("a piece is handed out again once it was recycled, and only then", () => {
  const pool = new PiecePool(1_000, 2);
  const [one, two] = [pool.take(), pool.take()];
  expect(one).not.toBe(two);
  recycle(one);
  expect(pool.take()).toBe(one);
  expect(pool.take()).not.toBe(two);
});

test("a piece that is recycled twice is handed out once", () => {
  const pool = new PiecePool(1_000, 2);
  const one = pool.take();
  recycle(one);
  recycle(one);
  expect(pool.take()).toBe(one);
  expect(pool.take()).not.toBe(one);
});

test("no more than so many are kept, and memory from elsewhere is not taken", () => {
  const pool = new PiecePool(1_000, 1);
  const pieces = [pool.take(), pool.take()] as const;
  for (const piece of pieces) recycle(piece);
  expect(pool.take()).toBe(pieces[0]);
  expect(pool.take()).not.toBe(pieces[1]);
  const other = Buffer.alloc(1_000);
  recycle(other);
  expect(pool.take()).not.toBe(other);
});
