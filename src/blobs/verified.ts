import { BodyHasher } from "../core/body-hasher.ts";
import { CaskError } from "../core/errors.ts";
import type { Key } from "../core/key.ts";
import { WHOLE_BLOB_MAX_BYTES } from "../core/limits.ts";
import { recycle } from "../core/piece-pool.ts";
import type { BlobBody } from "../peer/peer.ts";
import { BodyCheck } from "./body-check.ts";

/** Small enough to be read and hashed whole before the first byte leaves? */
export function isSmall(sizeBytes: number): boolean {
  return sizeBytes <= WHOLE_BLOB_MAX_BYTES;
}

/** The choke point: no byte of a blob reaches anybody but through one of these two, which hash it. */

/**
 * Reads a body of at most WHOLE_BLOB_MAX_BYTES and hashes it. Rejects with CORRUPT when the bytes do not match the key, after the
 * holder of the copy was told. The body is closed in any case. Who is done with the bytes may recycle them.
 */
export async function readVerified(body: BlobBody, key: Key): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  try {
    const size = await readInto(parts, body, key);
    if (parts.length === 1) return asBuffer(parts.pop() as Uint8Array);
    return Buffer.concat(parts, size);
  } finally {
    for (const part of parts) recycle(part);
  }
}

async function readInto(parts: Uint8Array[], body: BlobBody, key: Key): Promise<number> {
  let size = 0;
  let isWhole = false;
  const check = new BodyCheck(body, key);
  try {
    for await (const chunk of body.chunks) {
      if (chunk.length === 0) continue;
      parts.push(chunk);
      size += chunk.length;
      if (isWhole || size > WHOLE_BLOB_MAX_BYTES) throw longer(key, body);
      isWhole = size === body.sizeBytes;
      await (isWhole ? check.last(chunk) : check.update(chunk));
    }
  } finally {
    check.close();
    body.close();
  }
  await check.judge();
  return size;
}

/**
 * The bytes of a body of any size, as they come, the last chunk held back until the hash of all is known: whoever gets the
 * last byte got right ones. Rejects with CORRUPT instead of giving it. It may be hashed while its reader has it.
 */
export async function* verifiedChunks(body: BlobBody, key: Key): AsyncGenerator<Uint8Array> {
  const check = new BodyCheck(body, key);
  let received = 0;
  let last: Uint8Array | undefined;
  try {
    try {
      for await (const chunk of body.chunks) {
        received += chunk.length;
        if (last !== undefined || received > body.sizeBytes) throw longer(key, body);
        if (received === body.sizeBytes) {
          last = chunk;
          await check.last(chunk);
        } else {
          await check.update(chunk);
          yield chunk;
        }
      }
    } finally {
      body.close();
    }
    await check.judge();
    if (last) yield last;
  } finally {
    check.close();
  }
}

/** Of a copy that grew while it was read, or of a peer that sends more than it said. */
function longer(key: Key, { sizeBytes }: BlobBody): CaskError {
  return new CaskError("CORRUPT", `a copy of ${key} goes on after the ${sizeBytes} bytes that it was said to have`);
}

/** Hashes a body to its end without keeping it. Answers whether it matches; the holder of the copy is told either way. */
export async function verify(body: BlobBody, key: Key): Promise<boolean> {
  const hasher = new BodyHasher();
  try {
    for await (const chunk of body.chunks) {
      const hashed = hasher.update(chunk);
      recycle(chunk);
      await hashed;
    }
  } catch (error) {
    hasher.close();
    throw error;
  } finally {
    body.close();
  }
  const matches = (await hasher.digest()) === key;
  await body.hashed(matches ? "verified" : "corrupt");
  return matches;
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
