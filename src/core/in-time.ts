import type { Clock } from "./clock.ts";

/** Waits for `work` for at most `ms`, then rejects with `late()`; the work then goes on unobserved. */
export async function inTime<T>(clock: Clock, ms: number, work: Promise<T>, late: () => Error): Promise<T> {
  let cancel: () => void = () => undefined;
  const tooLate = new Promise<never>((_, reject) => {
    cancel = clock.timer(ms, () => reject(late()));
  });
  try {
    return await Promise.race([work, tooLate]);
  } finally {
    cancel();
  }
}
