import { suspicionMs } from "./formulas.ts";

export interface SuspicionOptions {
  /** Who accused first. */
  readonly from: string;
  readonly wanted: number;
  readonly minMs: number;
  readonly maxMs: number;
  readonly nowMs: number;
}

/** One suspected member's time to live, which gets shorter as others accuse it too. */
export class Suspicion {
  private readonly accusers: Set<string>;
  private readonly options: SuspicionOptions;
  private beganMs: number;

  constructor(options: SuspicionOptions) {
    this.options = options;
    this.accusers = new Set([options.from]);
    this.beganMs = options.nowMs;
  }

  get confirmations(): number {
    return this.accusers.size - 1;
  }

  get minMs(): number {
    return this.options.minMs;
  }

  /** Another accuser. False when it adds nothing: it accused before, or there are enough (so the set is bounded). */
  confirm(from: string): boolean {
    if (this.confirmations >= this.options.wanted || this.accusers.has(from)) return false;
    this.accusers.add(from);
    return true;
  }

  /** When the member is dead unless it was heard. May lie in the past. */
  dueMs(): number {
    const { wanted, minMs, maxMs } = this.options;
    return this.beganMs + suspicionMs({ confirmations: this.confirmations, wanted, minMs, maxMs });
  }

  /** This process stood still for so long: the accused had no chance to be heard. */
  postpone(ms: number): void {
    this.beganMs += ms;
  }
}
