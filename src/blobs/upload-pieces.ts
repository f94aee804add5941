import { UPLOAD_PIECE_BYTES, UPLOAD_PIECES_MAX_COUNT } from "../core/limits.ts";
import { copyInto, freeAlone, PiecePool, recycle } from "../core/piece-pool.ts";

/** Bytes are written over before they are seen: they may be shared by all. Aligned: a disk takes them from there. */
export const UPLOAD_PIECES = new PiecePool(UPLOAD_PIECE_BYTES, UPLOAD_PIECES_MAX_COUNT, { aligned: true });

export interface InPiecesOptions {
  /** Nobody else looks at a chunk, whose memory is freed as soon as its bytes were copied. */
  readonly chunksAreOwn?: boolean;
  readonly pieces?: PiecePool;
}

/**
 * What comes in by small chunks, copied together into pieces that are worth a trip to the disk, and that another thread can hash. Each is to be
 * recycled by who gets it. While others have all of them, chunks are handed on as they come.
 */
export async function* inPieces(
  chunks: AsyncIterable<Uint8Array>,
  { chunksAreOwn = false, pieces = UPLOAD_PIECES }: InPiecesOptions = {},
): AsyncGenerator<Uint8Array> {
  let piece: Buffer | null = null;
  let filled = 0;
  try {
    for await (const chunk of chunks) {
      let at = 0;
      while (at < chunk.length) {
        piece ??= pieces.take();
        if (!piece) break;
        const part = chunk.subarray(at, at + piece.length - filled);
        copyInto(piece, part, filled);
        at += part.length;
        filled += part.length;
        if (filled < piece.length) continue;
        const full = piece;
        piece = null;
        filled = 0;
        yield full;
      }
      if (at < chunk.length) yield chunk.subarray(at);
      else if (chunksAreOwn) freeAlone(chunk);
    }
    if (!piece) return;
    const rest = piece.subarray(0, filled);
    piece = null;
    yield rest;
  } finally {
    if (piece) recycle(piece);
  }
}
