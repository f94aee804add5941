import { randomBytes } from "node:crypto";
import { type InPiecesOptions, inPieces } from "../../src/blobs/upload-pieces.ts";
import { isShared, PiecePool, recycle } from "../../src/core/piece-pool.ts";

async function* each(chunks: readonly Uint8Array[], error?: Error): AsyncGenerator<Uint8Array> {
  yield* chunks;
  if (error) throw error;
}

function owned(bytes: Uint8Array): Uint8Array {
  const own = new Uint8Array(bytes.length);
  own.set(bytes);
  return own;
}

async function sizesAndBytes(chunks: readonly Uint8Array[], options: InPiecesOptions) {
  const pieces: Buffer[] = [];
  for await (const piece of inPieces(each(chunks), options)) {
    pieces.push(Buffer.from(piece));
    recycle(piece);
  }
  return { sizes: pieces.map(({ length }) => length), bytes: Buffer.concat(pieces) };
}

test.each([
  ["smaller than a piece", [300, 300, 300, 300], [1_000, 200]],
  ["larger than two pieces", [2_500, 100], [1_000, 1_000, 600]],
  ["just one piece", [400, 600], [1_000]],
  ["none", [], []],
  ["empty", [0], []],
])("chunks that are %s come in pieces, in their order", async (_name, chunkSizes, sizes) => {
  const chunks = chunkSizes.map((size) => randomBytes(size));
  const pieces = new PiecePool(1_000, 1);
  expect(await sizesAndBytes(chunks, { pieces })).toEqual({ sizes, bytes: Buffer.concat(chunks) });
  expect(pieces.take()).not.toBeNull(); // all were recycled
});

test("without a piece left, chunks are handed on as they come, until there is one again", async () => {
  const pieces = new PiecePool(1_000, 1);
  const taken = pieces.take() as Buffer;
  const chunks = [randomBytes(300), randomBytes(400), randomBytes(500)];
  const all = Buffer.concat(chunks);
  const got: Buffer[] = [];
  const shared: boolean[] = [];
  for await (const piece of inPieces(each(chunks), { chunksAreOwn: true, pieces })) {
    got.push(Buffer.from(piece));
    shared.push(isShared(piece));
    if (got.length === 2) recycle(taken);
  }
  expect(Buffer.concat(got)).toEqual(all);
  expect(shared).toEqual([false, false, true]);
});

test("what does not fit into the last piece there is goes on as it came", async () => {
  const pieces = new PiecePool(1_000, 1);
  const chunk = randomBytes(1_700);
  const got: Uint8Array[] = [];
  for await (const piece of inPieces(each([chunk]), { chunksAreOwn: true, pieces })) got.push(piece);
  expect(got.map(({ length }) => length)).toEqual([1_000, 700]);
  expect(Buffer.concat(got)).toEqual(chunk);
});

test("the memory of own chunks is freed when they were copied; what else lies in it is left alone", async () => {
  const pieces = new PiecePool(1_000, 2);
  const [whole, other] = [owned(randomBytes(300)), owned(randomBytes(300))];
  const part = owned(randomBytes(300)).subarray(10);
  await sizesAndBytes([whole, part], { chunksAreOwn: true, pieces });
  await sizesAndBytes([other], { pieces });
  expect([whole, part, other].map(({ length }) => length)).toEqual([0, 290, 300]);
});

test("a source that breaks off, and a reader that does, leave no piece behind", async () => {
  const pieces = new PiecePool(1_000, 1);
  const broken = inPieces(each([randomBytes(10)], new Error("broke off")), { pieces });
  await expect(broken.next()).rejects.toThrow("broke off");
  const left = inPieces(each([randomBytes(1_500)]), { pieces });
  recycle((await left.next()).value as Uint8Array);
  await left.return(undefined);
  expect(pieces.take()).not.toBeNull();
});
