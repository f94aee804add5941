import type { IncomingMessage } from "node:http";
import { Readable } from "node:stream";
import { UPLOAD_PIECES } from "../../src/blobs/upload-pieces.ts";
import { isPageAligned, recycle } from "../../src/core/piece-pool.ts";
import { smallUploadOf, uploadOf } from "../../src/http/upload.ts";
import { ManualClock } from "../support/manual-clock.ts";

/** As the parser hands it on: with what has come of the body it announced. */
function request(body: string, announced: number): IncomingMessage {
  return Object.assign(Readable.from([Buffer.from(body)], { objectMode: false }), {
    headers: { "content-length": String(announced) },
  }) as never;
}

const options = { stallMs: 1_000, clock: new ManualClock() };
const tooShort = { code: "BAD_REQUEST", message: "the body ended after 3 of 10 bytes" };

test("a small body that ends before all that was announced has come is no file", async () => {
  const upload = await uploadOf(request("abc", 10), options);
  if (!("whole" in upload)) throw new Error("it is small");
  await expect(upload.whole()).rejects.toMatchObject(tooShort);
  await expect(smallUploadOf(request("abc", 10), options)).rejects.toMatchObject(tooShort);
});

test("nor is a large one", async () => {
  const upload = await uploadOf(request("abc", 100_000), options);
  if ("whole" in upload) throw new Error("it is large");
  const all = async () => {
    for await (const _chunk of upload.chunks);
  };
  await expect(all()).rejects.toMatchObject({ ...tooShort, message: "the body ended after 3 of 100000 bytes" });
});

async function chunksOf(body: string): Promise<Uint8Array[]> {
  const upload = await uploadOf(request(body, body.length), options);
  if ("whole" in upload) throw new Error("it is large");
  const chunks: Uint8Array[] = [];
  for await (const chunk of upload.chunks) chunks.push(chunk);
  return chunks;
}

function pieces(): Buffer[] {
  const taken: Buffer[] = [];
  for (let piece = UPLOAD_PIECES.take(); piece; piece = UPLOAD_PIECES.take()) taken.push(piece);
  for (const piece of taken) recycle(piece);
  return taken;
}

test("one of up to a piece comes in one, which is free when it is recycled", async () => {
  const count = pieces().length;
  const body = "0123456789".repeat(20_000);
  const [chunk, more] = (await chunksOf(body)) as [Buffer, Buffer?];
  expect([isPageAligned(chunk), chunk.toString(), more]).toEqual([true, body, undefined]);
  expect(pieces()).toHaveLength(count - 1);
  recycle(chunk);
  expect(pieces()).toHaveLength(count);
});

test("one that breaks off, and one that nobody reads, leave all pieces free", async () => {
  const count = pieces().length;
  await uploadOf(request("abc", 100_000), options);
  const upload = await uploadOf(request("abc", 100_000), options);
  if ("whole" in upload) throw new Error("it is large");
  await expect(upload.chunks[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: tooShort.code });
  expect(pieces()).toHaveLength(count);
});

test("without a free piece it comes as it came in, and must be complete, too", async () => {
  const taken: Buffer[] = [];
  for (let piece = UPLOAD_PIECES.take(); piece; piece = UPLOAD_PIECES.take()) taken.push(piece);
  try {
    const body = "0123456789".repeat(20_000);
    const chunks = await chunksOf(body);
    expect([Buffer.concat(chunks).toString(), chunks.some(isPageAligned)]).toEqual([body, false]);
    const upload = await uploadOf(request("abc", 100_000), options);
    if ("whole" in upload) throw new Error("it is large");
    const all = async () => {
      for await (const _chunk of upload.chunks);
    };
    await expect(all()).rejects.toMatchObject({ code: "BAD_REQUEST" });
  } finally {
    for (const piece of taken) recycle(piece);
  }
});

test("a small one is given whole, with the key that was named", async () => {
  const req = request("abc", 3);
  req.headers["x-content-sha1"] = "A9993E364706816ABA3E25717850C26C9CD0D89D";
  const { bytes, expected } = await smallUploadOf(req, options);
  expect([bytes.toString(), expected]).toEqual(["abc", "sha1:a9993e364706816aba3e25717850c26c9cd0d89d"]);
});
