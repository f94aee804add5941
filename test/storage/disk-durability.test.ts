import { readdir, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { keyOfBytes } from "../../src/core/key.ts";
import { SYNC_EVERY_BYTES, WHOLE_BLOB_MAX_BYTES } from "../../src/core/limits.ts";
import type { Seen } from "../../src/storage/backend.ts";
import { type DiskUnderTest, openDisk } from "../support/disk-under-test.ts";
import { bytesOf, fetchBlob, listKeys, storeBlob } from "../support/store-blob.ts";
import { TemporaryFolders } from "../support/temporary-folder.ts";
import { type Call, systemError } from "../support/watched-files.ts";

const folders = new TemporaryFolders();
afterAll(() => folders.removeAll());

let disk: DiskUnderTest;
beforeEach(async () => {
  disk = await openDisk(await folders.make());
});
afterEach(() => disk.backend.close());

const SMALL = bytesOf(1000);
const LARGE = bytesOf(WHOLE_BLOB_MAX_BYTES * 3);

function isStaged(call: Call): boolean {
  return dirname(call.path) === disk.layout.stage;
}

/** Calls that decide what is on the disk after a power cut, in order, each as a word. */
function decisive(): string[] {
  const words = disk.watched.calls.map((call) => {
    if (call.name === "write" && isStaged(call)) return "write";
    if (call.name === "sync" && isStaged(call)) return "sync file";
    if (call.name === "rename") return "rename";
    if (call.name === "sync" && dirname(call.path) === disk.layout.blobs) return "sync folder";
    return "";
  });
  return words.filter((word, i) => word !== "" && word !== words[i - 1]);
}

describe("C1: a blob becomes visible whole and durable, or not at all", () => {
  test.each([
    ["small", SMALL],
    ["large", LARGE],
    ["empty", Buffer.alloc(0)],
  ])("a %s one: write, sync the file, rename, sync the folder", async (_, bytes) => {
    const { key } = await storeBlob(disk.backend, bytes);
    expect(decisive().filter((word) => word !== "write")).toEqual(["sync file", "rename", "sync folder"]);
    expect(disk.watched.calls.find((call) => call.name === "rename")?.to).toBe(disk.layout.blob(key));
    const written = disk.watched.calls.filter((call) => call.name === "write" || call.name === "writeFile");
    expect(written.every(isStaged)).toBe(true);
    const lastWrite = disk.watched.names().lastIndexOf("write");
    const firstSync = disk.watched.calls.findIndex((call) => call.name === "sync" && isStaged(call));
    expect(firstSync).toBeGreaterThan(lastWrite);
  });

  test("the commit resolves after the last sync, not before", async () => {
    let syncs = 0;
    const stage = await disk.backend.stage();
    await stage.write(SMALL);
    disk.watched.fail = (call) => {
      if (call.name === "sync") syncs++;
      return undefined;
    };
    await stage.commit(keyOfBytes(SMALL));
    expect(syncs).toBe(2);
    await stage.abort();
    expect(syncs).toBe(2);
  });

  test("a long stage is synced on its way, so that the last sync is short", async () => {
    const stage = await disk.backend.stage();
    const chunk = Buffer.alloc(8 << 20);
    for (let written = 0; written < SYNC_EVERY_BYTES; written += chunk.length) await stage.write(chunk);
    expect(disk.watched.names().filter((name) => name === "datasync")).toHaveLength(1);
    await stage.abort();
  });

  test("the folders of a new root are synced before anything is stored in them", async () => {
    const fresh = await openDisk(`${await folders.make()}/a/b`);
    await fresh.backend.close();
    const again = await openDisk(fresh.layout.root);
    await again.backend.close();
    expect(await readdir(fresh.layout.blobs)).toHaveLength(256);
  });
});

describe("C2: known is answered after a sync only", () => {
  test.each([
    ["small", SMALL],
    ["large", LARGE],
  ])("a %s copy: file and folder", async (_, bytes) => {
    const { key } = await storeBlob(disk.backend, bytes);
    disk.watched.calls = [];
    expect((await storeBlob(disk.backend, bytes)).outcome).toBe("known");
    const synced = disk.watched.calls.filter((call) => call.name === "sync").map((call) => call.path);
    expect(synced).toEqual([disk.layout.blob(key), disk.layout.folder(key)]);
    expect(disk.watched.names()).not.toContain("rename");
  });

  test("a copy that can't be synced is written again", async () => {
    const { key } = await storeBlob(disk.backend, SMALL);
    disk.watched.fail = (call) =>
      call.name === "sync" && call.path === disk.layout.blob(key) ? systemError("EIO") : undefined;
    disk.watched.calls = [];
    expect((await storeBlob(disk.backend, SMALL)).outcome).toBe("known");
    expect(decisive().filter((word) => word !== "write")).toEqual(["sync file", "rename", "sync folder"]);
  });

  test("once a sync has failed, another that succeeds proves nothing: every known copy is written again", async () => {
    const { key } = await storeBlob(disk.backend, SMALL);
    const other = bytesOf(1000, 2);
    disk.watched.fail = (call) =>
      call.name === "sync" && call.path === disk.layout.folder(keyOfBytes(other)) ? systemError("EIO") : undefined;
    await expect(storeBlob(disk.backend, other)).rejects.toMatchObject({ code: "STORAGE_FAILED" });
    disk.watched.fail = () => undefined;
    disk.watched.calls = [];
    expect((await storeBlob(disk.backend, SMALL)).outcome).toBe("known");
    expect(decisive()).toContain("rename");
    expect((await fetchBlob(disk.backend, key))?.equals(SMALL)).toBe(true);
  });
});

describe("a sync that fails", () => {
  test.each([
    ["small", SMALL],
    ["large", LARGE],
  ])("of the file of a %s blob: nothing is stored, and it is not tried again", async (_, bytes) => {
    const stage = await disk.backend.stage();
    await stage.write(bytes);
    disk.watched.fail = (call) => (call.name === "sync" && isStaged(call) ? systemError("EIO") : undefined);
    await expect(stage.commit(keyOfBytes(bytes))).rejects.toMatchObject({ code: "STORAGE_FAILED" });
    expect(disk.watched.names().filter((name) => name === "sync")).toHaveLength(1);
    await expect(stage.commit(keyOfBytes(bytes))).rejects.toMatchObject({ code: "STORAGE_FAILED" });
    await stage.abort();
    expect(disk.watched.names().filter((name) => name === "sync")).toHaveLength(1);
    expect(await readdir(disk.layout.stage)).toEqual([]);
    expect(await listKeys(disk.backend)).toEqual([]);
  });

  test("on the way: the stage takes no more", async () => {
    const stage = await disk.backend.stage();
    disk.watched.fail = (call) => (call.name === "datasync" ? systemError("EIO") : undefined);
    await stage.write(Buffer.alloc(SYNC_EVERY_BYTES)); // the next bytes may come in while it is synced
    await expect(stage.write(Buffer.alloc(1))).rejects.toMatchObject({ code: "STORAGE_FAILED" });
    await expect(stage.commit(keyOfBytes(SMALL))).rejects.toMatchObject({ code: "STORAGE_FAILED" });
    await stage.abort();
    expect(await readdir(disk.layout.stage)).toEqual([]);
  });

  test("on the way, after the last write: there is no second sync to believe", async () => {
    const bytes = Buffer.alloc(SYNC_EVERY_BYTES);
    const stage = await disk.backend.stage();
    disk.watched.fail = (call) => (call.name === "datasync" ? systemError("EIO") : undefined);
    await stage.write(bytes);
    await expect(stage.commit(keyOfBytes(bytes))).rejects.toMatchObject({ code: "STORAGE_FAILED" });
    await stage.abort();
    expect(disk.watched.names()).not.toContain("sync");
    expect(await listKeys(disk.backend)).toEqual([]);
  });

  test("of the folder: the copy, which a power cut might take away, is not left for anybody to count", async () => {
    const key = keyOfBytes(SMALL);
    disk.watched.fail = (call) =>
      call.name === "sync" && call.path === disk.layout.folder(key) ? systemError("EIO") : undefined;
    await expect(storeBlob(disk.backend, SMALL)).rejects.toMatchObject({ code: "STORAGE_FAILED" });
    expect(await disk.backend.get(key)).toBeNull();
    disk.watched.fail = () => undefined;
    expect((await storeBlob(disk.backend, SMALL)).outcome).toBe("stored");
  });

  test("after a delete or a quarantine: don't know", async () => {
    const { key } = await storeBlob(disk.backend, SMALL);
    const { seen } = (await disk.backend.stat(key)) ?? { seen: undefined as never };
    disk.watched.fail = (call) => (call.name === "sync" ? systemError("EIO") : undefined);
    await expect(disk.backend.quarantine(key, seen)).rejects.toMatchObject({ code: "STORAGE_FAILED" });
    expect(await disk.backend.isQuarantined(key)).toBe(true);
  });
});

describe("what is removed is durably gone when the answer comes", () => {
  async function stored() {
    const { key } = await storeBlob(disk.backend, SMALL);
    const seen = (await disk.backend.stat(key))?.seen as Seen;
    disk.watched.calls = [];
    return { key, seen };
  }

  /** Removals and syncs of folders, in order. */
  function removing(): string[][] {
    const calls = disk.watched.calls.filter(({ name }) => ["unlink", "rename", "sync"].includes(name));
    return calls.map(({ name, path, to }) => [name, path, ...(to ? [dirname(to)] : [])]);
  }

  test("delete: the name, then a sync of its folder", async () => {
    const { key, seen } = await stored();
    await disk.backend.delete(key, seen);
    const { layout } = disk;
    expect(removing()).toEqual([
      ["unlink", layout.blob(key)],
      ["sync", layout.folder(key)],
    ]);
  });

  test("quarantine: moved, and a sync of both folders", async () => {
    const { key, seen } = await stored();
    await disk.backend.quarantine(key, seen);
    const { layout } = disk;
    expect(removing()).toEqual([
      ["rename", layout.blob(key), layout.quarantine],
      ["sync", layout.quarantine],
      ["sync", layout.folder(key)],
    ]);
  });

  test.each(["delete", "quarantine"] as const)("%s: a sync that fails is don't know", async (how) => {
    const { key, seen } = await stored();
    disk.watched.fail = (call) => (call.name === "sync" ? systemError("EIO") : undefined);
    await expect(disk.backend[how](key, seen)).rejects.toMatchObject({ code: "STORAGE_FAILED" });
  });

  test("replaced: the damaged copy is durably in quarantine before the good one takes its name", async () => {
    const { key } = await stored();
    await writeFile(disk.layout.blob(key), "damaged");
    disk.watched.calls = [];
    expect((await storeBlob(disk.backend, SMALL)).outcome).toBe("replaced");
    const { layout } = disk;
    expect(removing().slice(-4)).toEqual([
      ["rename", layout.blob(key), layout.quarantine],
      ["sync", layout.quarantine],
      ["rename", expect.stringContaining(layout.stage), layout.folder(key)],
      ["sync", layout.folder(key)],
    ]);
  });
});

describe("C3: repair goes the same way as any put", () => {
  test("a longer damaged copy is never written to: it moves away whole, and the good one takes its name", async () => {
    const { key } = await storeBlob(disk.backend, SMALL);
    await writeFile(disk.layout.blob(key), Buffer.concat([SMALL.fill(1, 0, 1), Buffer.from("longer")]));
    const good = bytesOf(1000);
    disk.watched.calls = [];
    expect((await storeBlob(disk.backend, good)).outcome).toBe("replaced");
    // The new file is durable before the old one moves: on a full disk nothing changes.
    expect(decisive().filter((word) => word !== "write")).toEqual([
      "sync file",
      "rename", // the damaged one, into quarantine
      "rename",
      "sync folder",
    ]);
    expect(disk.watched.calls.filter((call) => call.name === "write").every(isStaged)).toBe(true);
    expect((await fetchBlob(disk.backend, key))?.equals(good)).toBe(true);
  });
});
