import fc from "fast-check";
import { type Key, keyOfHex } from "../../src/core/key.ts";
import {
  FIRST_KEY,
  isInRange,
  type KeyRange,
  keyAfter,
  rangesOf,
  sameDigest,
  splitRange,
  WHOLE_RANGE,
} from "../../src/core/key-range.ts";
import { KeySum } from "../../src/core/key-sum.ts";
import { Ring } from "../../src/placement/ring.ts";

const hexes = fc.uint8Array({ minLength: 20, maxLength: 20 }).map((bytes) => Buffer.from(bytes).toString("hex"));
const keys = hexes.map(keyOfHex);
const ranges: fc.Arbitrary<KeyRange> = fc
  .tuple(keys, fc.option(keys, { nil: undefined }))
  .map(([from, to]) => ({ from, to }));

const LAST_KEY = keyOfHex("f".repeat(40));
const key = (n: number) => keyOfHex(n.toString(16).padStart(40, "0"));

function digest(...some: Key[]) {
  const sum = new KeySum();
  for (const each of some) sum.add(each);
  return sum.digest();
}

describe("splitRange", () => {
  test("the parts follow one another and make up the range, none of them empty", () => {
    fc.assert(
      fc.property(ranges, fc.integer({ min: 1, max: 40 }), (range, parts) => {
        const pieces = splitRange(range, parts);
        if (range.to !== undefined && range.from >= range.to) return expect(pieces).toEqual([]);
        expect(pieces.length).toBeLessThanOrEqual(parts);
        expect(pieces[0]?.from).toBe(range.from);
        expect(pieces.at(-1)?.to).toBe(range.to);
        for (const [i, piece] of pieces.entries()) {
          expect(piece.to === undefined || piece.from < piece.to).toBe(true);
          if (i > 0) expect(piece.from).toBe(pieces[i - 1]?.to);
        }
      }),
    );
  });

  test("a range of three keys has three parts at most, one of none has none", () => {
    expect(splitRange({ from: key(5), to: key(8) }, 16)).toEqual([
      { from: key(5), to: key(6) },
      { from: key(6), to: key(7) },
      { from: key(7), to: key(8) },
    ]);
    expect(splitRange({ from: LAST_KEY, to: undefined }, 16)).toEqual([{ from: LAST_KEY, to: undefined }]);
    expect(splitRange({ from: key(5), to: key(5) }, 16)).toEqual([]);
  });

  test("parts are equally wide", () => {
    expect(splitRange(WHOLE_RANGE, 4).map((part) => part.from.slice(5, 7))).toEqual(["00", "40", "80", "c0"]);
  });
});

describe("rangesOf", () => {
  test("a key is in exactly one segment's ranges, the one whose order the ring gives it", () => {
    const ring = new Ring(["a", "b", "c"].map((uuid) => ({ uuid, points: 5 })));
    const points = ring.segments().map((segment) => keyOfHex(segment.from));
    fc.assert(
      fc.property(fc.oneof(keys, fc.constantFrom(...points, FIRST_KEY, LAST_KEY)), (some) => {
        const of = ring.segments().filter(({ from, to }) => rangesOf(from, to).some((range) => isInRange(some, range)));
        expect(of.map((segment) => segment.order)).toEqual([ring.order(some)]);
      }),
    );
  });

  test("one point is the whole ring, and one that ends at zero is one range", () => {
    expect(rangesOf("12".repeat(20), "12".repeat(20))).toEqual([WHOLE_RANGE]);
    expect(rangesOf("12".repeat(20), "00".repeat(20))).toEqual([{ from: keyOfHex("12".repeat(20)), to: undefined }]);
  });
});

test("keyAfter: no key lies between, and behind the last there is none", () => {
  expect(keyAfter(key(0xff))).toBe(key(0x100));
  expect(keyAfter(LAST_KEY)).toBeUndefined();
});

describe("digests", () => {
  test("the order of keys does not matter, each key does", () => {
    fc.assert(
      fc.property(fc.uniqueArray(keys, { minLength: 1, maxLength: 20 }), (some) => {
        expect(digest(...some.toReversed())).toEqual(digest(...some));
        expect(sameDigest(digest(...some), digest(...some.slice(1)))).toBe(false);
      }),
    );
  });

  test("keys that differ by the same amount in opposite directions don't cancel out", () => {
    expect(sameDigest(digest(key(1), key(4)), digest(key(2), key(3)))).toBe(false);
    expect(digest()).toEqual({ count: 0, sum: "0".repeat(32) });
  });

  test("nodes of different versions get the same sums", () => {
    expect(digest(key(1)).sum).toMatch(/^[0-9a-f]{32}$/);
    expect(digest(FIRST_KEY, LAST_KEY, keyOfHex("0123456789abcdef0123456789abcdef01234567"))).toMatchInlineSnapshot(`
{
  "count": 3,
  "sum": "42ed69d04873c2edd273c5b8d002dbfb",
}
`);
  });
});
