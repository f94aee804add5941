import { BodyHasher } from "../core/body-hasher.ts";
import { CaskError } from "../core/errors.ts";
import type { Key } from "../core/key.ts";
import type { BlobBody } from "../peer/peer.ts";
import { PieceFingerprints } from "./piece-fingerprints.ts";

/**
 * Finds out whether a body is the blob of its key, as it passes: by its hash, or by the fingerprints of a copy that was hashed before and has not changed
 * since. The holder of the copy is told what its bytes hashed to, and when they have others than they had.
 */
export class BodyCheck {
  private readonly body: BlobBody;
  private readonly key: Key;
  private readonly known: Buffer | null;
  private readonly pieces: PieceFingerprints | null;
  private readonly hasher = new BodyHasher();
  private digest: Key | undefined;

  constructor(body: BlobBody, key: Key) {
    this.body = body;
    this.key = key;
    this.known = body.fingerprints?.known() ?? null;
    this.pieces = body.fingerprints ? new PieceFingerprints(body.sizeBytes) : null;
  }

  /** As `BodyHasher.update`. Rejects with CORRUPT as soon as a piece is another than it was. */
  update(bytes: Uint8Array): Promise<void> | undefined {
    const hashed = this.known ? undefined : this.hasher.update(bytes);
    this.pieces?.add(bytes); // while the thread hashes
    return this.known && !this.pieces?.areSame(this.known) ? this.changed() : hashed;
  }

  /** In place of `update` where all of the bytes were given before. */
  async last(bytes: Uint8Array): Promise<void> {
    const digest = this.known ? undefined : this.hasher.digest(bytes);
    this.pieces?.add(bytes);
    this.digest = await digest;
  }

  /** After all bytes. Rejects with CORRUPT. */
  async judge(): Promise<void> {
    const pieces = this.pieces?.all();
    if (this.known) return pieces?.equals(this.known) ? undefined : this.changed();
    const digest = this.digest ?? (await this.hasher.digest());
    const matches = digest === this.key;
    await this.body.hashed(matches ? "verified" : "corrupt");
    if (!matches) throw new CaskError("CORRUPT", `a copy of ${this.key} hashes to ${digest}`);
    if (pieces) this.body.fingerprints?.note(pieces);
  }

  /** Gives up what was begun. */
  close(): void {
    this.hasher.close();
  }

  private async changed(): Promise<void> {
    this.body.fingerprints?.forget();
    await this.body.hashed("corrupt");
    throw new CaskError("CORRUPT", `a copy of ${this.key} has other bytes than when it was hashed last`);
  }
}
