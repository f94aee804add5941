/** Readers of the values that settings have. Each throws an Error whose message says what is expected. */

export type ReadValue<T> = (text: string) => T;

export function readWhole(min: number, max: number): ReadValue<number> {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < min || value > max)
      throw new Error(`expected a whole number from ${min} to ${max}`);
    return value;
  };
}

/** Eleven days: a timer of more than 24 days would fire at once. */
const SECONDS_MAX = 1_000_000;

/** Seconds, fractions allowed; the answer is in milliseconds. */
export function readSeconds(minSeconds: number): ReadValue<number> {
  return (text) => {
    const value = Number(text);
    if (!/^\d+(\.\d+)?$/.test(text) || value < minSeconds || value > SECONDS_MAX) {
      throw new Error(`expected seconds from ${minSeconds} to ${SECONDS_MAX} (fractions are allowed)`);
    }
    return Math.round(value * 1000);
  };
}

const BYTE_UNITS = new Map([
  ["", 1],
  ["b", 1],
  ["kb", 1e3],
  ["mb", 1e6],
  ["gb", 1e9],
  ["tb", 1e12],
  ["kib", 2 ** 10],
  ["mib", 2 ** 20],
  ["gib", 2 ** 30],
  ["tib", 2 ** 40],
]);

/** "1073741824", "512MiB", "1.5 GiB", "10GB". */
export function readBytes(minBytes: number, maxBytes = Number.MAX_SAFE_INTEGER): ReadValue<number> {
  return (text) => {
    const match = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i.exec(text);
    const unit = BYTE_UNITS.get((match?.[2] ?? "?").toLowerCase());
    const value = Math.round(Number(match?.[1]) * (unit ?? Number.NaN));
    if (!Number.isSafeInteger(value) || value < minBytes || value > maxBytes) {
      const least = minBytes > 0 ? `, at least ${minBytes}` : "";
      const most = maxBytes < Number.MAX_SAFE_INTEGER ? `, at most ${maxBytes}` : "";
      throw new Error(`expected bytes: a number, or one with a unit such as 512MiB, 1GiB or 10GB${least}${most}`);
    }
    return value;
  };
}

const BOOLEANS = new Map([
  ["true", true],
  ["1", true],
  ["yes", true],
  ["false", false],
  ["0", false],
  ["no", false],
]);

export const readBoolean: ReadValue<boolean> = (text) => {
  const value = BOOLEANS.get(text.toLowerCase());
  if (value === undefined) throw new Error("expected true or false");
  return value;
};

export function readChoice<T extends string>(...choices: readonly T[]): ReadValue<T> {
  return (text) => {
    const choice = choices.find((each) => each === text);
    if (choice === undefined) throw new Error(`expected one of ${choices.join(", ")}`);
    return choice;
  };
}

export const readText: ReadValue<string> = (text) => text;

export const readSecret: ReadValue<string> = (text) => {
  if (text.length < 8) throw new Error("expected at least 8 characters");
  if (text.length > 256) throw new Error("expected at most 256 characters");
  // It travels to Go nodes in a header, which carries no others and loses spaces at its ends.
  if (!/^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/.test(text)) {
    throw new Error("expected printable ASCII characters, with no space or line end before or after them");
  }
  return text;
};

export const readNodeId: ReadValue<string> = (text) => {
  if (!/^[A-Za-z0-9._-]{1,64}$/.test(text)) {
    throw new Error("expected a UUID, or another name of 1 to 64 letters, digits, dots, dashes or underscores");
  }
  return text;
};

/** An absolute http(s) URL without query; the slash at its end is taken off. */
export const readBaseUrl: ReadValue<string> = (text) => {
  const url = URL.parse(text);
  if (!url || !/^https?:$/.test(url.protocol) || url.search || url.hash || url.username || url.password) {
    throw new Error("expected http://host:port or https://host:port");
  }
  return url.origin + url.pathname.replace(/\/+$/, ""); // not href: it keeps an empty query or fragment
};

/** A neighbor: a node's base URL, or its gossip address. */
export type NeighborAddress =
  | { readonly kind: "url"; readonly url: string }
  | { readonly kind: "gossip"; readonly host: string; readonly port: number };

export const readNeighbors: ReadValue<readonly NeighborAddress[]> = (text) =>
  text
    .split(",")
    .map((entry) => entry.trim())
    .filter((entry) => entry !== "")
    .map(readNeighbor);

function readNeighbor(entry: string): NeighborAddress {
  if (entry.includes("://")) return { kind: "url", url: readBaseUrl(entry) };
  const match = /^(\[[0-9a-f:.]+\]|[^\s:/]+):(\d{1,5})$/i.exec(entry);
  const port = Number(match?.[2]);
  if (!match || port < 1 || port > 65_535) {
    throw new Error(`"${entry}" is neither a base URL (http://host:port) nor a gossip address (host:port)`);
  }
  return { kind: "gossip", host: (match[1] as string).replace(/^\[|\]$/g, ""), port };
}

/** `host:port`, `[ip6]:port`. */
export const readHostPort: ReadValue<{ readonly host: string; readonly port: number }> = (text) => {
  const neighbor = readNeighbor(text);
  if (neighbor.kind !== "gossip") throw new Error("expected host:port");
  return { host: neighbor.host, port: neighbor.port };
};

/** The known name that is closest to a mistyped one, if any is close. */
export function nearestName(name: string, known: readonly string[]): string | undefined {
  const ranked = known
    .map((each) => ({ each, distance: editDistance(name, each) }))
    .sort((a, b) => a.distance - b.distance);
  const best = ranked[0];
  return best && best.distance <= Math.max(2, name.length / 4) ? best.each : undefined;
}

/** Levenshtein: insertions, deletions and replacements. */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replace = (previous[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(replace, (previous[j] as number) + 1, (row[j - 1] as number) + 1));
    }
    previous = row;
  }
  return previous[b.length] as number;
}
