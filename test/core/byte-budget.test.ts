import { ByteBudget } from "../../src/core/byte-budget.ts";

test("grants bytes as long as there are some, and never waits", () => {
  const budget = new ByteBudget(100);
  expect(budget.tryTake(60)).toBe(true);
  expect(budget.tryTake(41)).toBe(false);
  expect(budget.freeBytes).toBe(40);
  expect(budget.tryTake(40)).toBe(true);
  expect(budget.tryTake(0)).toBe(true);
  expect(budget.tryTake(1)).toBe(false);
  budget.give(60);
  expect(budget.freeBytes).toBe(60);
  expect(budget.tryTake(60)).toBe(true);
});
