import type { Clock } from "../core/clock.ts";
import { CaskError } from "../core/errors.ts";
import { SPACE_LOOK_MAX_AGE_MS, STAGE_RESERVE_BYTES, WHOLE_BLOB_MAX_BYTES } from "../core/limits.ts";
import type { Logger } from "../core/log.ts";
import type { Backend, Space } from "../storage/backend.ts";

/** Above CASK_KEEP_FREE by this much, a node that had become read-only takes blobs again. */
const HYSTERESIS = 1.1;

export interface SpaceWatchOptions {
  readonly backend: Pick<Backend, "space">;
  readonly keepFreeBytes: number;
  /** The operator's word (CASK_WRITEABLE): space only narrows it. */
  readonly writeable: boolean;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Knows how much space is left, and decides from it, the setting and the disk's health whether this node takes new blobs. */
export class SpaceWatch {
  private readonly options: SpaceWatchOptions;
  private space: Space = { freeBytes: null, totalBytes: null };
  private lookedAtMs = Number.NEGATIVE_INFINITY;
  private low = false;
  private diskHangs = false;

  constructor(options: SpaceWatchOptions) {
    this.options = options;
  }

  get isWriteable(): boolean {
    return this.options.writeable && !this.low && !this.diskHangs;
  }

  get isLow(): boolean {
    return this.low;
  }

  /** Null where the backend has no such figure: unknown is not zero. */
  get freeBytes(): number | null {
    return this.space.freeBytes;
  }

  /** Why this node takes no new blobs; null when it does. */
  get reason(): string | null {
    const { writeable, keepFreeBytes } = this.options;
    if (!writeable) return "CASK_WRITEABLE is false";
    if (this.low) return `only ${this.space.freeBytes} bytes are free, CASK_KEEP_FREE is ${keepFreeBytes}`;
    return this.diskHangs ? "the disk does not answer" : null;
  }

  /** Looks again, unless the last look is fresh. Keeps the last figure when the look fails. */
  async look(maxAgeMs = SPACE_LOOK_MAX_AGE_MS): Promise<void> {
    const { backend, clock, log, keepFreeBytes } = this.options;
    if (clock.nowMs() - this.lookedAtMs < maxAgeMs) return;
    this.lookedAtMs = clock.nowMs();
    try {
      this.space = await backend.space();
    } catch (error) {
      log.warn({ err: error }, "free space could not be read; the last figure stands");
      return;
    }
    const free = this.space.freeBytes;
    const wasLow = this.low;
    this.low = free !== null && free < keepFreeBytes * (wasLow ? HYSTERESIS : 1);
    if (this.low === wasLow) return;
    const advice = "make room, add a node, or set CASK_KEEP_FREE lower";
    if (this.low)
      log.warn(
        { freeBytes: free, keepFreeBytes },
        `${free} bytes free, less than CASK_KEEP_FREE (${keepFreeBytes}): read-only; ${advice}`,
      );
    else log.info({ freeBytes: free }, "enough space again: takes new blobs");
  }

  noteDiskAnswer(answered: boolean): void {
    if (this.diskHangs === !answered) return;
    this.diskHangs = !answered;
    if (answered) this.options.log.info({}, "the disk answers again");
    else this.options.log.error({}, "the disk does not answer: read-only until it does");
  }

  /**
   * Rejects with NO_SPACE when a body can't be taken in here, even to be sent on. Small ones stay in memory on their way.
   * `sizeBytes`: undefined when the client does not say.
   */
  async admit(sizeBytes: number | undefined): Promise<void> {
    await this.look();
    const free = this.space.freeBytes;
    if (free === null || (sizeBytes !== undefined && sizeBytes <= WHOLE_BLOB_MAX_BYTES)) return;
    if (free - (sizeBytes ?? 0) < STAGE_RESERVE_BYTES) {
      throw new CaskError(
        "NO_SPACE",
        `${free} bytes are free on this node: too few to take this file in; ask another node`,
      );
    }
  }
}
