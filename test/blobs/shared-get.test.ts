import { randomBytes } from "node:crypto";
import { BlobCache } from "../../src/blobs/blob-cache.ts";
import type { Opened } from "../../src/blobs/get.ts";
import { SharedGet } from "../../src/blobs/shared-get.ts";
import { type Key, keyOfBytes } from "../../src/core/key.ts";
import { WHOLE_BLOB_MAX_BYTES } from "../../src/core/limits.ts";
import type { StoredBlob } from "../../src/storage/backend.ts";

function storedOf(bytes: Buffer): StoredBlob {
  return {
    sizeBytes: bytes.length,
    async *chunks() {
      for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536);
    },
    close: async () => undefined,
  } as Partial<StoredBlob> as StoredBlob;
}

/** `record` or `file`: what lies under the key of `blob`. */
function setUp(blob: Buffer, found: { record?: Buffer; file?: Buffer } | "fails") {
  const cache = new BlobCache(2 ** 20);
  const corrupt: Key[] = [];
  const fail = async () => Promise.reject(new Error("EIO"));
  const copies =
    found === "fails"
      ? { open: fail, record: fail }
      : {
          open: async () => found.record ?? (found.file ? storedOf(found.file) : null),
          record: async () => found.record ?? null,
        };
  const get = new SharedGet({ copies, cache, onCorrupt: (key) => void corrupt.push(key) });
  return { get, cache, corrupt, key: keyOfBytes(blob) };
}

async function bytesOf(opened: Opened | null): Promise<Buffer | null> {
  if (!opened) return null;
  if (opened.kind === "whole") return opened.bytes;
  const parts: Uint8Array[] = [];
  for await (const chunk of opened.chunks) parts.push(chunk);
  return Buffer.concat(parts);
}

const SMALL = Buffer.from("a small blob");
const LARGE = randomBytes(WHOLE_BLOB_MAX_BYTES + 100_000);

test("a record is given when it hashes to the key, and is at hand from then on", async () => {
  for (const open of ["open", "openRecord"] as const) {
    const { get, key } = setUp(SMALL, { record: SMALL });
    expect(get.atHand(key)).toBeNull();
    expect(await bytesOf(await get[open](key))).toEqual(SMALL);
    expect(get.atHand(key)?.bytes).toEqual(SMALL);
  }
});

test("C4: bytes that don't hash to the key are never given, from a record or a file: the owner is to be asked", async () => {
  const wrong = Buffer.from("a small blot");
  for (const found of [{ record: wrong }, { file: wrong }]) {
    const { get, key } = setUp(SMALL, found);
    expect([await get.open(key), await get.openRecord(key), get.atHand(key)]).toEqual([null, null, null]);
  }
});

test("what is not here, and what can't be read, is the owner's to answer", async () => {
  for (const found of [{}, "fails"] as const) {
    const { get, key } = setUp(SMALL, found);
    expect([await get.open(key), await get.openRecord(key)]).toEqual([null, null]);
  }
});

test("a file is given by `open` alone, whatever its size", async () => {
  for (const bytes of [SMALL, LARGE]) {
    const { get, key, corrupt } = setUp(bytes, { file: bytes });
    expect(await get.openRecord(key)).toBeNull();
    expect((await bytesOf(await get.open(key)))?.equals(bytes)).toBe(true);
    expect(corrupt).toEqual([]);
  }
});

test("C5: a large file that is wrong is never given to its end, and the owner is told", async () => {
  const wrong = Buffer.from(LARGE);
  wrong[10] = (wrong[10] as number) ^ 1;
  const { get, key, corrupt } = setUp(LARGE, { file: wrong });
  await expect(bytesOf(await get.open(key))).rejects.toMatchObject({ code: "CORRUPT" });
  expect(corrupt).toEqual([key]);
});

test("a large file that was hashed is known again by this thread, too; one that has changed is cut, and the owner is told", async () => {
  const file = Buffer.from(LARGE);
  const { get, key, corrupt } = setUp(LARGE, { file });
  for (let time = 0; time < 2; time++) expect((await bytesOf(await get.open(key)))?.equals(LARGE)).toBe(true);
  file[70_000] = (file[70_000] as number) ^ 1;
  await expect(bytesOf(await get.open(key))).rejects.toMatchObject({
    code: "CORRUPT",
    message: expect.stringContaining("than when it was hashed"),
  });
  expect(corrupt).toEqual([key]);
});
