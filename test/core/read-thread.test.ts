import { randomBytes } from "node:crypto";
import { type FileHandle, open, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  READ_BATCH_BLOB_MAX_BYTES,
  READ_BATCH_LEAST_COUNT,
  READ_BATCH_MAX_COUNT,
  READ_BATCHES_AT_ONCE_COUNT,
  READ_COMPANY_COUNT,
  READ_SLOW_REST_COUNT,
} from "../../src/core/limits.ts";
import { readBytes, readInThread } from "../../src/core/read-bytes.ts";
import { ReadThread } from "../../src/core/read-thread.ts";
import { until } from "../support/processes.ts";
import { TemporaryFolders } from "../support/temporary-folder.ts";

const FILE = randomBytes(300_000);
/** As many as it takes. */
const ENOUGH = READ_BATCH_LEAST_COUNT;
const ANSWERS_ALL = "({ reads }) => parentPort.postMessage({ done: reads.length, missing: [] })";

const folders = new TemporaryFolders();
let handle: FileHandle;
let folder: string;
let real: ReadThread | undefined;
beforeAll(async () => {
  folder = await folders.make();
  await writeFile(join(folder, "file"), FILE);
  handle = await open(join(folder, "file"));
});
afterAll(async () => {
  await handle.close();
  await folders.removeAll();
});

interface Read {
  readonly length: number;
  readonly position: number;
  readonly fd?: number;
}

function entryOf(onMessage: string): URL {
  const code = `import { parentPort } from "node:worker_threads"; parentPort.on("message", ${onMessage}); parentPort.postMessage("");`;
  return new URL(`data:text/javascript,${encodeURIComponent(code)}`);
}

/** At the same time. */
function readAll(thread: ReadThread, reads: readonly Read[]): Promise<Array<Buffer | null>> {
  return Promise.all(
    reads.map(({ length, position, fd = handle.fd }) => thread.read({ fd }, length, position, reads.length)),
  );
}

function same(count: number, length = 10): Read[] {
  return Array.from({ length: count }, (_, i) => ({ length, position: i * length }));
}

/** One that runs: what is asked before is nobody's. */
async function running(onMessage?: string): Promise<ReadThread> {
  const thread = onMessage ? new ReadThread(entryOf(onMessage)) : new ReadThread();
  await until("the thread runs", async () => !(await readAll(thread, same(ENOUGH))).includes(null));
  return thread;
}

async function rested(thread: ReadThread): Promise<void> {
  await Promise.all(Array.from({ length: READ_SLOW_REST_COUNT }, () => thread.read(handle, 1, 0, ENOUGH)));
}

/** When the system lets the thread wait, it takes its disk to be slow, and rests: then it is tried again. */
async function readByThread(reads: readonly Read[], isExpected: (index: number) => boolean): Promise<void> {
  real ??= await running();
  const expected = reads.map((_, i) => isExpected(i));
  for (let tries = 0; ; tries++) {
    const all = await readAll(real, reads);
    all.forEach((bytes, i) => {
      const { length, position } = reads[i] as Read;
      if (bytes && !bytes.equals(FILE.subarray(position, position + length))) throw new Error(`read ${i} is wrong`);
    });
    const there = all.map((bytes) => bytes !== null);
    if (there.join() === expected.join()) return;
    if (tries === 20) expect(there).toEqual(expected);
    await rested(real);
  }
}

