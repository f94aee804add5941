import fc from "fast-check";
import { type Key, keyOfBytes, keyOfHex } from "../../src/core/key.ts";
import { FIRST_KEY, isInRange, type KeyRange, WHOLE_RANGE } from "../../src/core/key-range.ts";
import { KeySum } from "../../src/core/key-sum.ts";
import { KeyTable } from "../../src/storage/key-table.ts";

/** Hex digits that keys of a run share, so that some runs have all of them in one bucket, or in one bucket of a node. */
const SHARED = ["", "ab", "abcd", "abcd12", "abcd123456789abc"];

interface Step {
  readonly key: Key;
  readonly isDelete: boolean;
}

function keysUnder(prefix: string): fc.Arbitrary<Key> {
  // Few different bytes: keys meet again, and many of them begin alike.
  const digits = fc.stringMatching(/^[0-3f]{2}$/);
  return digits.map((few) => keyOfHex((prefix + few.repeat(20)).slice(0, 40)));
}

const steps = fc.constantFrom(...SHARED).chain((prefix) => {
  const random = fc.uint8Array({ minLength: 20, maxLength: 20 }).map((bytes) => Buffer.from(bytes).toString("hex"));
  const key = fc.oneof(
    keysUnder(prefix),
    random.map((hex) => keyOfHex((prefix + hex).slice(0, 40))),
  );
  const step: fc.Arbitrary<Step> = fc.record({ key, isDelete: fc.boolean() });
  return fc.record({ steps: fc.array(step, { maxLength: 300, size: "max" }), bounds: fc.tuple(key, key) });
});

function sumOf(keys: readonly Key[]) {
  const sum = new KeySum();
  for (const key of keys) sum.add(key);
  return sum.digest();
}

function agrees(table: KeyTable, keys: readonly Key[], range: KeyRange): void {
  const inRange = keys.filter((key) => isInRange(key, range));
  expect(table.keysIn(range, keys.length + 1)).toEqual(inRange);
  expect(table.keysIn(range, 3)).toEqual(inRange.slice(0, 3));
  expect(table.digest(range)).toEqual(sumOf(inRange));
}

/** Hashes of numbers, below a prefix. */
function manyKeys(count: number, prefix = ""): Key[] {
  return Array.from({ length: count }, (_, i) =>
    keyOfHex((prefix + keyOfBytes(Buffer.from(String(i))).slice(5)).slice(0, 40)),
  );
}

test("is a sorted set, with digests of any range", () => {
  fc.assert(
    fc.property(steps, ({ steps: some, bounds: [one, two] }) => {
      const table = new KeyTable();
      const model = new Set<Key>();
      for (const { key, isDelete } of some) {
        const wasThere = model.has(key);
        if (isDelete ? table.delete(key) !== wasThere : table.insert(key) === wasThere) throw new Error(`${key}`);
        if (isDelete) model.delete(key);
        else model.add(key);
        if (table.has(key) === isDelete) throw new Error(`${key}`);
      }
      const sorted = [...model].sort();
      expect(table.count).toBe(sorted.length);
      expect([...table.keys()]).toEqual(sorted);
      const ranges = [
        WHOLE_RANGE,
        { from: one, to: two },
        { from: one, to: undefined },
        { from: FIRST_KEY, to: two },
        { from: two, to: two },
      ];
      for (const range of ranges) agrees(table, sorted, range);
    }),
    { numRuns: 150 },
  );
});

describe.each(["", "ab", "abcd", "abcd12", "abcd123456789abc"])("with 8,000 keys that begin with '%s'", (prefix) => {
  const keys = manyKeys(8_000, prefix);
  const sorted = keys.toSorted();
  const bounds = [0, 1, 777, 5_000, 7_999].map((i) => sorted[i] as Key);

  function checkRanges(table: KeyTable, held: readonly Key[]): void {
    for (const from of bounds) {
      for (const to of [...bounds, undefined]) {
        const range = { from, to };
        const inRange = held.filter((key) => isInRange(key, range));
        expect(table.digest(range)).toEqual(sumOf(inRange));
        expect(table.keysIn(range, 5)).toEqual(inRange.slice(0, 5));
      }
    }
  }

  test("all is found again, whatever is taken out, in whatever order, and put back", () => {
    const table = new KeyTable();
    for (const key of keys) table.insert(key);
    expect([...table.keys()]).toEqual(sorted);
    checkRanges(table, sorted);
    const left = new Set(keys);
    for (const [i, key] of keys.entries()) {
      if (i % 100 === 0) continue;
      if (table.delete(key)) left.delete(key);
    }
    expect(left.size).toBe(80);
    checkRanges(table, [...left].sort());
    expect(sorted.filter((key) => table.insert(key))).toHaveLength(7_920);
    expect([...table.keys()]).toEqual(sorted);
    for (const key of sorted) table.delete(key);
    expect(table.count).toBe(0);
    expect(table.digest()).toEqual(new KeySum().digest());
  });

  test("its memory shrinks again", () => {
    const table = new KeyTable();
    const emptyBytes = table.sizeBytes;
    for (const key of keys) table.insert(key);
    for (const key of keys) table.delete(key);
    expect(table.sizeBytes - emptyBytes).toBeLessThan(1_000_000);
  });
});

test("each key keeps its payload, however keys are moved about", () => {
  for (const prefix of SHARED) {
    const table = new KeyTable(14);
    const keys = manyKeys(5_000, prefix);
    const payload = (i: number) => Buffer.alloc(14, `${i} `);
    for (const [i, key] of keys.entries()) table.insert(key, payload(i));
    for (const [i, key] of keys.entries()) if (i % 3 === 0) table.delete(key);
    for (const [i, key] of keys.entries()) if (i % 6 === 0) table.insert(key);
    expect(table.insert(keys[1] as Key, payload(999_999))).toBe(false);
    for (const [i, key] of keys.entries()) {
      const expected =
        i === 1 ? payload(999_999) : i % 6 === 0 ? Buffer.alloc(14) : i % 3 === 0 ? undefined : payload(i);
      const at = table.payloadAt(key);
      expect(at < 0 ? undefined : Buffer.from(table.bytes.subarray(at, at + 14))).toEqual(expected);
    }
  }
});

test("keys that come and go during a listing don't disturb it", () => {
  const table = new KeyTable();
  const keys = manyKeys(5_000).sort();
  for (const key of keys) table.insert(key);
  const listed: Key[] = [];
  for (const key of table.keys()) {
    listed.push(key);
    if (listed.length % 2 === 0) table.delete(key);
    table.insert(keyOfHex(listed.length.toString(16).padStart(40, "0")));
  }
  expect(listed.filter((key) => !key.startsWith("sha1:0000000000"))).toEqual(keys);
});

describe("memory", () => {
  test("an empty table takes 2 MB", () => {
    expect(new KeyTable().sizeBytes).toBeLessThan(2_000_000);
  });

  test.each([
    [0, 48],
    [14, 64],
  ])("with %i bytes of payload: below %i bytes a key at any time from 50,000 to 150,000 keys", (payloadBytes, max) => {
    const table = new KeyTable(payloadBytes);
    const emptyBytes = table.sizeBytes;
    let worst = 0;
    for (const [i, key] of manyKeys(150_000).entries()) {
      table.insert(key);
      if (i > 50_000) worst = Math.max(worst, (table.sizeBytes - emptyBytes) / (i + 1));
    }
    const ofBuckets = emptyBytes / 1_000_000; // at the size for which the bound is stated
    expect(worst + ofBuckets).toBeLessThan(max);
  });
});
