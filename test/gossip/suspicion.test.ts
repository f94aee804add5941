import { Suspicion } from "../../src/gossip/suspicion.ts";

const begun = (wanted = 2) => new Suspicion({ from: "a", wanted, minMs: 4_000, maxMs: 24_000, nowMs: 1_000 });

test("each further accuser brings the end closer, down to the least time", () => {
  const suspicion = begun();
  expect(suspicion.dueMs()).toBe(25_000);
  expect(suspicion.confirm("b")).toBe(true);
  expect(suspicion.dueMs()).toBe(12_381);
  expect(suspicion.confirm("c")).toBe(true);
  expect(suspicion.dueMs()).toBe(5_000);
});

test("who accused before adds nothing, nor does one more than are wanted", () => {
  const suspicion = begun();
  expect(suspicion.confirm("a")).toBe(false);
  suspicion.confirm("b");
  expect(suspicion.confirm("b")).toBe(false);
  suspicion.confirm("c");
  for (let i = 0; i < 1_000; i++) expect(suspicion.confirm(`invented-${i}`)).toBe(false);
  expect(suspicion.confirmations).toBe(2);
});

test("where there is nobody to confirm, the least time applies", () => {
  expect(begun(0).dueMs()).toBe(5_000);
});

test("the time for which this process stood still does not count", () => {
  const suspicion = begun();
  suspicion.postpone(3_000);
  expect(suspicion.dueMs()).toBe(28_000);
});
