import type { Key } from "../core/key.ts";
import type { KeyDigest, KeyRange } from "../core/key-range.ts";

/** A sorted set of keys with digests of its ranges. */
export interface KeySet {
  readonly count: number;
  /** Memory taken, used or not. */
  readonly sizeBytes: number;
  has(key: Key): boolean;
  /** Answers whether the key was absent. */
  insert(key: Key): boolean;
  /** Answers whether the key was there. */
  delete(key: Key): boolean;
  digest(range?: KeyRange): KeyDigest;
  /** The first `limit` keys of a range, in order. */
  keysIn(range: KeyRange, limit: number): Key[];
}
