import { KeepFetched } from "../../src/blobs/keep-fetched.ts";
import { type Key, keyOfBytes } from "../../src/core/key.ts";
import { KEEPS_AT_ONCE_COUNT } from "../../src/core/limits.ts";
import { silentLogger } from "../../src/core/log.ts";
import { SeededRandom } from "../../src/core/random.ts";
import type { Stage } from "../../src/storage/backend.ts";
import { MemoryBackend } from "../../src/storage/memory.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { fetchBlob, listKeys } from "../support/store-blob.ts";

const BYTES = Buffer.from("fetched from somebody else");
const KEY = keyOfBytes(BYTES);
const PLAIN = { commitStage: (key: Key, stage: Pick<Stage, "commit">) => stage.commit(key) };

function setUp({ writeable = true } = {}) {
  const backend = new MemoryBackend(new SeededRandom(1));
  const keep = new KeepFetched({
    backend,
    localStore: PLAIN,
    isWriteable: () => writeable,
    clock: new ManualClock(),
    log: silentLogger(),
  });
  return { backend, keep };
}

async function* chunksOf(...chunks: Array<string | Error>): AsyncGenerator<Uint8Array> {
  for (const chunk of chunks) {
    if (typeof chunk !== "string") throw chunk;
    yield Buffer.from(chunk);
  }
}

async function drain(chunks: AsyncIterable<Uint8Array>): Promise<string> {
  const parts: Uint8Array[] = [];
  for await (const chunk of chunks) parts.push(chunk);
  return Buffer.concat(parts).toString();
}

test("a small blob is kept in the background", async () => {
  const { backend, keep } = setUp();
  keep.whole(KEY, BYTES);
  await keep.settled();
  expect((await fetchBlob(backend, KEY))?.equals(BYTES)).toBe(true);
});

test("a stream is passed on and kept once it was whole", async () => {
  const { backend, keep } = setUp();
  const key = keyOfBytes(Buffer.from("one two"));
  expect(await drain(keep.stream(key, 7, chunksOf("one ", "two")))).toBe("one two");
  await keep.settled();
  expect((await fetchBlob(backend, key))?.toString()).toBe("one two");
});

test("a stream that breaks, or whose reader goes away, leaves nothing", async () => {
  const { backend, keep } = setUp();
  await expect(drain(keep.stream(KEY, 9, chunksOf("one ", new Error("cut"))))).rejects.toThrow("cut");
  for await (const _chunk of keep.stream(KEY, 9, chunksOf("one ", "two"))) break;
  await keep.settled();
  expect(await listKeys(backend)).toEqual([]);
});

test("a read-only node keeps nothing, and passes everything on", async () => {
  const { backend, keep } = setUp({ writeable: false });
  keep.whole(KEY, BYTES);
  expect(await drain(keep.stream(KEY, 3, chunksOf("one")))).toBe("one");
  await keep.settled();
  expect(await listKeys(backend)).toEqual([]);
});

test("trouble with the own disk is not the reader's", async () => {
  const keep = new KeepFetched({
    backend: { stage: () => Promise.reject(new Error("full")) },
    localStore: PLAIN,
    isWriteable: () => true,
    clock: new ManualClock(),
    log: silentLogger(),
  });
  keep.whole(KEY, BYTES);
  expect(await drain(keep.stream(KEY, 3, chunksOf("one")))).toBe("one");
  await keep.settled();
});

test("a disk that hangs does not hang a blob that comes from another node", async () => {
  const clock = new ManualClock();
  let aborted = 0;
  const stage = {
    write: () => new Promise<never>(() => undefined),
    abort: async () => void aborted++,
  } as unknown as Stage;
  const keep = new KeepFetched({
    backend: { stage: async () => stage },
    localStore: PLAIN,
    isWriteable: () => true,
    clock,
    log: silentLogger(),
  });
  const drained = drain(keep.stream(KEY, 6, chunksOf("one ", "two")));
  await clock.advance(500);
  expect(await drained).toBe("one two");
  expect(aborted).toBe(1);
});

test("C34: at most so many are kept at a time, and one of a key", async () => {
  let stages = 0;
  let release: () => void = () => undefined;
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const backend = new MemoryBackend(new SeededRandom(1));
  const keep = new KeepFetched({
    backend: {
      stage: async () => {
        stages++;
        await held;
        return backend.stage();
      },
    },
    localStore: PLAIN,
    isWriteable: () => true,
    clock: new ManualClock(),
    log: silentLogger(),
  });
  keep.whole(KEY, BYTES);
  keep.whole(KEY, BYTES);
  expect(stages).toBe(1);
  for (let i = 0; i < 20; i++) keep.whole(keyOfBytes(Buffer.from(`blob ${i}`)), Buffer.from(`blob ${i}`));
  expect(stages).toBe(KEEPS_AT_ONCE_COUNT);
  release();
  await keep.settled();
  expect(await listKeys(backend)).toHaveLength(KEEPS_AT_ONCE_COUNT);
});
