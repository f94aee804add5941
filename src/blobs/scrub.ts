import type { Clock } from "../core/clock.ts";
import { CaskError, hasCode, messageOf } from "../core/errors.ts";
import type { Key } from "../core/key.ts";
import { keyAfter } from "../core/key-range.ts";
import {
  SCRUB_AT_ONCE_COUNT,
  SCRUB_PAUSE_MAX_MS,
  SCRUB_PAUSE_MIN_MS,
  SCRUB_PAUSE_SHARE,
  SCRUB_SAVE_EVERY_MS,
} from "../core/limits.ts";
import type { Logger } from "../core/log.ts";
import type { RateLimit } from "../core/rate-limit.ts";
import type { StepResult } from "../core/worker.ts";
import type { Peer } from "../peer/peer.ts";
import { type Backend, IncompleteListing } from "../storage/backend.ts";
import type { ForegroundLoad } from "./foreground-load.ts";
import { verify } from "./verified.ts";

/** Where a pass is, kept over restarts. Times are wall clock. */
export interface ScrubPlace {
  /** The next key to look at; null: the first. */
  readonly next: Key | null;
  readonly passBegunMs: number;
  readonly visited: number;
  readonly passes: number;
}

export interface ScrubOptions {
  readonly backend: Pick<Backend, "keys">;
  readonly own: Pick<Peer, "get">;
  /** Keys that this node holds, for the estimate; null while that is not known. */
  readonly count: () => number | null;
  readonly rate: Pick<RateLimit, "take">;
  readonly foreground: Pick<ForegroundLoad, "yieldTo">;
  /** Between two copies (CASK_AAE_INTERVAL). */
  readonly intervalMs: number;
  readonly load: () => Promise<ScrubPlace | null>;
  readonly save: (place: ScrubPlace) => Promise<void>;
  /** Compares what is known to be here with a listing of the disk: a file that vanished is seen by nobody who only reads files. */
  readonly audit: (signal: AbortSignal) => Promise<void>;
  /** A copy that was found whole. */
  readonly onVerified: (key: Key) => void;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface ScrubStatus {
  readonly passes: number;
  readonly visited: number;
  readonly of: number | null;
  readonly corrupt: number;
  /** Copies of this pass and the last that can't be read: they stay unverified. */
  readonly unreadable: number;
  readonly bytes: number;
  readonly lastPassSeconds: number | null;
  readonly secondsLeft: number | null;
  readonly lastUnreadable: string | null;
}

/** Reads every local copy and hashes it, in the order of the keys, for ever. One bad file never ends a pass. */
export class Scrub {
  private readonly options: ScrubOptions;
  private place: ScrubPlace | null = null;
  private keys: AsyncGenerator<Key> | null = null;
  private savedMs = 0;
  private bytes = 0;
  private corrupt = 0;
  private unreadable = new Set<Key>();
  private unreadableBefore = new Set<Key>();
  private lastUnreadable: string | null = null;
  private lastPassSeconds: number | null = null;
  private begunHere = { atMs: 0, visited: 0 };

  constructor(options: ScrubOptions) {
    this.options = options;
  }

  status(): ScrubStatus {
    const { place, bytes, corrupt, lastUnreadable, lastPassSeconds } = this;
    const of = this.options.count();
    return {
      passes: place?.passes ?? 0,
      visited: place?.visited ?? 0,
      of,
      corrupt,
      unreadable: new Set([...this.unreadable, ...this.unreadableBefore]).size,
      bytes,
      lastPassSeconds,
      secondsLeft: this.secondsLeft(of),
      lastUnreadable,
    };
  }

  /** A few copies. */
  async step(signal: AbortSignal): Promise<StepResult> {
    const { clock, intervalMs, foreground } = this.options;
    const place = await this.begin();
    const batch = await this.next(intervalMs > 0 ? 1 : SCRUB_AT_ONCE_COUNT);
    if (batch.length === 0) return this.endPass(place, signal);
    await foreground.yieldTo(signal);
    await Promise.all(batch.map((key) => this.visit(key, signal)));
    const last = batch.at(-1) as Key;
    this.place = { ...place, next: keyAfter(last) ?? last, visited: place.visited + batch.length };
    if (clock.nowMs() - this.savedMs > SCRUB_SAVE_EVERY_MS) await this.save();
    return intervalMs > 0 ? { afterMs: intervalMs } : "busy";
  }

  /** Keeps the place, so that a restart goes on there. */
  async save(): Promise<void> {
    this.savedMs = this.options.clock.nowMs();
    if (this.place) await this.options.save(this.place);
  }

