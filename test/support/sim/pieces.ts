import { keyOfBytes } from "../../../src/core/key.ts";
import { STAGED_PIECE_LEAST_BYTES } from "../../../src/core/limits.ts";
import { PiecePool, recycle } from "../../../src/core/piece-pool.ts";
import type { SeededRandom } from "../../../src/core/random.ts";
import type { Backend } from "../../../src/storage/backend.ts";
import { type CrashedStorage, filesOnly } from "./crashes.ts";

const PIECE_BYTES = 512 * 1024;

/** Files of blobs that come in as one piece of memory: they are written past the page cache. */
export class PieceFiles {
  private readonly pool = new PiecePool(PIECE_BYTES, 3, { aligned: true });
  /** In this life. One that ends gives nothing back: none of its calls ends. */
  private taken = new Set<Buffer>();

  storage(files: CrashedStorage = filesOnly()): CrashedStorage {
    return {
      ...files,
      open: (disk, life) => {
        for (const piece of this.taken) for (let user = 0; user < 2; user++) recycle(piece);
        this.taken = new Set();
        return files.open(disk, life);
      },
      store: (backend, bytes) => this.store(backend, bytes),
      blobSizes: (random: SeededRandom) =>
        // Just enough for a stage to keep its piece, in whole blocks and not.
        Array.from({ length: 6 }, (_, i) => STAGED_PIECE_LEAST_BYTES + (i % 2) * Math.floor(random.next() * 10_000)),
    };
  }

  private async store(backend: Backend, bytes: Buffer): Promise<void> {
    const { taken } = this;
    const stage = await backend.stage(bytes.length);
    if (taken !== this.taken) return new Promise(() => undefined); // after the death nobody is answered
    const piece = this.pool.take();
    if (!piece) throw new Error("more are stored at a time than there are pieces");
    taken.add(piece);
    piece.set(bytes);
    try {
      await stage.write(piece.subarray(0, bytes.length));
      if (taken === this.taken) recycle(piece);
      await stage.commit(keyOfBytes(bytes));
    } finally {
      await stage.abort();
    }
  }
}
