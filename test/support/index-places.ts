import type { Key } from "../../src/core/key.ts";
import type { RecordPlace } from "../../src/storage/segment-record.ts";

/** Where a key lies in tests of the index: what two threads agree on without a word. */
export function placeOf(key: Key): RecordPlace {
  const digits = Number.parseInt(key.slice(-6), 16);
  return { segment: 1 + (digits % 1_000), offset: 64 + 8 * (digits % 100_000), sizeBytes: digits % 70_000 };
}
