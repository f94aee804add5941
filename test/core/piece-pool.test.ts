import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { copyInto, isPageAligned, isPiece, isShared, PiecePool, recycle, retain } from "../../src/core/piece-pool.ts";
import { until } from "../support/processes.ts";

function poolOf(maxCount: number): { take: () => Buffer; takeOrNull: () => Buffer | null } {
  const pool = new PiecePool(1_000, maxCount);
  return { take: () => pool.take() as Buffer, takeOrNull: () => pool.take() };
}

test("a piece is handed out again once it was recycled, and only then", () => {
  const pool = poolOf(3);
  const [one, two] = [pool.take(), pool.take()];
  expect(one).not.toBe(two);
  recycle(one);
  expect(pool.take()).toBe(one);
  expect(pool.take()).not.toBe(two);
});

test("a piece that is recycled twice is handed out once", () => {
  const pool = poolOf(2);
  const one = pool.take();
  recycle(one);
  recycle(one);
  expect(pool.take()).toBe(one);
  expect(pool.take()).not.toBe(one);
});

test("a piece with two users is free when both are done with it, be it with a part of it", () => {
  const pool = poolOf(1);
  const one = pool.take();
  retain(one.subarray(5));
  recycle(one);
  expect(pool.takeOrNull()).toBeNull();
  recycle(one.subarray(0, 5));
  expect(pool.take()).toBe(one);
});

test("there are never more than so many, and memory from elsewhere is not taken", () => {
  const pool = poolOf(1);
  const one = pool.take();
  expect(pool.takeOrNull()).toBeNull();
  const other = Buffer.alloc(1_000);
  retain(other);
  recycle(other);
  expect(pool.takeOrNull()).toBeNull();
  recycle(one);
  expect(pool.take()).toBe(one);
});

test("another thread sees its memory, and that of no other buffer", () => {
  expect(isShared(poolOf(1).take())).toBe(true);
  expect(isShared(Buffer.alloc(1_000))).toBe(false);
});

test("the memory of pieces that are never given back is found again when nobody looks at it, and never more is made", async () => {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const pool = poolOf(2);
  const elsewhere = new Set<SharedArrayBuffer>(); // what a thread holds on to that has seen the bytes
  const lose = () => {
    const piece = pool.takeOrNull();
    if (!piece) return false;
    piece.fill(7);
    elsewhere.add(structuredClone(piece.buffer as unknown as SharedArrayBuffer));
    return true;
  };
  expect([lose(), lose(), lose()]).toEqual([true, true, false]);
  await until("a piece was found again", async () => {
    collect();
    const piece = pool.takeOrNull();
    if (!piece) return false;
    expect(piece[0]).toBe(7); // the same memory
    recycle(piece);
    return true;
  });
});

test("what is copied into a piece lies where it was to, and nowhere else", () => {
  const piece = poolOf(1).take().fill(7);
  copyInto(piece, Buffer.from("abc"), 10);
  copyInto(piece, new Uint8Array(0), 20);
  copyInto(piece, Buffer.from("abcdef").subarray(2, 5), 997);
  expect(piece.subarray(9, 14).toString("latin1")).toBe("\x07abc\x07");
  expect(piece.subarray(996).toString("latin1")).toBe("\x07cde");
  expect(piece.filter((byte) => byte !== 7)).toHaveLength(6);
});

test("only what is in use is a piece, and parts of it are", () => {
  const pool = poolOf(1);
  const one = pool.take();
  expect([isPiece(one), isPiece(one.subarray(5)), isPiece(Buffer.alloc(1_000))]).toEqual([true, true, false]);
  recycle(one);
  expect(isPiece(one)).toBe(false);
});

describe("pieces that begin at a page of memory", () => {
  const PAGES_BYTES = 64 * 1024;

  test("are those of a pool that was asked for them, from their beginning on", () => {
    const pool = new PiecePool(PAGES_BYTES, 1, { aligned: true });
    const piece = pool.take() as Buffer;
    expect(piece).toHaveLength(PAGES_BYTES);
    expect([isShared(piece), isPageAligned(piece), isPageAligned(piece.subarray(0, 10))]).toEqual([true, true, true]);
    expect([isPageAligned(piece.subarray(16)), isPageAligned(poolOf(1).take())]).toEqual([false, false]);
    recycle(piece);
    expect(isPageAligned(piece)).toBe(false); // somebody else may have it by now
    expect(isPageAligned(pool.take() as Buffer)).toBe(true);
  });

  test("can't be had where addresses are short: others do", () => {
    const whole = Reflect.get(globalThis, "WebAssembly");
    const Memory = function none() {
      throw new RangeError("could not allocate memory");
    };
    Reflect.set(globalThis, "WebAssembly", { Memory });
    try {
      const pool = new PiecePool(PAGES_BYTES, 2, { aligned: true });
      const pieces = [pool.take() as Buffer, pool.take() as Buffer];
      expect(pieces.map((piece) => [piece.length, isShared(piece), isPageAligned(piece)])).toEqual([
        [PAGES_BYTES, true, false],
        [PAGES_BYTES, true, false],
      ]);
    } finally {
      Reflect.set(globalThis, "WebAssembly", whole);
    }
  });
});
