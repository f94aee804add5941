import { createHash } from "node:crypto";
import fc from "fast-check";
import { hexOf, isKey, KeyHasher, keyOfBytes, keyOfHex, parseKey } from "../../src/core/key.ts";

const hexDigits = fc.string({ unit: fc.constantFrom(..."0123456789abcdef"), minLength: 40, maxLength: 40 });

function isCanonical(text: string): boolean {
  const digits = "0123456789abcdef";
  return text.length === 45 && text.startsWith("sha1:") && [...text.slice(5)].every((char) => digits.includes(char));
}

test("the canonical spelling parses to itself", () => {
  fc.assert(
    fc.property(hexDigits, (hex) => {
      expect(parseKey(`sha1:${hex}`)).toBe(`sha1:${hex}`);
      expect(hexOf(keyOfHex(hex))).toBe(hex);
    }),
  );
});

test("C42: nothing but the canonical spelling parses", () => {
  const almost = fc.tuple(hexDigits, fc.nat(44), fc.string({ unit: "binary", maxLength: 2 })).map(([hex, at, put]) => {
    const key = `sha1:${hex}`;
    return key.slice(0, at) + put + key.slice(at + 1);
  });
  fc.assert(
    fc.property(fc.oneof(almost, fc.string(), fc.string({ minLength: 45, maxLength: 45 })), (text) => {
      expect(isKey(text)).toBe(isCanonical(text));
      if (isCanonical(text)) expect(parseKey(text)).toBe(text);
      else expect(() => parseKey(text)).toThrow(expect.objectContaining({ code: "BAD_KEY" }));
    }),
    { numRuns: 500 },
  );
});

test.each([
  ["40 dots", `sha1:${".".repeat(40)}`],
  ["upper case", `sha1:${"A".repeat(40)}`],
  ["39 digits", `sha1:${"a".repeat(39)}`],
  ["41 digits", `sha1:${"a".repeat(41)}`],
  ["no colon", `sha1${"a".repeat(40)}`],
  ["a second colon", `sha1:${"a".repeat(40)}:a`],
  ["a line end after it", `sha1:${"a".repeat(40)}\n`],
  ["a zero byte", `sha1:${"a".repeat(39)}\0`],
  ["other digits", `sha1:${"٣".repeat(40)}`],
  ["another algorithm", `sha2:${"a".repeat(40)}`],
  ["nothing", ""],
])("C42: %s is BAD_KEY", (_name, text) => {
  expect(() => parseKey(text)).toThrow(expect.objectContaining({ code: "BAD_KEY" }));
});

test("the key of bytes is their SHA-1, however they are cut", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 200 })), (parts) => {
      const whole = Buffer.concat(parts);
      const hasher = new KeyHasher();
      for (const part of parts) hasher.update(part);
      const expected = `sha1:${createHash("sha1").update(whole).digest("hex")}`;
      expect(hasher.digest()).toBe(expected);
      expect(keyOfBytes(whole)).toBe(expected);
    }),
  );
});

test("the empty blob has a key", () => {
  expect(keyOfBytes(Buffer.alloc(0))).toBe("sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709");
});
