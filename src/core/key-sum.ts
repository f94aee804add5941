import type { Key } from "./key.ts";
import { KEY_BYTES, writeKey } from "./key-bytes.ts";
import type { KeyDigest } from "./key-range.ts";

/** 32-bit lanes of a sum: 128 bits. */
export const SUM_LANES = 4;

/** Odd numbers with well-mixed bits, one to start each lane: the lanes must not be copies of each other. */
const LANE_SEEDS = [0x9e3779b1, 0x85ebca77, 0xc2b2ae3d, 0x27d4eb2f] as const;
/** Used again by each call. */
const sumBytes = Buffer.alloc(4 * SUM_LANES);
const WORD_FACTOR = 0xcc9e2d51;

/**
 * The hash of a key that goes into digests, one number a lane. Nodes compare these sums: a change of it is a change of the protocol.
 * (Keys are hashes themselves, but added up as they are, two that differ by one bit each way would cancel out.)
 */
export function hashKeyBytes(key: Uint8Array, into: Uint32Array): void {
  for (let lane = 0; lane < SUM_LANES; lane++) {
    let hash = LANE_SEEDS[lane] as number;
    for (let at = 0; at < KEY_BYTES; at += 4) {
      const word =
        ((key[at] as number) << 24) |
        ((key[at + 1] as number) << 16) |
        ((key[at + 2] as number) << 8) |
        (key[at + 3] as number);
      hash = Math.imul(hash ^ word, WORD_FACTOR);
      hash = Math.imul(hash ^ (hash >>> 15), 0x1b873593);
      hash ^= hash >>> 13;
    }
    into[lane] = hash ^ (hash >>> 16);
  }
}

/** Adds up keys, one by one: for lists of keys. What a node holds is added up in storage/key-table.ts. */
export class KeySum {
  private count = 0;
  private readonly lanes = new Uint32Array(SUM_LANES);
  private readonly bytes = new Uint8Array(KEY_BYTES);
  private readonly hash = new Uint32Array(SUM_LANES);

  add(key: Key): void {
    writeKey(key, this.bytes);
    hashKeyBytes(this.bytes, this.hash);
    for (let lane = 0; lane < SUM_LANES; lane++) this.lanes[lane] = this.lanes[lane]! + this.hash[lane]!;
    this.count++;
  }

  digest(): KeyDigest {
    return digestOf(this.count, this.lanes);
  }
}

export function digestOf(count: number, lanes: Uint32Array): KeyDigest {
  for (let lane = 0; lane < SUM_LANES; lane++) sumBytes.writeUInt32BE(lanes[lane] as number, 4 * lane);
  return { count, sum: sumBytes.toString("hex") };
}