  private async begin(): Promise<ScrubPlace> {
    const { clock, load } = this.options;
    if (!this.place) {
      this.place = (await load()) ?? { next: null, passBegunMs: clock.wallMs(), visited: 0, passes: 0 };
      this.begunHere = { atMs: clock.nowMs(), visited: this.place.visited };
    }
    // The rest before it is no part of a pass.
    if (!this.keys && this.place.visited === 0) this.place = { ...this.place, passBegunMs: clock.wallMs() };
    this.keys ??= this.options.backend
      .keys(this.place.next ?? undefined)
      [Symbol.asyncIterator]() as AsyncGenerator<Key>;
    return this.place;
  }

  private async next(count: number): Promise<Key[]> {
    const batch: Key[] = [];
    try {
      while (batch.length < count) {
        const { done, value } = (await this.keys?.next()) ?? { done: true, value: undefined };
        if (done) break;
        batch.push(value as Key);
      }
    } catch (error) {
      if (!(error instanceof IncompleteListing)) {
        this.keys = null; // it broke off: to be begun anew where it was
        throw error;
      }
      this.lastUnreadable = messageOf(error);
      this.options.log.error({ err: error }, `scrub: ${messageOf(error)}`);
    }
    return batch;
  }

  private async visit(key: Key, signal: AbortSignal): Promise<void> {
    const { own, rate, onVerified, log } = this.options;
    try {
      const body = await own.get(key, undefined, signal);
      if (!body) return; // deleted meanwhile
      await rate.take(body.sizeBytes, signal);
      this.bytes += body.sizeBytes;
      this.unreadable.delete(key);
      if (await verify(body, key)) onVerified(key);
      else this.corrupt++; // in quarantine now, and queued for repair
    } catch (error) {
      if (signal.aborted) throw error;
      if (hasCode(error, "DONT_KNOW")) return; // quarantined meanwhile
      this.unreadable.add(key);
      this.lastUnreadable = `${key}: ${messageOf(error)}`;
      log.error({ key, err: error }, `the copy of ${key} can't be read; the scrub goes on`);
    }
  }

  private async endPass(place: ScrubPlace, signal: AbortSignal): Promise<StepResult> {
    const { clock } = this.options;
    await this.audit(signal);
    this.keys = null;
    this.unreadableBefore = this.unreadable;
    this.unreadable = new Set();
    this.lastPassSeconds = Math.max(0, clock.wallMs() - place.passBegunMs) / 1_000;
    this.place = { next: null, passBegunMs: clock.wallMs(), visited: 0, passes: place.passes + 1 };
    this.begunHere = { atMs: clock.nowMs(), visited: 0 };
    await this.save();
    return { afterMs: this.pauseMs() };
  }

  /** A small store would else be read from begin to end all the time. Where an operator sets the pace (CASK_AAE_INTERVAL), that is it. */
  private pauseMs(): number {
    const { intervalMs } = this.options;
    if (intervalMs > 0) return Math.max(SCRUB_PAUSE_MIN_MS, intervalMs);
    const passMs = (this.lastPassSeconds ?? 0) * 1_000;
    return Math.min(SCRUB_PAUSE_MAX_MS, Math.max(SCRUB_PAUSE_MIN_MS, SCRUB_PAUSE_SHARE * passMs));
  }

  private async audit(signal: AbortSignal): Promise<void> {
    try {
      await this.options.audit(signal);
    } catch (error) {
      if (signal.aborted) throw error;
      this.options.log.warn(
        { err: error },
        `what is stored here could not be compared with the disk: ${messageOf(error)}`,
      );
    }
  }

  private secondsLeft(of: number | null): number | null {
    if (of === null || !this.place) return null;
    const visitedHere = this.place.visited - this.begunHere.visited;
    const seconds = (this.options.clock.nowMs() - this.begunHere.atMs) / 1_000;
    if (visitedHere <= 0 || seconds <= 0) return null;
    return Math.max(0, of - this.place.visited) / (visitedHere / seconds);
  }
}

/** Throws BAD_ROOT for a file that is not one of these. */
export function parseScrubPlace(value: object | null): ScrubPlace | null {
  if (value === null) return null;
  const { next, passBegunMs, visited, passes } = value as Record<string, unknown>;
  const isCount = (number: unknown): number is number =>
    typeof number === "number" && Number.isFinite(number) && number >= 0;
  if ((next === null || typeof next === "string") && isCount(passBegunMs) && isCount(visited) && isCount(passes)) {
    return { next: next as Key | null, passBegunMs, visited, passes };
  }
  throw new CaskError("BAD_ROOT", "scrub.json is not understood; delete it to let the scrub begin anew");
}
