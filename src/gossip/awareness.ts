/**
 * Lifeguard's opinion of oneself: 0 is well. Each sign that this node is slow raises the score, and a higher one makes it wait longer
 * before it accuses others.
 */
export class Awareness {
  private current = 0;
  private readonly maxScore: number;

  /** `maxMultiplier`: how many times longer a probe may become. */
  constructor(maxMultiplier: number) {
    this.maxScore = maxMultiplier - 1;
  }

  get score(): number {
    return this.current;
  }

  apply(delta: number): void {
    this.current = Math.min(this.maxScore, Math.max(0, this.current + delta));
  }

  /** `doubts`: so many further signs that are not certain yet. */
  scale(ms: number, doubts = 0): number {
    return ms * (Math.min(this.maxScore, this.current + doubts) + 1);
  }
}
