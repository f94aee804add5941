import type { CacheFigures } from "../blobs/blob-cache.ts";
import type { Key } from "../core/key.ts";
import { SERVED_KEYS_MAX_COUNT } from "../core/limits.ts";
import type { ServedReport } from "./serving-messages.ts";

interface Labels {
  readonly door: string;
  readonly method: string;
  readonly status: string;
}

/** What a serving thread answered since it last told the owner of the metrics. */
export class Served {
  private readonly byKind = new Map<string, Labels & { readonly seconds: number[] }>();
  private readonly keys = new Set<Key>();
  private underWay = 0;
  private wasIdle = false;

  /** In the place of the metrics. */
  readonly requests = {
    observe: (labels: Labels, seconds: number): void => {
      const kind = `${labels.door} ${labels.method} ${labels.status}`;
      const known = this.byKind.get(kind);
      if (known) known.seconds.push(seconds);
      else this.byKind.set(kind, { ...labels, seconds: [seconds] });
    },
  };

  /** In the place of the foreground load. */
  readonly foreground = {
    begin: () => {
      this.underWay++;
      return () => void this.underWay--;
    },
  };

  fetched(key: Key): void {
    if (this.keys.size < SERVED_KEYS_MAX_COUNT) this.keys.add(key);
  }

  /** Null while nothing happens. */
  takeReport(cache: CacheFigures): ServedReport | null {
    const isIdle = this.byKind.size === 0 && this.underWay === 0;
    if (isIdle && this.wasIdle) return null;
    this.wasIdle = isIdle;
    const report = { requests: [...this.byKind.values()], fetched: [...this.keys], cache, underWay: this.underWay };
    this.byKind.clear();
    this.keys.clear();
    return report;
  }
}
