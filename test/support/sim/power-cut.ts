import type { Random } from "../../../src/core/random.ts";

/** What a power cut spares. Now and then it takes all that was not synced, or nothing, or anything between. */
export class PowerCut {
  private readonly random: Random;
  private readonly share: number;

  constructor(random: Random) {
    this.random = random;
    const kind = random.next();
    this.share = kind < 0.25 ? 0 : kind < 0.4 ? 1 : random.next();
  }

  spares(): boolean {
    return this.random.next() < this.share;
  }

  /** How many of the bytes of an un-synced write reached the platter. */
  sparedBytes(length: number): number {
    if (!this.spares()) return 0;
    return this.random.next() < 0.3 ? Math.floor(this.random.next() * length) : length;
  }
}
