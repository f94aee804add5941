import { hexOf, type Key, keyOfHex } from "./key.ts";

/** The keys from `from` (included) to `to` (excluded; undefined: to the last there can be). It never wraps round the ring. */
export interface KeyRange {
  readonly from: Key;
  readonly to: Key | undefined;
}

/**
 * What a node holds of a range, in a few bytes. `sum`: 32 hexadecimal digits, the hashed keys added up (core/key-sum.ts), so that the
 * order in which keys came does not matter and a key is taken out by subtraction.
 */
export interface KeyDigest {
  readonly count: number;
  readonly sum: string;
}

const KEY_DIGITS = 40;
const KEY_SPACE = 1n << 160n;

export const FIRST_KEY: Key = keyOfHex("0".repeat(KEY_DIGITS));
export const WHOLE_RANGE: KeyRange = { from: FIRST_KEY, to: undefined };

/** Equal digests of the same range: both hold the same keys, but for a chance of one in 2^128. */
export function sameDigest(a: KeyDigest, b: KeyDigest): boolean {
  return a.count === b.count && a.sum === b.sum;
}

export function isInRange(key: Key, { from, to }: KeyRange): boolean {
  return key >= from && (to === undefined || key < to);
}

/** The next key that there can be, to resume a listing behind `key`; undefined behind the last. */
export function keyAfter(key: Key): Key | undefined {
  return keyAt(positionOf(key) + 1n);
}

/** Cuts a range into `parts` of equal width, in order; into fewer where it has fewer keys. An empty range has none. */
export function splitRange({ from, to }: KeyRange, parts: number): KeyRange[] {
  const [start, end] = [positionOf(from), to === undefined ? KEY_SPACE : positionOf(to)];
  const width = end - start;
  if (width <= 0n) return [];
  const count = BigInt(Math.max(1, Math.floor(parts)));
  const pieces = count < width ? count : width;
  const cutAt = (i: bigint) => keyAt(start + (width * i) / pieces);
  return Array.from({ length: Number(pieces) }, (_, i) => ({
    from: cutAt(BigInt(i)) as Key,
    to: cutAt(BigInt(i + 1)),
  }));
}

/**
 * A segment of the ring (placement/placement.ts) as ranges that don't wrap: `fromHex` (included) to `toHex` (excluded), two of them
 * when it wraps. Equal ends are the whole ring: the one segment of a ring with one point.
 */
export function rangesOf(fromHex: string, toHex: string): KeyRange[] {
  const [from, to] = [keyOfHex(fromHex), keyOfHex(toHex)];
  if (from === to) return [WHOLE_RANGE];
  if (from < to) return [{ from, to }];
  const upper = { from, to: undefined };
  return to === FIRST_KEY ? [upper] : [{ from: FIRST_KEY, to }, upper];
}

function positionOf(key: Key): bigint {
  return BigInt(`0x${hexOf(key)}`);
}

function keyAt(position: bigint): Key | undefined {
  return position >= KEY_SPACE ? undefined : keyOfHex(position.toString(16).padStart(KEY_DIGITS, "0"));
}
