import fc from "fast-check";
import { KeyedMutex } from "../../src/core/keyed-mutex.ts";
import { settle } from "../support/manual-clock.ts";

test("work on one key runs one at a time, in the order asked for; other keys do not wait", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.constantFrom("a", "b", "c"), { maxLength: 30 }), async (keys) => {
      const mutex = new KeyedMutex();
      const running = new Set<string>();
      const done: Array<readonly [string, number]> = [];
      await Promise.all(
        keys.map((key, i) =>
          mutex.run(key, async () => {
            expect(running.has(key)).toBe(false);
            running.add(key);
            await new Promise((resolve) => setImmediate(resolve));
            running.delete(key);
            done.push([key, i]);
          }),
        ),
      );
      for (const key of ["a", "b", "c"]) {
        const order = done.filter(([each]) => each === key).map(([, i]) => i);
        expect(order).toEqual([...order].sort((x, y) => x - y));
      }
      expect(done).toHaveLength(keys.length);
      expect(mutex.size).toBe(0);
    }),
    { numRuns: 30 },
  );
});

test("the work on another key goes on while one hangs", async () => {
  const mutex = new KeyedMutex();
  void mutex.run("a", () => new Promise(() => undefined));
  let second = false;
  void mutex.run("a", async () => {
    second = true;
  });
  expect(await mutex.run("b", async () => "done")).toBe("done");
  await settle();
  expect(second).toBe(false);
  expect(mutex.size).toBe(1);
});

test("a failure is told to its caller alone, and the next one runs", async () => {
  const mutex = new KeyedMutex();
  const failing = mutex.run("a", async () => {
    throw new Error("broken");
  });
  const next = mutex.run("a", async () => "next");
  await expect(failing).rejects.toThrow("broken");
  expect(await next).toBe("next");
  expect(mutex.size).toBe(0);
});