describe("reads that come at the same time are made by the thread:", () => {
  test.each([0, 1, 100, 4_096, 65_536, READ_BATCH_BLOB_MAX_BYTES])("of %i bytes", async (length) => {
    await readByThread(
      Array.from({ length: 12 }, (_, i) => ({ length, position: i * 1_001 })),
      () => true,
    );
  });

  test.each([ENOUGH, READ_BATCH_MAX_COUNT, READ_BATCH_MAX_COUNT + ENOUGH, 3 * READ_BATCH_MAX_COUNT])(
    "%i of several sizes",
    async (count) => {
      const reads = Array.from({ length: count }, (_, i) => ({ length: (i * 997) % 9_000, position: i * 1_500 }));
      await readByThread(reads, () => true);
    },
  );

  test("those that can't be made are left out, and the others are right", async () => {
    const closed = await open(join(folder, "file"));
    const { fd } = closed;
    await closed.close();
    const folderHandle = await open(folder);
    const end = FILE.length;
    const reads: Read[] = same(16, 500);
    reads[0] = { length: 100, position: end - 99 };
    reads[3] = { length: 100, position: end };
    reads[5] = { length: 100, position: end + 10_000 };
    reads[7] = { length: 100, position: 0, fd };
    reads[8] = { length: 100, position: 0, fd: -1 };
    reads[9] = { length: 100, position: 0, fd: 99_999 };
    reads[15] = { length: 100, position: 0, fd: folderHandle.fd };
    await readByThread(reads, (i) => ![0, 3, 5, 7, 8, 9, 15].includes(i));
    await folderHandle.close();
  });

  test("and what was read stays as it is when others are read", async () => {
    real ??= await running();
    const positions = Array.from({ length: 20 }, (_, i) => 10_000 * i);
    const read: Array<Buffer | null> = [];
    for (const position of positions) {
      const both = [position, position + 100].map((at) => ({ length: 100, position: at }));
      const [first = null] = await readAll(real, [...both, ...same(ENOUGH)]);
      if (!first) await rested(real);
      read.push(first);
    }
    read.forEach((bytes, i) => {
      const position = positions[i] as number;
      if (bytes) expect(bytes.equals(FILE.subarray(position, position + 100))).toBe(true);
    });
    expect(read.filter((bytes) => bytes !== null).length).toBeGreaterThan(1);
  });

  test("up to the last byte of the file", async () => {
    await readByThread(
      same(ENOUGH).map(() => ({ length: 100, position: FILE.length - 100 })),
      () => true,
    );
  });
});

describe("left to who asks:", () => {
  test("too few reads at a time, at once", async () => {
    const thread = new ReadThread(entryOf(ANSWERS_ALL));
    for (let count = 1; count < ENOUGH; count++) expect(thread.read(handle, 10, 0, count)).toBeNull();
  });

  test("reads that come alone, and after so many of them the next ones at once", async () => {
    const thread = await running(ANSWERS_ALL);
    for (let i = 0; i < READ_COMPANY_COUNT; i++) {
      const alone = thread.read(handle, 10, 0, 1);
      expect(alone).not.toBeNull();
      expect(await alone).toBeNull();
    }
    expect(thread.read(handle, 10, 0, ENOUGH - 1)).toBeNull();
    expect(await readAll(thread, same(ENOUGH))).not.toContain(null);
  });

  test("large reads, at once", async () => {
    const thread = await running(ANSWERS_ALL);
    expect(thread.read(handle, READ_BATCH_BLOB_MAX_BYTES + 1, 0, 100)).toBeNull();
    expect(thread.read(handle, READ_BATCH_BLOB_MAX_BYTES, 0, 100)).not.toBeNull();
  });

  test("reads before the thread runs", async () => {
    expect(await readAll(new ReadThread(), same(20))).toEqual(Array(20).fill(null));
  });

  test("reads for a thread that can't be begun", async () => {
    const thread = new ReadThread(new URL("file:///no/such/file.js"));
    for (let i = 0; i < 5; i++) expect(await readAll(thread, same(20))).toEqual(Array(20).fill(null));
  });

  test.each([
    ["dies", 'throw new Error("oh")'],
    ["ends", "process.exit(0)"],
  ])("reads of a thread that %s, and all that come later", async (_name, end) => {
    const thread = await running(
      `(batch) => { if (batch.reads.length > ${ENOUGH}) { ${end}; } (${ANSWERS_ALL})(batch); }`,
    );
    // The second of these batches is never looked at.
    expect(await readAll(thread, same(READ_BATCH_MAX_COUNT + 10))).toEqual(Array(READ_BATCH_MAX_COUNT + 10).fill(null));
    for (let i = 0; i < 3; i++) expect(await readAll(thread, same(20))).toEqual(Array(20).fill(null));
    const later = await readAll(thread, same(READ_SLOW_REST_COUNT));
    expect(later.every((bytes) => bytes === null)).toBe(true);
    expect(await readAll(thread, same(20))).toEqual(Array(20).fill(null));
  });
});

test("once reads came together, two of them are enough, however few are under way", async () => {
  const thread = await running(ANSWERS_ALL);
  for (let i = 0; i < 2 * READ_COMPANY_COUNT; i++) {
    const pair = [thread.read(handle, 10, 0, 1), thread.read(handle, 10, 10, 2)];
    expect(await Promise.all(pair)).not.toContain(null);
    expect(await thread.read(handle, 10, 0, 1)).toBeNull();
  }
});

