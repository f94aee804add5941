import { Worker } from "node:worker_threads";
import { type Key, keyOfBytes } from "../../src/core/key.ts";
import { SeededRandom } from "../../src/core/random.ts";
import { CopyIndex } from "../../src/storage/copy-index.ts";
import { SharedIndex } from "../../src/storage/shared-index.ts";
import { readStable, type SharedMemory, TableShare } from "../../src/storage/table-share.ts";
import { placeOf } from "../support/index-places.ts";

const keys = (from: number, count: number): Key[] =>
  Array.from({ length: count }, (_, i) => keyOfBytes(Buffer.from(`key ${from + i}`)));

function shared() {
  const index = new CopyIndex(true);
  const reader = new SharedIndex();
  const told: SharedMemory[] = [];
  index.shareWith((memory) => {
    told.push(memory);
    reader.use(memory);
  });
  return { index, reader, told };
}

test("a reader finds what the owner has put, and where it is now", () => {
  const { index, reader, told } = shared();
  const all = keys(0, 20_000);
  for (const [i, key] of all.entries()) {
    if (i % 10 === 0) index.noteFile(key);
    else index.setPlace(key, placeOf(key));
    if (i % 7 === 0) index.remove(key);
  }
  for (const [i, key] of all.entries()) {
    const expected = i % 7 === 0 ? null : i % 10 === 0 ? "file" : placeOf(key);
    expect(reader.place(key)).toEqual(expected);
  }
  expect(told.length).toBeGreaterThan(3); // the memory was exchanged now and then
});

test("keys that somebody chose, so that all begin alike", () => {
  const { index, reader } = shared();
  const alike = Array.from(
    { length: 3_000 },
    (_, i) => `sha1:${"ab".repeat(14)}${i.toString(16).padStart(12, "0")}` as Key,
  );
  for (const key of alike) index.setPlace(key, placeOf(key));
  for (const key of alike) expect(reader.place(key)).toEqual(placeOf(key));
  for (const key of alike.slice(10)) index.remove(key);
  expect(alike.map((key) => reader.place(key) !== null)).toEqual(alike.map((_, i) => i < 10));
});

test("memory that was exchanged is not read before the reader is told of the new one", () => {
  const index = new CopyIndex(true);
  const reader = new SharedIndex();
  const told: SharedMemory[] = [];
  index.shareWith((memory) => void told.push(memory));
  const [first, ...rest] = keys(0, 5_000) as [Key, ...Key[]];
  expect(reader.place(first)).toBeNull(); // of nothing yet
  reader.use(told.at(-1) as SharedMemory);
  index.setPlace(first, placeOf(first));
  expect(reader.place(first)).toEqual(placeOf(first));
  for (const key of rest) index.setPlace(key, placeOf(key));
  expect(reader.place(first)).toBeNull();
  reader.use(told.at(-1) as SharedMemory);
  expect(reader.place(first)).toEqual(placeOf(first));
});

test("what was seen while the owner changed the table is not believed, and looked at again, a few times at most", () => {
  const share = new TableShare();
  const { control, generation } = share;
  const memory = { control, generation, words: control, entries: control, entryBytes: 0 };
  const changeDuring = (times: number) => {
    let looks = 0;
    const found = readStable(memory, () => {
      if (++looks > times) return looks;
      share.begin();
      share.end();
      return 0;
    });
    return [found, looks];
  };
  expect([changeDuring(0), changeDuring(2)]).toEqual([
    [1, 1],
    [3, 3],
  ]);
  expect(changeDuring(1_000)).toEqual([undefined, 8]);
});

test("an index that is not shared tells nobody anything", () => {
  const index = new CopyIndex();
  index.shareWith(() => {
    throw new Error("told");
  });
  for (const key of keys(0, 5_000)) index.noteFile(key);
});

test("another thread reads while this one changes it: never a wrong place", async () => {
  const index = new CopyIndex(true);
  const staying = keys(0, 2_000);
  const going = keys(10_000, 4_000);
  for (const key of staying) index.setPlace(key, placeOf(key));
  const worker = new Worker(new URL("../support/shared-index-reader.ts", `file://${__filename}`), {
    workerData: { staying, going },
  });
  const ended = new Promise<{ right: number; wrong: number; unsure: number }>((resolve, reject) => {
    worker.once("message", resolve).once("error", reject);
  });
  index.shareWith((memory) => worker.postMessage(memory));
  const random = new SeededRandom(7);
  const until = performance.now() + 1_500;
  while (performance.now() < until) {
    for (let i = 0; i < 2_000; i++) {
      const key = going[Math.floor(random.next() * going.length)] as Key;
      if (random.next() < 0.5) index.setPlace(key, placeOf(key));
      else index.remove(key);
    }
    await new Promise((turn) => setImmediate(turn));
  }
  worker.postMessage("stop");
  const found = await ended;
  expect(found.wrong).toBe(0);
  expect(found.right).toBeGreaterThan(10_000);
}, 30_000);
