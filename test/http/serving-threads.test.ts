import { silentLogger } from "../../src/core/log.ts";
import { ServingThreads } from "../../src/http/serving-threads.ts";
import { CopyIndex } from "../../src/storage/copy-index.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { until } from "../support/processes.ts";

const FIGURES = { blobs: 1, bytes: 10, max_bytes: 100, hits: 3, misses: 4 };

function entryOf(code: string): URL {
  const head = 'import { parentPort, workerData } from "node:worker_threads";';
  return new URL(`data:text/javascript,${encodeURIComponent(`${head} ${code}`)}`);
}

const ends: Array<() => Promise<void>> = [];
afterEach(async () => {
  await Promise.all(ends.splice(0).map((end) => end())); // also behind a test that failed: a thread keeps the process alive
});

function threadsOf(entry: URL, count = 2) {
  const clock = new ManualClock();
  const index = new CopyIndex(true);
  const served: unknown[] = [];
  const corrupt: string[] = [];
  const lines: string[] = [];
  const handed: Uint8Array[] = [];
  const note = (_fields: unknown, message: string) => void lines.push(message);
  const threads = new ServingThreads({
    count,
    data: { shareWith: ({ memory }) => index.shareWith(memory) },
    settings: {
      root: "/nowhere",
      host: "127.0.0.1",
      uuid: "u",
      store: "s",
      secrets: [],
      cacheBytes: 0,
      readTimeoutMs: 1,
      writeTimeoutMs: 1,
      ownerPath: "",
    },
    tls: undefined,
    onPut: async (bytes, expected) => {
      handed.push(bytes);
      if (expected) throw new Error("told to");
      const copies = bytes.length > 1 ? [{}, {}] : [];
      return { key: `sha1:${bytes.length}`, success: copies.length > 0, copies, wanted: 2, isNew: true } as never;
    },
    onServed: (report) => void served.push(report),
    onCorrupt: (key) => void corrupt.push(key),
    clock,
    log: { ...silentLogger(), warn: note, error: note },
    entry,
  });
  ends.push(async () => {
    const stopped = threads.stop();
    await clock.advance(20_000);
    await stopped;
  });
  return { threads, clock, served, corrupt, lines, handed };
}

const LISTENS = 'parentPort.postMessage({ told: "listening" });';
const STOPS = 'parentPort.on("message", (order) => { if (order.do === "stop") parentPort.close(); });';

test("what threads tell reaches the owner; figures of all are added up", async () => {
  const report = JSON.stringify({ requests: [], fetched: [], cache: FIGURES, underWay: 2 });
  const { threads, served, corrupt } = threadsOf(
    entryOf(
      `${LISTENS} ${STOPS} parentPort.postMessage({ told: "served", report: ${report} }); parentPort.postMessage({ told: "corrupt", key: "k" });`,
    ),
  );
  await threads.start(1);
  await until("both have told", async () => served.length === 2 && corrupt.length === 2);
  expect(threads.underWay).toBe(4);
  expect(threads.cacheFigures(FIGURES)).toEqual({ blobs: 3, bytes: 30, max_bytes: 300, hits: 9, misses: 12 });
  await threads.stop();
  expect(threads.cacheFigures(FIGURES)).toMatchObject({ blobs: 1, hits: 9, misses: 12 });
});

test("one that dies is told, and another takes its place after a while, longer each time until one listens", async () => {
  const { threads, clock, lines } = threadsOf(entryOf('throw new Error("broken");'), 1);
  await threads.start(1);
  for (const ms of [100, 200, 400]) {
    await until("it has ended", async () => lines.filter((line) => line.includes(`in ${ms} ms`)).length === 1);
    expect(lines.join()).toContain("a serving thread failed: broken");
    await clock.advance(ms);
  }
  await threads.stop();
});

test("one that can't listen is told, and not begun again", async () => {
  const { threads, lines } = threadsOf(
    entryOf(`${STOPS} parentPort.postMessage({ told: "refused", message: "no" });`),
    1,
  );
  await threads.start(1);
  expect(lines).toEqual(["a serving thread can't listen, the others serve: no"]);
  await threads.stop();
});

test("uploads that are handed over together are answered, each by itself, whatever comes of it", async () => {
  const uploads = 'firstId: 7, sizesBytes: [2, 3, 1], expected: [undefined, "k", undefined]';
  const ask = `parentPort.postMessage({ told: "puts", puts: { ${uploads}, bytes: new Uint8Array([1, 2, 3, 4, 5, 6]) } });`;
  const back =
    'parentPort.on("message", (m) => m.do === "answer" && parentPort.postMessage({ told: "error", message: JSON.stringify(m) }));';
  const { threads, lines, handed } = threadsOf(entryOf(`${STOPS} ${back} ${LISTENS} ${ask}`), 1);
  await threads.start(1);
  await until("all are answered", async () => lines.some((line) => line.includes('"do":"answer"')));
  expect(handed.map((bytes) => [...bytes])).toEqual([[1, 2], [3, 4, 5], [6]]);
  const told = lines.find((line) => line.includes('"do":"answer"')) as string;
  expect(JSON.parse(told.slice(told.indexOf("{")))).toEqual({
    do: "answer",
    stored: { ids: [7], keys: ["sha1:2"], copies: [2], wanted: [2], areNew: [true] },
    others: [
      { id: 8, failure: { code: "INTERNAL", message: expect.any(String) } },
      { id: 9, result: { key: "sha1:1", success: false, copies: [], wanted: 2, isNew: true } },
    ],
  });
  await threads.stop();
});

test("one that does not stop is ended", async () => {
  const { threads, clock } = threadsOf(entryOf(`${LISTENS} parentPort.on("message", () => undefined);`), 1);
  await threads.start(1);
  const stopped = threads.stop();
  await clock.advance(20_000);
  await stopped;
});
