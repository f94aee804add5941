import { ReadRepair } from "../../src/blobs/read-repair.ts";
import { type Key, keyOfBytes } from "../../src/core/key.ts";
import { READ_REPAIR_INTERVAL_MS, READ_REPAIR_MAX_COUNT } from "../../src/core/limits.ts";
import { ManualClock } from "../support/manual-clock.ts";

const key = (name: string | number) => keyOfBytes(Buffer.from(String(name)));
const A = key("a");

function setUp() {
  const clock = new ManualClock();
  const added: Key[] = [];
  const queue = { isBusy: false, add: (each: Key) => added.push(each) > 0 };
  return { clock, added, queue, readRepair: new ReadRepair(queue, clock) };
}

describe("C34: fetching a blob", () => {
  test("queues it once within the interval, however often it is fetched", async () => {
    const { readRepair, added, clock } = setUp();
    for (let i = 0; i < 1_000; i++) readRepair.fetched(A);
    await clock.advance(READ_REPAIR_INTERVAL_MS - 1);
    readRepair.fetched(A);
    expect(added).toEqual([A]);
    await clock.advance(1);
    readRepair.fetched(A);
    expect(added).toEqual([A, A]);
  });

  test("of many different ones only so many are remembered and queued, until the interval is over", async () => {
    const { readRepair, added, clock } = setUp();
    for (let i = 0; i < READ_REPAIR_MAX_COUNT + 100; i++) readRepair.fetched(key(i));
    expect(added).toHaveLength(READ_REPAIR_MAX_COUNT);
    await clock.advance(READ_REPAIR_INTERVAL_MS);
    readRepair.fetched(A);
    expect(added).toHaveLength(READ_REPAIR_MAX_COUNT + 1);
  });

  test("is no reason to wait behind real work, and is queued the next time", () => {
    const { readRepair, added, queue } = setUp();
    queue.isBusy = true;
    readRepair.fetched(A);
    expect(added).toEqual([]);
    queue.isBusy = false;
    readRepair.fetched(A);
    expect(added).toEqual([A]);
  });
});
