import { CaskError } from "../../../src/core/errors.ts";
import type { Random } from "../../../src/core/random.ts";
import type { SimTime } from "./sim-clock.ts";

/** How long a caller waits for an answer that never comes. */
const NO_ANSWER_MS = 3_000;

export interface Faults {
  /** Of each message, from 0 to 1. */
  loss: number;
  duplication: number;
  /** Now and then a message takes so long. */
  slowMs: number;
  /** Bodies that end before their last byte. */
  cut: number;
  /** Bodies of which one bit changes on the way. */
  flip: number;
}

export const NO_FAULTS: Faults = { loss: 0, duplication: 0, slowMs: 0, cut: 0, flip: 0 };

export interface Reached {
  /** Is the process that the message was meant for still the one that runs? */
  isAlive(): boolean;
  /** Runs `then` now, or when the process is no longer frozen. */
  whenAwake(then: () => void): void;
}

export interface CallEnds {
  readonly from: string;
  readonly to: string;
  readonly caller: Reached;
  readonly target: Reached;
  /** Default 3 s without an answer. */
  readonly patienceMs?: number;
}

/** Messages between processes: late, lost, twice, in another order, one way only. What is sent to a dead process is lost. */
export class SimNetwork {
  readonly faults: Faults = { ...NO_FAULTS };
  readonly counts = { messages: 0, lost: 0, duplicated: 0, blocked: 0, cut: 0, late: 0, flipped: 0 };
  private readonly time: SimTime;
  private readonly random: Random;
  private readonly blocked = new Set<string>();

  constructor(time: SimTime, random: Random) {
    this.time = time;
    this.random = random;
  }

  block(from: string, to: string): void {
    this.blocked.add(`${from} > ${to}`);
  }

  healLinks(): void {
    this.blocked.clear();
  }

  isOpen(from: string, to: string): boolean {
    return !this.blocked.has(`${from} > ${to}`);
  }

  /** One request and its answer. Rejects with PEER_FAILED or PEER_SLOW, or with what `serve` rejects with. */
  call<T>(ends: CallEnds, serve: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const { caller, target: to } = ends;
    const link = { from: ends.from, to: ends.to };
    return new Promise<T>((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      // A dead process is told nothing any more; a frozen one hears it when it wakes.
      const settle = (then: () => void) => {
        if (!caller.isAlive()) return;
        cancel();
        signal?.removeEventListener("abort", onAbort);
        caller.whenAwake(then);
      };
      const slow = () => settle(() => reject(new CaskError("PEER_SLOW", `${link.to} made no progress`)));
      const cancel = this.time.at(this.time.nowMs + (ends.patienceMs ?? NO_ANSWER_MS), slow);
      const onAbort = () => settle(() => reject(signal?.reason));
      signal?.addEventListener("abort", onAbort, { once: true });
      const arrive = () => {
        if (!to.isAlive()) {
          this.back(link, () => settle(() => reject(new CaskError("PEER_FAILED", `${link.to} refuses connections`))));
          return;
        }
        to.whenAwake(() => {
          if (!to.isAlive()) return;
          serve().then(
            (result) => to.isAlive() && this.back(link, () => settle(() => resolve(result))),
            (error: unknown) => to.isAlive() && this.back(link, () => settle(() => reject(error))),
          );
        });
      };
      this.send(link.from, link.to, arrive);
    });
  }

  /** Should this body be cut somewhere? */
  cuts(): boolean {
    const cut = this.random.next() < this.faults.cut;
    if (cut) this.counts.cut++;
    return cut;
  }

  /** A body as it arrives: whole, or with a bit that changed on the way. */
  arrived(bytes: Buffer): Buffer {
    if (bytes.length === 0 || this.random.next() >= this.faults.flip) return bytes;
    this.counts.flipped++;
    const wrong = Buffer.from(bytes);
    const at = Math.floor(this.random.next() * wrong.length);
    wrong[at] = (wrong[at] as number) ^ 4;
    return wrong;
  }

  private back({ from, to }: { from: string; to: string }, then: () => void): void {
    this.send(to, from, then);
  }

  private send(from: string, to: string, arrive: () => void): void {
    this.counts.messages++;
    if (!this.isOpen(from, to)) {
      this.counts.blocked++;
      return;
    }
    if (this.random.next() < this.faults.loss) {
      this.counts.lost++;
      return;
    }
    this.time.at(this.time.nowMs + this.delayMs(), arrive);
    if (this.random.next() < this.faults.duplication) {
      this.counts.duplicated++;
      this.time.at(this.time.nowMs + this.delayMs(), arrive);
    }
  }

  private delayMs(): number {
    if (this.faults.slowMs > 0 && this.random.next() < 0.02) {
      this.counts.late++;
      return this.random.next() * this.faults.slowMs;
    }
    return 0.2 + this.random.next() * 2;
  }
}
