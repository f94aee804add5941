import { Gate } from "../../src/core/gate.ts";
import { settle } from "../support/manual-clock.ts";

function holdable() {
  let release!: () => void;
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  return { held, release };
}

test("runs so many at a time, the others in order", async () => {
  const gate = new Gate("test", 2, 10);
  const began: number[] = [];
  const holds = [0, 1, 2, 3].map(() => holdable());
  const runs = holds.map(({ held }, i) =>
    gate.run(async () => {
      began.push(i);
      await held;
    }),
  );
  await settle();
  expect(began).toEqual([0, 1]);
  holds[1]?.release();
  await settle();
  expect(began).toEqual([0, 1, 2]);
  for (const { release } of holds) release();
  await Promise.all(runs);
  expect(began).toEqual([0, 1, 2, 3]);
});

test("refuses beyond its queue with OVERLOADED", async () => {
  const gate = new Gate("test", 1, 1);
  const { held, release } = holdable();
  const first = gate.run(() => held);
  const second = gate.run(async () => "second");
  await expect(gate.run(async () => "third")).rejects.toMatchObject({ code: "OVERLOADED" });
  release();
  await first;
  expect(await second).toBe("second");
});

test("a waiting one that is aborted leaves the queue; a failing one leaves its place", async () => {
  const gate = new Gate("test", 1, 5);
  const { held, release } = holdable();
  const first = gate.run(() => held);
  const controller = new AbortController();
  const aborted = gate.run(async () => "never", controller.signal);
  const failing = gate.run(async () => {
    throw new Error("broken");
  });
  const last = gate.run(async () => "last");
  controller.abort(new Error("gone"));
  await expect(aborted).rejects.toThrow("gone");
  release();
  await first;
  await expect(failing).rejects.toThrow("broken");
  expect(await last).toBe("last");
});
