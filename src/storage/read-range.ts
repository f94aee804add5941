import type { FileHandle } from "node:fs/promises";
import type { ByteBudget } from "../core/byte-budget.ts";
import { CaskError } from "../core/errors.ts";
import {
  READ_CHUNK_BYTES,
  READ_LARGE_CHUNK_BYTES,
  READ_LARGE_PIECES_MAX_COUNT,
  READ_WHOLE_PIECES_MAX_COUNT,
  WHOLE_BLOB_MAX_BYTES,
} from "../core/limits.ts";
import { PiecePool, recycle } from "../core/piece-pool.ts";
import { storageFailure } from "./storage-failure.ts";

/** Bytes are written over before they are seen: they may be shared by all. */
const LARGE_PIECES = new PiecePool(READ_LARGE_CHUNK_BYTES, READ_LARGE_PIECES_MAX_COUNT);
const WHOLE_PIECES = new PiecePool(WHOLE_BLOB_MAX_BYTES, READ_WHOLE_PIECES_MAX_COUNT);
const FIRST_PIECES = new PiecePool(READ_CHUNK_BYTES, READ_LARGE_PIECES_MAX_COUNT);

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

/** A piece that is being read. */
interface Piece {
  readonly sizeBytes: number;
  readonly isLarge: boolean;
  readonly bytes: Promise<Buffer>;
  /** Gives back what it took of the budget. */
  readonly release: () => void;
}

/**
 * The bytes from `start` to `end` of an open file, by position: several readers of one descriptor are fine.
 * A small range comes in one piece; a large one begins with a small piece, and then each large piece is read while its reader still has the
 * one before. Rejects with STORAGE_FAILED when bytes are missing. Who gives it up does not wait for what was read ahead.
 */
export async function* readRange(options: ReadRangeOptions): AsyncGenerator<Uint8Array> {
  const { start, end } = options;
  const length = end + 1 - start;
  if (length <= 0) return;
  if (length <= WHOLE_BLOB_MAX_BYTES) return yield await readWhole(options, start, length);
  let ahead: Piece | null = null;
  try {
    for (let at = start; at <= end; ) {
      const piece: Piece = ahead ?? beginLarge(options, at) ?? beginSmall(options, at);
      ahead = null;
      try {
        const bytes = await piece.bytes;
        at += piece.sizeBytes;
        if (piece.isLarge && at <= end) ahead = beginLarge(options, at);
        yield bytes;
      } finally {
        piece.release();
      }
    }
  } finally {
    if (ahead) giveUp(ahead);
  }
}

/** Memory that is made anew for each read costs more than the read: page faults, and the garbage collector that comes for it. */
async function readWhole(options: ReadRangeOptions, start: number, length: number): Promise<Buffer> {
  const piece = length > READ_CHUNK_BYTES ? WHOLE_PIECES.take() : null;
  try {
    return await readPiece(options, start, piece ? piece.subarray(0, length) : Buffer.allocUnsafeSlow(length));
  } catch (error) {
    if (piece) recycle(piece);
    throw error;
  }
}

/** Null for the first piece, and when others have all there is for large ones. */
function beginLarge(options: ReadRangeOptions, at: number): Piece | null {
  const { start, end, pieces } = options;
  if (at === start || !pieces.tryTake(READ_LARGE_CHUNK_BYTES)) return null;
  const sizeBytes = Math.min(READ_LARGE_CHUNK_BYTES, end + 1 - at);
  const release = () => pieces.give(READ_LARGE_CHUNK_BYTES);
  return { sizeBytes, isLarge: true, bytes: begin(options, at, memoryOf(LARGE_PIECES, sizeBytes)), release };
}

function beginSmall(options: ReadRangeOptions, at: number): Piece {
  const sizeBytes = Math.min(READ_CHUNK_BYTES, options.end + 1 - at);
  const release = () => undefined;
  const into = at === options.start ? memoryOf(FIRST_PIECES, sizeBytes) : Buffer.allocUnsafeSlow(sizeBytes);
  return { sizeBytes, isLarge: false, bytes: begin(options, at, into), release };
}

function memoryOf(pool: PiecePool, sizeBytes: number): Buffer {
  return (sizeBytes === pool.pieceBytes && pool.take()) || Buffer.allocUnsafeSlow(sizeBytes);
}

function begin(options: ReadRangeOptions, at: number, into: Buffer): Promise<Buffer> {
  const reading = readPiece(options, at, into);
  reading.catch(() => undefined); // told to who comes for the piece, if anybody does
  return reading;
}

/** Its memory is in use until the system is done with it, and a disk may hang. */
function giveUp({ bytes, release }: Piece): void {
  bytes.then(recycle, () => undefined).then(release);
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
