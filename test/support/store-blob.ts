import { type Key, keyOfBytes } from "../../src/core/key.ts";
import { type PiecePool, recycle } from "../../src/core/piece-pool.ts";
import type { Backend, CommitOutcome, StoredBlob } from "../../src/storage/backend.ts";

/** Stores bytes the way the service does: staged in chunks, committed under a key, released. */
export async function storeBlob(
  backend: Pick<Backend, "stage">,
  bytes: Uint8Array,
  { key = keyOfBytes(bytes), chunkBytes = 64 * 1024 }: { key?: Key; chunkBytes?: number } = {},
): Promise<{ key: Key; outcome: CommitOutcome }> {
  const stage = await backend.stage(bytes.length);
  try {
    for (let at = 0; at < bytes.length; at += chunkBytes) await stage.write(bytes.subarray(at, at + chunkBytes));
    return { key, outcome: await stage.commit(key) };
  } finally {
    await stage.abort();
  }
}

/** Stores bytes that came in as one piece of a pool, if one is free; perhaps they go to the disk from there. */
export async function storePiece(
  backend: Pick<Backend, "stage">,
  bytes: Uint8Array,
  pool: PiecePool,
): Promise<CommitOutcome> {
  const stage = await backend.stage(bytes.length);
  const piece = pool.take();
  piece?.set(bytes);
  try {
    await stage.write(piece?.subarray(0, bytes.length) ?? bytes);
    return await stage.commit(keyOfBytes(bytes));
  } finally {
    if (piece) recycle(piece);
    await stage.abort();
  }
}

export async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const chunk of chunks) parts.push(chunk);
  return Buffer.concat(parts);
}

/** The bytes of a key, or null. */
export async function fetchBlob(backend: Pick<Backend, "get">, key: Key): Promise<Buffer | null> {
  const blob = await backend.get(key);
  return blob ? readAndClose(blob) : null;
}

export async function readAndClose(blob: StoredBlob, start?: number, end?: number): Promise<Buffer> {
  try {
    return await collect(blob.chunks(start, end));
  } finally {
    await blob.close();
  }
}

export async function listKeys(backend: Pick<Backend, "keys">, from?: Key, to?: Key): Promise<Key[]> {
  const keys: Key[] = [];
  for await (const key of backend.keys(from, to)) keys.push(key);
  return keys;
}

/** Bytes that look random and are the same in every run. */
export function bytesOf(sizeBytes: number, seed = 1): Buffer {
  const bytes = Buffer.allocUnsafe(sizeBytes);
  let state = seed >>> 0 || 1;
  for (let i = 0; i < sizeBytes; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[i] = state & 0xff;
  }
  return bytes;
}
