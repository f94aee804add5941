import fc from "fast-check";
import { SeededRandom, SystemRandom } from "../../src/core/random.ts";

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

function sequence(seed: number): unknown[] {
  const random = new SeededRandom(seed);
  return [...Array.from({ length: 20 }, () => random.next()), random.uuid(), random.hex(8)];
}

test("the same seed gives the same sequence, another seed another one", () => {
  fc.assert(
    fc.property(fc.integer(), (seed) => {
      expect(sequence(seed)).toEqual(sequence(seed));
      expect(sequence(seed)).not.toEqual(sequence(seed + 1));
    }),
  );
});

test("the sequence of a seed never changes: a seed that was noted down must go on meaning the same run", () => {
  const random = new SeededRandom(1);
  expect([random.next(), random.next()]).toEqual([0.6270739405881613, 0.002735721180215478]);
});

test.each([
  ["seeded", () => new SeededRandom(7)],
  ["system", () => new SystemRandom()],
])("%s: numbers lie in [0, 1) and fill it evenly, UUIDs and hex have their form", (_name, make) => {
  const random = make();
  const tenths = new Array<number>(10).fill(0);
  for (let i = 0; i < 10_000; i++) {
    const value = random.next();
    expect(value >= 0 && value < 1).toBe(true);
    tenths[Math.floor(value * 10)] = (tenths[Math.floor(value * 10)] as number) + 1;
  }
  expect(Math.min(...tenths)).toBeGreaterThan(800);
  expect(random.uuid()).toMatch(UUID);
  expect(random.uuid()).not.toBe(random.uuid());
  expect(random.hex(16)).toMatch(/^[0-9a-f]{32}$/);
  expect(random.hex(0)).toBe("");
});
