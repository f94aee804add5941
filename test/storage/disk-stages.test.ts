import { readdir, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { ByteBudget } from "../../src/core/byte-budget.ts";
import { keyOfBytes } from "../../src/core/key.ts";
import { STAGE_RESERVE_BYTES, STAGED_IN_MEMORY_MAX_BYTES, WHOLE_BLOB_MAX_BYTES } from "../../src/core/limits.ts";
import { PiecePool, recycle } from "../../src/core/piece-pool.ts";
import { SystemRandom } from "../../src/core/random.ts";
import type { Stage } from "../../src/storage/backend.ts";
import { DiskBackend } from "../../src/storage/disk.ts";
import { type FileSystem, systemFiles } from "../../src/storage/file-system.ts";
import { type DiskUnderTest, openDisk } from "../support/disk-under-test.ts";
import { bytesOf, fetchBlob, listKeys, storeBlob } from "../support/store-blob.ts";
import { TemporaryFolders } from "../support/temporary-folder.ts";
import { type Call, systemError } from "../support/watched-files.ts";

const folders = new TemporaryFolders();
afterAll(() => folders.removeAll());

const LARGE = bytesOf(2 * WHOLE_BLOB_MAX_BYTES);

let disk: DiskUnderTest;
beforeEach(async () => {
  disk = await openDisk(await folders.make());
});
afterEach(() => disk.backend.close());

function staged(): Promise<string[]> {
  return readdir(disk.layout.stage);
}

async function stageOf(bytes: Uint8Array): Promise<Stage> {
  const stage = await disk.backend.stage();
  await stage.write(bytes);
  return stage;
}

// Go Cask's verification met half-written uploads, and "repaired" them.
describe("C18: nothing ever looks at a stage", () => {
  test("an upload under way is neither listed, nor found, nor foreign", async () => {
    const { key } = await storeBlob(disk.backend, bytesOf(10));
    const stage = await stageOf(LARGE);
    expect(await staged()).toHaveLength(1);
    disk.watched.calls = [];
    expect(await listKeys(disk.backend)).toEqual([key]);
    expect(disk.backend.foreignFiles).toBe(0);
    expect(await disk.backend.get(keyOfBytes(LARGE))).toBeNull();
    expect(await disk.backend.stat(keyOfBytes(LARGE))).toBeNull();
    expect(disk.watched.calls.filter(({ path }) => path.startsWith(disk.layout.stage))).toEqual([]);
    expect(await stage.commit(keyOfBytes(LARGE))).toBe("stored");
    await stage.abort();
  });

  test("nor is its name ever that of a blob", async () => {
    const stages = await Promise.all(Array.from({ length: 20 }, () => stageOf(LARGE)));
    const names = await staged();
    expect(names).toHaveLength(20);
    for (const name of names) expect(name).not.toMatch(/^[0-9a-f]{38}$|^[0-9a-f]{40}$|^data/);
    await Promise.all(stages.map((stage) => stage.abort()));
  });
});

// Go Cask spooled uploads to the system's temporary disk.
describe("C19: a stage lies on the data disk", () => {
  test("in the root, on the device of the blobs; nothing is written anywhere else", async () => {
    const stage = await stageOf(LARGE);
    const [name] = await staged();
    const [file, blobs] = await Promise.all([stat(disk.layout.staged(name as string)), stat(disk.layout.blobs)]);
    expect(file.size).toBe(LARGE.length);
    expect(file.dev).toBe(blobs.dev);
    expect(disk.watched.calls.every(({ path }) => path.startsWith(disk.layout.root))).toBe(true);
    await stage.commit(keyOfBytes(LARGE));
    expect((await stat(disk.layout.blob(keyOfBytes(LARGE)))).ino).toBe(file.ino); // renamed, not copied
    await stage.abort();
  });
});

describe("C6: an error on the way in", () => {
  test.each([
    ["EIO", "STORAGE_FAILED"],
    ["ENOSPC", "NO_SPACE"],
    ["EDQUOT", "NO_SPACE"],
  ])("%s: %s; nothing of it can be committed, and nothing stays", async (system, code) => {
    const stage = await stageOf(LARGE.subarray(0, WHOLE_BLOB_MAX_BYTES + 1));
    disk.watched.fail = ({ name }) => (name === "write" ? systemError(system) : undefined);
    await expect(stage.write(LARGE.subarray(WHOLE_BLOB_MAX_BYTES + 1))).rejects.toMatchObject({ code });
    disk.watched.fail = () => undefined;
    await expect(stage.write(LARGE)).rejects.toMatchObject({ code: "STORAGE_FAILED" });
    const prefix = keyOfBytes(LARGE.subarray(0, WHOLE_BLOB_MAX_BYTES + 1));
    await expect(stage.commit(prefix)).rejects.toMatchObject({ code: "STORAGE_FAILED" });
    await stage.abort();
    expect(await staged()).toEqual([]);
    expect(await listKeys(disk.backend)).toEqual([]);
  });

  test("an error while a small one goes to its file at last: nothing stays", async () => {
    const stage = await stageOf(bytesOf(1000));
    disk.watched.fail = ({ name }) => (name === "write" ? systemError("ENOSPC") : undefined);
    await expect(stage.commit(keyOfBytes(bytesOf(1000)))).rejects.toMatchObject({ code: "NO_SPACE" });
    await stage.abort();
    expect(await staged()).toEqual([]);
    expect(await listKeys(disk.backend)).toEqual([]);
  });

  test("a write that takes less than it was given is continued", async () => {
    const stage = await disk.backend.stage(LARGE.length);
    await stage.write(LARGE.subarray(0, 10));
    disk.watched.shorten = ({ name }, bytes) => (name === "write" ? Math.ceil(bytes / 3) : bytes);
    await stage.write(LARGE.subarray(10));
    await stage.commit(keyOfBytes(LARGE));
    await stage.abort();
    expect(disk.watched.names().filter((name) => name === "write").length).toBeGreaterThan(10);
    expect((await fetchBlob(disk.backend, keyOfBytes(LARGE)))?.equals(LARGE)).toBe(true);
  });

  test("a file that can't be closed is removed all the same, and said", async () => {
    const stage = await stageOf(LARGE);
    disk.watched.fail = ({ name }) => (name === "close" ? systemError("EIO") : undefined);
    await stage.abort();
    expect(await staged()).toEqual([]);
    expect(disk.notices).toEqual([expect.stringContaining("EIO")]);
  });

  test("a file that can't be removed is said, and removed by the next start", async () => {
    const stage = await stageOf(LARGE);
    disk.watched.fail = ({ name }) => (name === "unlink" ? systemError("EIO") : undefined);
    await stage.abort();
    expect(await staged()).toHaveLength(1);
    expect(disk.notices).toEqual([expect.stringContaining("the next start will do it")]);
    await disk.backend.close();
    disk = await openDisk(disk.layout.root);
    expect(await staged()).toEqual([]);
  });
});

describe("a stage that has a piece of a pool", () => {
  const BYTES = bytesOf(700_000);
  const pool = new PiecePool(WHOLE_BLOB_MAX_BYTES, 1, { aligned: true });

  async function pieceStage(bytes: Uint8Array): Promise<Stage> {
    const piece = pool.take() as Buffer;
    piece.set(bytes);
    const stage = await disk.backend.stage();
    await stage.write(piece.subarray(0, bytes.length));
    recycle(piece);
    return stage;
  }

  function isFree(): boolean {
    const piece = pool.take();
    if (piece) recycle(piece);
    return piece !== null;
  }

  afterEach(() => expect(isFree()).toBe(true));

  test.each([
    ["past the page cache", () => undefined],
    [
      "through it where the filesystem can't do without",
      ({ name }: Call) => (name === "truncate" ? systemError("EINVAL") : undefined),
    ],
  ])("goes to its file %s, and can be read from memory until it ends", async (_name, fail) => {
    const stage = await pieceStage(BYTES);
    disk.watched.fail = fail;
    expect(await stage.commit(keyOfBytes(BYTES))).toBe("stored");
    expect(isFree()).toBe(false); // another node may be getting it from there
    expect(stage.inMemory?.()).toEqual(BYTES);
    for await (const chunk of stage.read()) {
      expect(BYTES.equals(chunk)).toBe(true);
      recycle(chunk); // as a reader may
    }
    expect(isFree()).toBe(false);
    await stage.abort();
    expect(stage.inMemory?.()).toBeUndefined();
    expect(isFree()).toBe(true);
    expect(await staged()).toEqual([]);
    expect((await fetchBlob(disk.backend, keyOfBytes(BYTES)))?.equals(BYTES)).toBe(true);
  });

  test.each([
    ["open", "ENOSPC", "NO_SPACE"],
    ["write", "ENOSPC", "NO_SPACE"],
    ["write", "EIO", "STORAGE_FAILED"],
    ["sync", "EIO", "STORAGE_FAILED"],
  ])("an error of %s (%s): nothing stays, and nothing is said that is not so", async (name, system, code) => {
    const stage = await pieceStage(BYTES);
    disk.watched.fail = ({ name: called, path }) =>
      called === name && path.startsWith(disk.layout.stage) ? systemError(system) : undefined;
    await expect(stage.commit(keyOfBytes(BYTES))).rejects.toMatchObject({ code });
    await stage.abort();
    expect(await staged()).toEqual([]);
    expect(disk.notices).toEqual([]);
    expect(await listKeys(disk.backend)).toEqual([]);
  });

  test("does without one where that is worth no piece, or memory has no room for it", async () => {
    const small = await pieceStage(bytesOf(100_000));
    expect(isFree()).toBe(true);
    await small.abort();
    await disk.backend.close();
    disk = await openDisk(disk.layout.root, { stageBudget: new ByteBudget(0) });
    const stage = await pieceStage(BYTES);
    expect(isFree()).toBe(true);
    await stage.commit(keyOfBytes(BYTES));
    await stage.abort();
  });

  test("is let in without a look at the free space, as long as there was plenty a moment ago", async () => {
    const looks = () => disk.watched.names().filter((name) => name === "statfs").length;
    for (let i = 0; i < 8; i++) await (await disk.backend.stage(WHOLE_BLOB_MAX_BYTES)).abort();
    expect(looks()).toBe(1);
    await (await disk.backend.stage(WHOLE_BLOB_MAX_BYTES)).abort();
    await (await disk.backend.stage(WHOLE_BLOB_MAX_BYTES)).abort();
    expect(looks()).toBe(2);
    await (await disk.backend.stage(WHOLE_BLOB_MAX_BYTES + 1)).abort();
    expect(looks()).toBe(3);
  });

  test("is refused at once where the space is nearly used up", async () => {
    let [bavail, looks] = [STAGE_RESERVE_BYTES + WHOLE_BLOB_MAX_BYTES, 0];
    const statfs = async () => {
      looks++;
      return { bavail, blocks: 2 * bavail, bsize: 1 };
    };
    const files: FileSystem = { ...systemFiles, statfs: statfs as unknown as FileSystem["statfs"] };
    const random = new SystemRandom();
    const backend = await DiskBackend.open({ root: await folders.make(), random, onNotice: () => undefined, files });
    looks = 0;
    for (let i = 0; i < 3; i++) await (await backend.stage(WHOLE_BLOB_MAX_BYTES)).abort();
    expect(looks).toBe(3);
    bavail = WHOLE_BLOB_MAX_BYTES - 1;
    await expect(backend.stage(WHOLE_BLOB_MAX_BYTES)).rejects.toMatchObject({ code: "NO_SPACE" });
    await backend.close();
  });
});

describe("stages in memory share one budget", () => {
  const PIECE = bytesOf(16 * 1024);

  test("those that get none of it go to files; what ends gives its part back", async () => {
    await disk.backend.close();
    const stageBudget = new ByteBudget(4 * PIECE.length);
    disk = await openDisk(disk.layout.root, { stageBudget });
    const stages: Stage[] = [];
    for (let i = 0; i < 10; i++) stages.push(await stageOf(PIECE));
    expect(stageBudget.freeBytes).toBe(0);
    expect(await staged()).toHaveLength(6);
    await stages[0]?.abort();
    expect(stageBudget.freeBytes).toBe(PIECE.length);
    await stages[1]?.commit(keyOfBytes(PIECE));
    await stages[1]?.abort();
    expect(stageBudget.freeBytes).toBe(2 * PIECE.length);
    stages.push(await stageOf(PIECE));
    expect(await staged()).toHaveLength(6);
    await Promise.all(stages.map((stage) => stage.abort()));
    expect(stageBudget.freeBytes).toBe(4 * PIECE.length);
    expect(await staged()).toEqual([]);
  });

  test("bytes that are taken without a copy count as well", async () => {
    await disk.backend.close();
    const stageBudget = new ByteBudget(PIECE.length);
    disk = await openDisk(disk.layout.root, { stageBudget });
    const stages = await Promise.all([disk.backend.stage(), disk.backend.stage()]);
    for (const stage of stages) await stage.write(Uint8Array.from(PIECE), true);
    expect([stageBudget.freeBytes, (await staged()).length]).toEqual([0, 1]);
    await Promise.all(stages.map((stage) => stage.abort()));
    expect(stageBudget.freeBytes).toBe(PIECE.length);
  });

  test("one that grows out of memory gives its part back, and one that fails does", async () => {
    await disk.backend.close();
    const stageBudget = new ByteBudget(4 * WHOLE_BLOB_MAX_BYTES);
    disk = await openDisk(disk.layout.root, { stageBudget });
    const stage = await stageOf(LARGE.subarray(0, WHOLE_BLOB_MAX_BYTES));
    expect(stageBudget.freeBytes).toBe(3 * WHOLE_BLOB_MAX_BYTES);
    await stage.write(LARGE.subarray(WHOLE_BLOB_MAX_BYTES));
    expect(stageBudget.freeBytes).toBe(4 * WHOLE_BLOB_MAX_BYTES);
    await stage.commit(keyOfBytes(LARGE));
    await stage.abort();
    expect((await fetchBlob(disk.backend, keyOfBytes(LARGE)))?.equals(LARGE)).toBe(true);
    const failing = await stageOf(PIECE);
    disk.watched.fail = ({ name }) => (name === "open" ? systemError("ENOSPC") : undefined);
    await expect(failing.write(LARGE)).rejects.toMatchObject({ code: "NO_SPACE" });
    await failing.abort();
    expect(stageBudget.freeBytes).toBe(4 * WHOLE_BLOB_MAX_BYTES);
  });

  test("without another budget it is that of the limits", async () => {
    const count = STAGED_IN_MEMORY_MAX_BYTES / WHOLE_BLOB_MAX_BYTES;
    const stages: Stage[] = [];
    for (let i = 0; i < count + 3; i++) stages.push(await stageOf(LARGE.subarray(0, WHOLE_BLOB_MAX_BYTES)));
    expect(await staged()).toHaveLength(3);
    await Promise.all(stages.map((stage) => stage.abort()));
  });

  test("a stage that is known to be large takes no memory at all", async () => {
    const stage = await disk.backend.stage(LARGE.length);
    await stage.write(LARGE.subarray(0, 10));
    expect(await staged()).toHaveLength(1);
    await stage.abort();
  });
});

test("every stage file lies where the layout says", async () => {
  const stage = await stageOf(LARGE);
  const opened = disk.watched.calls.filter(({ name }) => name === "open").map(({ path }) => dirname(path));
  expect(opened).toEqual([disk.layout.stage]);
  await stage.abort();
});
