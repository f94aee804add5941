import { FINGERPRINT_BYTES, Fingerprinter } from "../core/fingerprint.ts";
import { READ_CHUNK_BYTES, READ_LARGE_CHUNK_BYTES, WHOLE_BLOB_MAX_BYTES } from "../core/limits.ts";

/**
 * The fingerprints of a body as it passes, one for each piece of it. The pieces are those that a large file is read in when there is memory for it, so that each of
 * these is whole when it was added; a body of at most WHOLE_BLOB_MAX_BYTES is one. How it is cut into chunks does not matter.
 */
export class PieceFingerprints {
  private readonly done: Buffer[] = [];
  private under: Fingerprinter | null = null;
  private leftBytes: number;
  private comparedCount = 0;

  constructor(sizeBytes: number) {
    this.leftBytes = sizeBytes <= WHOLE_BLOB_MAX_BYTES ? sizeBytes : READ_CHUNK_BYTES;
  }

  add(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      const part = bytes.subarray(at, at + this.leftBytes);
      this.under ??= new Fingerprinter();
      this.under.update(part);
      at += part.length;
      this.leftBytes -= part.length;
      if (this.leftBytes === 0) this.endPiece(this.under);
    }
  }

  /** Are the pieces that are complete now those that had these fingerprints? */
  areSame(known: Buffer): boolean {
    for (; this.comparedCount < this.done.length; this.comparedCount++) {
      const at = this.comparedCount * FINGERPRINT_BYTES;
      if (!this.done[this.comparedCount]?.equals(known.subarray(at, at + FINGERPRINT_BYTES))) return false;
    }
    return true;
  }

  /** After the last bytes: those of all pieces, one behind the other. */
  all(): Buffer {
    if (this.under) this.endPiece(this.under);
    return Buffer.concat(this.done);
  }

  private endPiece(piece: Fingerprinter): void {
    this.done.push(piece.digest());
    this.under = null;
    this.leftBytes = READ_LARGE_CHUNK_BYTES;
  }
}
