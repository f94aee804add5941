import type { FileHandle } from "node:fs/promises";
import type { ByteBudget } from "../core/byte-budget.ts";
import { CaskError } from "../core/errors.ts";
import {
  READ_CHUNK_BYTES,
  READ_LARGE_CHUNK_BYTES,
  READ_LARGE_PIECES_KEPT_COUNT,
  WHOLE_BLOB_MAX_BYTES,
} from "../core/limits.ts";
import { PiecePool } from "../core/piece-pool.ts";
import { storageFailure } from "./storage-failure.ts";

/** Bytes are written over before they are seen: it may be shared by all. */
const LARGE_PIECES = new PiecePool(READ_LARGE_CHUNK_BYTES, READ_LARGE_PIECES_KEPT_COUNT);

export interface ReadRangeOptions {
  readonly handle: FileHandle;
  readonly start: number;
  /** Included. */
  readonly end: number;
  /** For messages. */
  readonly path: string;
  /** Large pieces are taken from it for as long as their reader has them; without any left pieces are small. */
  readonly pieces: ByteBudget;
}

/**
 * The bytes from `start` to `end` of an open file, by position: several readers of one descriptor are fine.
 * A small range comes in one piece; a large one begins with a small piece. Rejects with STORAGE_FAILED when bytes are missing.
 */
export async function* readRange(options: ReadRangeOptions): AsyncGenerator<Uint8Array> {
  const { start, end, pieces } = options;
  const length = end + 1 - start;
  if (length <= 0) return;
  if (length <= WHOLE_BLOB_MAX_BYTES) return yield await readPiece(options, start, Buffer.allocUnsafeSlow(length));
  for (let at = start; at <= end; ) {
    const [least, wanted] = [READ_CHUNK_BYTES, READ_LARGE_CHUNK_BYTES].map((bytes) => Math.min(bytes, end + 1 - at));
    const isLarge = at > start && pieces.tryTake(READ_LARGE_CHUNK_BYTES);
    const piece = (isLarge ? wanted : least) as number;
    try {
      const into = isLarge && piece === READ_LARGE_CHUNK_BYTES ? LARGE_PIECES.take() : Buffer.allocUnsafeSlow(piece);
      yield await readPiece(options, at, into);
    } finally {
      if (isLarge) pieces.give(READ_LARGE_CHUNK_BYTES);
    }
    at += piece;
  }
}

async function readPiece({ handle, path }: ReadRangeOptions, at: number, into: Buffer): Promise<Buffer> {
  for (let filled = 0; filled < into.length; ) {
    const { bytesRead } = await handle
      .read(into, filled, into.length - filled, at + filled)
      .catch((error: unknown) => Promise.reject(storageFailure(error, `reading ${path}`)));
    if (bytesRead === 0) throw new CaskError("STORAGE_FAILED", `${path} is shorter than it was when it was opened`);
    filled += bytesRead;
  }
  return into;
}
