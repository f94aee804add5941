import { randomBytes } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { setImmediate } from "node:timers/promises";
import { ByteBudget } from "../../src/core/byte-budget.ts";
import {
  READ_CHUNK_BYTES,
  READ_LARGE_CHUNK_BYTES,
  READ_WHOLE_PIECES_MAX_COUNT,
  WHOLE_BLOB_MAX_BYTES,
} from "../../src/core/limits.ts";
import { isShared, recycle } from "../../src/core/piece-pool.ts";
import { readRange } from "../../src/storage/read-range.ts";

const BYTES = randomBytes(3 * READ_LARGE_CHUNK_BYTES);

type Read = Awaited<ReturnType<FileHandle["read"]>>;

/** A file whose reads end when they are let go. */
class SlowFile {
  reads: Array<{ readonly at: number; readonly finish: (error?: Error) => void }> = [];

  read(into: Buffer, offset: number, length: number, at: number): Promise<Pick<Read, "bytesRead">> {
    return new Promise((resolve, reject) => {
      const finish = (error?: Error) => {
        if (error) reject(error);
        else resolve({ bytesRead: BYTES.copy(into, offset, at, at + length) });
      };
      this.reads.push({ at, finish });
    });
  }

  finishAll(): void {
    for (const { finish } of this.reads) finish();
  }
}

function setUp(budgetBytes: number, { start = 0, end = BYTES.length - 1 } = {}) {
  const file = new SlowFile();
  const pieces = new ByteBudget(budgetBytes);
  const chunks = readRange({ handle: file as unknown as FileHandle, start, end, path: "a-file", pieces });
  const next = async () => {
    const step = chunks.next();
    await setImmediate();
    file.finishAll();
    return (await step).value as Uint8Array;
  };
  return { file, pieces, chunks, next };
}

test("all bytes of a range come in their order, whether or not their memory is used again", async () => {
  const { next, pieces } = setUp(2 * READ_LARGE_CHUNK_BYTES, { start: 5, end: BYTES.length - 7 });
  const copies: Buffer[] = [];
  for (let chunk = await next(); chunk; chunk = await next()) {
    copies.push(Buffer.from(chunk));
    recycle(chunk);
  }
  expect(Buffer.concat(copies).equals(BYTES.subarray(5, BYTES.length - 6))).toBe(true);
  expect(pieces.freeBytes).toBe(2 * READ_LARGE_CHUNK_BYTES);
});

test("from the second piece on, the next one is read while its reader has the one before", async () => {
  const { file, next } = setUp(2 * READ_LARGE_CHUNK_BYTES);
  await next();
  expect(file.reads.map(({ at }) => at)).toEqual([0]); // a copy that lost a race is closed after its first piece
  await next();
  expect(file.reads.map(({ at }) => at)).toEqual([0, READ_CHUNK_BYTES, READ_CHUNK_BYTES + READ_LARGE_CHUNK_BYTES]);
});

test("nothing is read ahead without memory left for it", async () => {
  const { file, next } = setUp(READ_LARGE_CHUNK_BYTES);
  await next();
  await next();
  expect(file.reads).toHaveLength(2);
  const small = setUp(0);
  await small.next();
  expect(await small.next()).toHaveLength(READ_CHUNK_BYTES);
  expect(small.file.reads).toHaveLength(2);
});

test("who gives it up does not wait for what a disk that hangs is reading ahead; its memory stays taken until then", async () => {
  const { file, pieces, chunks, next } = setUp(2 * READ_LARGE_CHUNK_BYTES);
  await next();
  await next();
  await chunks.return(undefined);
  expect(pieces.freeBytes).toBe(READ_LARGE_CHUNK_BYTES);
  file.finishAll();
  await setImmediate();
  expect(pieces.freeBytes).toBe(2 * READ_LARGE_CHUNK_BYTES);
});

test("what could not be read ahead is told to who comes for it, and to nobody else", async () => {
  const { file, pieces, chunks, next } = setUp(2 * READ_LARGE_CHUNK_BYTES);
  await next();
  await next();
  file.reads.at(-1)?.finish(new Error("EIO"));
  await setImmediate();
  await expect(chunks.next()).rejects.toMatchObject({ code: "STORAGE_FAILED" });
  expect(pieces.freeBytes).toBe(2 * READ_LARGE_CHUNK_BYTES);

  const left = setUp(2 * READ_LARGE_CHUNK_BYTES);
  await left.next();
  await left.next();
  await left.chunks.return(undefined);
  left.file.reads.at(-1)?.finish(new Error("EIO"));
  await setImmediate();
  expect(left.pieces.freeBytes).toBe(2 * READ_LARGE_CHUNK_BYTES);
});

describe("a range that is read whole", () => {
  const whole = (end = WHOLE_BLOB_MAX_BYTES - 1) => setUp(0, { start: 0, end });

  test("lies in memory that is used again, unless it is small, as long as there is any", async () => {
    const taken: Uint8Array[] = [];
    for (let i = 0; i < READ_WHOLE_PIECES_MAX_COUNT; i++) taken.push(await whole().next());
    expect(taken.every(isShared)).toBe(true);
    const [other, small] = [await whole().next(), await whole(READ_CHUNK_BYTES - 1).next()];
    expect([isShared(other), isShared(small)]).toEqual([false, false]);
    expect(other).toHaveLength(WHOLE_BLOB_MAX_BYTES);
    for (const bytes of taken) recycle(bytes);
    const again = await whole(READ_CHUNK_BYTES).next();
    expect(isShared(again)).toBe(true);
    expect(BYTES.subarray(0, READ_CHUNK_BYTES + 1).equals(again)).toBe(true);
    recycle(again);
  });

  test("gives its memory back when it can't be read", async () => {
    for (let i = 0; i <= READ_WHOLE_PIECES_MAX_COUNT; i++) {
      const { file, chunks } = whole();
      const step = expect(chunks.next()).rejects.toMatchObject({ code: "STORAGE_FAILED" });
      await setImmediate();
      file.reads[0]?.finish(new Error("EIO"));
      await step;
    }
    const bytes = await whole().next();
    expect(isShared(bytes)).toBe(true);
    recycle(bytes);
  });
});
