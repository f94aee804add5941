import type { Round } from "./wrk.ts";

export interface Measured {
  readonly name: string;
  readonly rounds: readonly Round[];
}

/** A table in Markdown: medians, their spread, and the ratio of the first row to each. */
export function report(heading: string, all: readonly Measured[]): string {
  const first = medianOf(all[0] as Measured, "perSecond");
  const rows = all.map((each) => {
    const rates = each.rounds.map(({ perSecond }) => perSecond);
    const rate = medianOf(each, "perSecond");
    const cpu = medianOf(each, "cpuUs");
    const cells = [
      each.name,
      number(rate),
      `${number(Math.min(...rates))} to ${number(Math.max(...rates))}`,
      (first / rate).toFixed(2),
      ...(["p50Us", "p99Us", "p999Us"] as const).map((what) => (medianOf(each, what) / 1000).toFixed(2)),
      cpu > 0 ? cpu.toFixed(0) : "",
    ];
    return `| ${cells.join(" | ")} |`;
  });
  const columns = ["", "per second", "spread", "ratio", "p50 ms", "p99 ms", "p99.9 ms", "CPU µs each"];
  const head = [`| ${columns.join(" | ")} |`, `|${"---|".repeat(columns.length)}`];
  return ["", heading, "", ...head, ...rows].join("\n");
}

function medianOf({ rounds }: Measured, what: keyof Round): number {
  const sorted = rounds.map((round) => round[what]).sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] as number;
}

function number(value: number): string {
  return value < 100 ? value.toFixed(1) : Math.round(value).toLocaleString("en");
}
