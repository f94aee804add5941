import fc from "fast-check";
import { parseRange } from "../../src/http/byte-range.ts";

test.each([
  ["bytes=0-0", 10, { start: 0, end: 0 }],
  ["bytes=0-", 10, { start: 0, end: 9 }],
  ["bytes=3-5", 10, { start: 3, end: 5 }],
  ["bytes=3-99999999999999999999", 10, { start: 3, end: 9 }],
  ["bytes=-4", 10, { start: 6, end: 9 }],
  ["bytes=-40", 10, { start: 0, end: 9 }],
  ["bytes=9-9", 10, { start: 9, end: 9 }],
])("%s of %d bytes", (header, size, range) => {
  expect(parseRange(header, size)).toEqual(range);
});

test.each(["", "bytes", "bytes=", "bytes=-", "bytes=5-3", "bytes=a-b", "bytes=0-1,3-4", "lines=0-1", "bytes 0-1"])(
  '"%s" is no range that we take: the whole is served',
  (header) => {
    expect(parseRange(header, 10)).toBeNull();
  },
);

test.each([
  ["bytes=10-", 10],
  ["bytes=10-20", 10],
  ["bytes=-0", 10],
  ["bytes=0-0", 0],
  ["bytes=-1", 0],
])("%s of %d bytes lies outside", (header, size) => {
  expect(() => parseRange(header, size)).toThrow(expect.objectContaining({ code: "BAD_RANGE" }));
});

test("whatever is asked, a range lies within the blob", () => {
  const part = fc.oneof(fc.constant(""), fc.nat(30).map(String));
  fc.assert(
    fc.property(part, part, fc.nat(20), (first, last, size) => {
      try {
        const range = parseRange(`bytes=${first}-${last}`, size);
        if (range) expect(0 <= range.start && range.start <= range.end && range.end < size).toBe(true);
      } catch (error) {
        expect(error).toMatchObject({ code: "BAD_RANGE" });
      }
    }),
  );
});
