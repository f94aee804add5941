import fc from "fast-check";
import { SeededRandom } from "../../src/core/random.ts";
import { LzwInflater } from "../../src/gossip/lzw-decoder.ts";
import { deflateLzw } from "../../src/gossip/lzw-encoder.ts";
import { hex, VECTORS } from "../support/gossip-vectors.ts";

const MAX_BYTES = 1_000_000;

const inflate = (bytes: Uint8Array, maxBytes = MAX_BYTES) => new LzwInflater().inflate(bytes, maxBytes);

test.each(VECTORS.lzw.map((vector) => [vector.name, vector] as const))("%s", (_name, { plain, lzw }) => {
  expect(inflate(hex(lzw)).toString("hex")).toBe(plain);
  expect(deflateLzw(hex(plain)).toString("hex")).toBe(lzw);
});

describe("there and back", () => {
  const symbols = (count: number, maxLength: number) => fc.array(fc.nat(count - 1), { maxLength, size: "max" });

  test.each([
    ["a few symbols", symbols(3, 20_000)],
    ["all bytes", symbols(256, 20_000)],
    ["one symbol", symbols(1, 20_000)],
  ])("%s", (_name, bytes) => {
    fc.assert(
      fc.property(bytes, (values) => {
        const plain = Buffer.from(values);
        expect(inflate(deflateLzw(plain)).equals(plain)).toBe(true);
      }),
      { numRuns: 60 },
    );
  });

  /** The ends of a width and of the table are where writer and reader may come apart. */
  test("every length of bytes that repeat nothing, past the first clear", () => {
    const random = new SeededRandom(7);
    const bytes = Uint8Array.from({ length: 9_000 }, () => Math.floor(random.next() * 256));
    const around = [250, 510, 765, 1_020, 2_040, 3_830, 4_090, 7_680].flatMap((end) =>
      Array.from({ length: 40 }, (_, i) => end - 20 + i),
    );
    const wrong = around.filter(
      (length) => !inflate(deflateLzw(bytes.subarray(0, length))).equals(bytes.subarray(0, length)),
    );
    expect(wrong).toEqual([]);
  });

  test("one inflater for one after the other", () => {
    const inflater = new LzwInflater();
    for (const { plain, lzw } of [...VECTORS.lzw, ...VECTORS.lzw])
      expect(inflater.inflate(hex(lzw), MAX_BYTES).toString("hex")).toBe(plain);
  });
});

test("a table that is full stays as it is until a clear: Go's reader takes what its writer never makes", () => {
  const plain = Buffer.from(Uint8Array.from({ length: 9_000 }, (_, i) => (i * i * 31 + (i >> 3)) & 255));
  expect(inflate(literalCodes(plain)).equals(plain)).toBe(true);
  // The last sequence that was given a code is that of the 3,838th byte and the next: also long after.
  const twice = Buffer.concat([plain, plain.subarray(3_837, 3_839), plain.subarray(3_837, 3_839)]);
  expect(inflate(literalCodes(plain, [4_095, 4_095])).equals(twice)).toBe(true);
});

describe("bounded", () => {
  test("up to the limit and no further", () => {
    const deflated = deflateLzw(Buffer.alloc(1_000, 97));
    expect(inflate(deflated, 1_000)).toHaveLength(1_000);
    expect(() => inflate(deflated, 999)).toThrow(expect.objectContaining({ reason: "limit" }));
  });

  test.each([
    ["nothing", ""],
    ["no end", "00c308"],
    ["a code that does not exist yet", "ffffffff"],
    ["a sequence as the first code", "020302"],
  ])("refused: %s", (_name, bytes) => {
    expect(() => inflate(hex(bytes))).toThrow(expect.objectContaining({ reason: "lzw" }));
  });

  test("any bytes are read or refused", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 3_000 }), (bytes) => {
        try {
          inflate(bytes, 10_000);
        } catch (error) {
          expect(error).toMatchObject({ name: "Refused" });
        }
      }),
    );
  });
});

/** Every byte a code of its own, and no clear but the first, with the widths that the reader expects. */
function literalCodes(plain: Uint8Array, further: readonly number[] = []): Buffer {
  let bits = "";
  let width = 9;
  let highest = 257;
  const push = (code: number) => {
    bits += [...code.toString(2).padStart(width, "0")].reverse().join("");
  };
  push(256);
  for (const code of [...plain, ...further]) {
    push(code);
    if (highest < 4_095) highest++;
    if (highest === 2 ** width && width < 12) width++;
  }
  push(257);
  const bytes = bits.match(/.{1,8}/g) ?? [];
  return Buffer.from(bytes.map((byte) => Number.parseInt([...byte].reverse().join(""), 2)));
}
