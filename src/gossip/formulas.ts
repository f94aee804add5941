/**
 * memberlist's formulas for times and counts that depend on the size of the cluster. `n` counts every member in the list: the own node,
 * and the dead and left ones that are still remembered. The test holds them against the outputs of Go's own functions.
 */

const MS_PER_UNIT = 1_000;
/** Up to so many members everybody exchanges everything at the interval that is set. */
const PUSH_PULL_SCALE_FROM = 32;

/** How long a suspected member has at least to say that it lives. */
export function suspicionTimeoutMs(mult: number, n: number, probeIntervalMs: number): number {
  const scale = Math.max(1, Math.log10(Math.max(1, n)));
  return (mult * Math.trunc(scale * MS_PER_UNIT) * probeIntervalMs) / MS_PER_UNIT;
}

/** How many others must accuse too, for the least time to apply; 0 when there are not so many others. */
export function confirmationsWanted(suspicionMult: number, n: number): number {
  const wanted = suspicionMult - 2;
  return n - 2 < wanted ? 0 : Math.max(0, wanted);
}

export interface SuspicionTimes {
  readonly confirmations: number;
  readonly wanted: number;
  readonly minMs: number;
  readonly maxMs: number;
}

/** From the begin of a suspicion to its end: each confirmation brings the end closer, the first one most (Lifeguard). */
export function suspicionMs({ confirmations, wanted, minMs, maxMs }: SuspicionTimes): number {
  if (wanted < 1) return minMs;
  const share = Math.log(confirmations + 1) / Math.log(wanted + 1);
  return Math.max(minMs, Math.floor(maxMs - share * (maxMs - minMs)));
}

/** How often a broadcast is sent: enough that all of n members hear of it, most probably. */
export function retransmitLimit(mult: number, n: number): number {
  return mult * Math.ceil(Math.log10(n + 1));
}

/** The larger the cluster, the rarer the exchanges, so that their sum does not grow with the square. */
export function pushPullScaleMs(intervalMs: number, n: number): number {
  if (n <= PUSH_PULL_SCALE_FROM) return intervalMs;
  return intervalMs * (Math.ceil(Math.log2(n) - Math.log2(PUSH_PULL_SCALE_FROM)) + 1);
}