test("a thread that left some undone rests for so many reads, then it is tried again", async () => {
  const leaves = `({ reads, memory }) => {
    memory.set(Array.from({ length: 100 }, (_, i) => i));
    const isLarge = reads.length > ${ENOUGH};
    parentPort.postMessage({ done: isLarge ? 3 : reads.length, missing: isLarge ? [1] : [] });
  }`;
  const thread = await running(leaves);
  const bytesFrom = (first: number) => Buffer.from(Array.from({ length: 10 }, (_, i) => first + i));
  const nulls = Array(ENOUGH).fill(null);
  expect(await readAll(thread, same(ENOUGH + 3))).toEqual([bytesFrom(0), null, bytesFrom(20), ...nulls]);
  for (let i = 0; i < READ_SLOW_REST_COUNT; i++) expect(thread.read(handle, 10, 0, 100)).toBeNull();
  expect(await readAll(thread, same(ENOUGH))).not.toContain(null);
});

test("with so many batches unanswered it takes no more, until there are answers", async () => {
  const answersLate = `(() => {
    let held = [];
    return (batch) => {
      const answer = () => (${ANSWERS_ALL})(batch);
      if (batch.reads.length < ${READ_BATCH_MAX_COUNT}) return answer();
      held.push(answer);
      if (held.length < ${READ_BATCHES_AT_ONCE_COUNT}) return;
      for (const give of held) give();
      held = [];
    };
  })()`;
  const thread = await running(answersLate);
  const full = READ_BATCHES_AT_ONCE_COUNT * READ_BATCH_MAX_COUNT;
  // A full batch is sent when one more read comes, without waiting for the end of the turn.
  const taken = Array.from({ length: full }, () => thread.read(handle, 10, 0, 100));
  const more = Array.from({ length: 10 }, () => thread.read(handle, 10, 0, 100));
  expect(taken).not.toContain(null);
  expect(more.slice(1)).toEqual(Array(9).fill(null));
  expect(await Promise.all(taken)).not.toContain(null);
  expect(await readAll(thread, same(ENOUGH))).not.toContain(null);
});

describe("readBytes", () => {
  /** Counts what is read by itself. */
  function counted(): { handle: FileHandle; alone: () => number } {
    let count = 0;
    const read = (...args: Parameters<FileHandle["read"]>) => {
      count++;
      return handle.read(...args);
    };
    return { handle: { fd: handle.fd, read } as unknown as FileHandle, alone: () => count };
  }

  const READS = Array.from({ length: 60 }, (_, i) => ({
    length: (i * 1_999) % 80_000,
    position: (i * 7_919) % 200_000,
  }));

  async function readRightly(from: FileHandle): Promise<void> {
    const all = await Promise.all(READS.map(({ length, position }) => readBytes(from, length, position)));
    all.forEach((bytes, i) => {
      const { length, position } = READS[i] as Read;
      expect(bytes.equals(FILE.subarray(position, position + length))).toBe(true);
    });
  }

  async function isToldAndShort(): Promise<void> {
    const closed = await open(join(folder, "file"));
    await closed.close();
    const folderHandle = await open(folder);
    const many = async (from: FileHandle, position: number) =>
      Promise.allSettled(Array.from({ length: 10 }, () => readBytes(from, 100, position)));
    for (const result of await many(closed, 0)) expect(result).toMatchObject({ reason: { code: "EBADF" } });
    for (const result of await many(folderHandle, 0)) expect(result).toMatchObject({ reason: { code: "EISDIR" } });
    const last = FILE.subarray(-30);
    for (const result of await many(handle, FILE.length - 30)) expect(result).toMatchObject({ value: last });
    for (const result of await many(handle, FILE.length)) expect(result).toMatchObject({ value: Buffer.alloc(0) });
    await folderHandle.close();
  }

  // In this order: once there is a thread it stays.
  test("reads by itself where there is no thread", async () => {
    const { handle: alone, alone: count } = counted();
    await readRightly(alone);
    expect(count()).toBeGreaterThanOrEqual(READS.length - 1); // all but one, which wants nothing
    await isToldAndShort();
  });

  test("reads in the thread what comes together, and tells of errors and ends of files as without it", async () => {
    readInThread();
    await readRightly(handle); // while it begins
    await isToldAndShort();
    await until("the thread does it", async () => {
      const { handle: from, alone } = counted();
      await readRightly(from);
      return alone() < READS.length / 2;
    });
    await isToldAndShort();
    await readRightly(handle);
  });

  test("one read at a time is none for the thread", async () => {
    const { handle: from, alone } = counted();
    for (let i = 0; i < 20; i++) {
      expect((await readBytes(from, 100, i)).equals(FILE.subarray(i, i + 100))).toBe(true);
    }
    expect(alone()).toBe(20);
    // Nor does one wait for others to come.
    const last = readBytes(from, 100, 0);
    for (let i = 0; i < 10; i++) await Promise.resolve();
    expect(alone()).toBe(21);
    await last;
  });
});
