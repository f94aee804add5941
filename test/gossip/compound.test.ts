import fc from "fast-check";
import { makeCompound, makeCompounds, readCompound } from "../../src/gossip/compound.ts";
import { hex, VECTORS } from "../support/gossip-vectors.ts";

const split = VECTORS.compounds.filter(({ parts }) => parts);

test.each(split.map((vector) => [vector.name, vector] as const))("%s", (_name, vector) => {
  const parts = vector.parts?.map(hex) ?? [];
  expect(makeCompound(parts).toString("hex")).toBe(vector.hex);
  expect(textOf(readCompound(hex(vector.hex).subarray(1)))).toEqual({ parts: vector.parts, missingCount: 0 });
});

test("300 parts make two, as in Go's gossip", () => {
  const [first, second] = split.filter(({ name }) => name.startsWith("300 messages"));
  const parts = [...(first?.parts ?? []), ...(second?.parts ?? [])].map(hex);
  expect(parts).toHaveLength(300);
  expect(makeCompounds(parts).map((bytes) => bytes.toString("hex"))).toEqual([first?.hex, second?.hex]);
});

test("300 parts in one, as Go's sendMsg wraps its count around, are read as Go reads them, and never written", () => {
  const vector = VECTORS.compounds.find(({ readAs }) => readAs);
  expect(textOf(readCompound(hex(vector?.hex ?? "").subarray(1)))).toEqual({
    parts: vector?.readAs?.parts,
    missingCount: vector?.readAs?.truncated,
  });
  expect(() => makeCompound(Array(256).fill(hex("0800")))).toThrow("256 parts");
});

test("a part longer than its length can say is never written", () => {
  expect(makeCompound([new Uint8Array(65_535)])).toHaveLength(2 + 2 + 65_535);
  expect(() => makeCompound([new Uint8Array(65_536)])).toThrow("65536 bytes");
});

test("nothing makes none", () => {
  expect(makeCompounds([])).toEqual([]);
});

test("what is joined is taken apart again", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 20 }), { maxLength: 600 }), (parts) => {
      const compounds = makeCompounds(parts).map((bytes) => readCompound(bytes.subarray(1)));
      expect(compounds.map(({ missingCount }) => missingCount)).toEqual(compounds.map(() => 0));
      expect(compounds.flatMap((compound) => compound.parts)).toEqual(parts);
    }),
  );
});

function textOf({ parts, missingCount }: ReturnType<typeof readCompound>) {
  return { parts: parts.map((part) => Buffer.from(part).toString("hex")), missingCount };
}
