import { execFileSync } from "node:child_process";
import { mkdir, readdir, rename, symlink, truncate, unlink, writeFile } from "node:fs/promises";
import { type Key, keyOfBytes } from "../../src/core/key.ts";
import { WHOLE_BLOB_MAX_BYTES } from "../../src/core/limits.ts";
import type { Seen } from "../../src/storage/backend.ts";
import { type DiskUnderTest, openDisk } from "../support/disk-under-test.ts";
import { bytesOf, collect, fetchBlob, listKeys, storeBlob } from "../support/store-blob.ts";
import { TemporaryFolders } from "../support/temporary-folder.ts";
import { systemError } from "../support/watched-files.ts";

const folders = new TemporaryFolders();
afterAll(() => folders.removeAll());

const BYTES = bytesOf(1000);
const KEY = keyOfBytes(BYTES);
const DONT_KNOW = { code: "STORAGE_FAILED" };

let disk: DiskUnderTest;
beforeEach(async () => {
  disk = await openDisk(await folders.make());
});
afterEach(() => disk.backend.close());

async function expectDontKnow(key: Key): Promise<void> {
  const { backend } = disk;
  await expect(backend.get(key)).rejects.toMatchObject(DONT_KNOW);
  await expect(backend.stat(key)).rejects.toMatchObject(DONT_KNOW);
  await expect(backend.delete(key, "any" as Seen)).rejects.toMatchObject(DONT_KNOW);
  await expect(backend.quarantine(key, "any" as Seen)).rejects.toMatchObject(DONT_KNOW);
}

// Go Cask took any error for "exists".
describe("C10: present, absent, don't know", () => {
  test.each(["EIO", "EACCES", "EMFILE", "ESTALE", "ENOMEM", "ELOOP"])(
    "%s is neither present nor absent",
    async (code) => {
      disk.watched.fail = ({ name }) => (name === "open" || name === "lstat" ? systemError(code) : undefined);
      await expectDontKnow(KEY);
    },
  );

  test("the same in the old layout", async () => {
    disk.watched.fail = ({ path }) => (path === disk.layout.legacyBlob(KEY) ? systemError("EIO") : undefined);
    await expectDontKnow(KEY);
  });

  test("a missing folder means an unmounted disk, not absence", async () => {
    await rename(disk.layout.folder(KEY), `${disk.layout.root}/elsewhere`);
    await expectDontKnow(KEY);
  });

  test("nor does a file in the place of the folder mean absence", async () => {
    await rename(disk.layout.folder(KEY), `${disk.layout.root}/elsewhere`);
    await writeFile(disk.layout.folder(KEY), "");
    await expectDontKnow(KEY);
  });

  test("a foreign file where the old layout would have a folder is none of our business: absent", async () => {
    await writeFile(`${disk.layout.folder(KEY)}/${KEY.slice(7, 9)}`, "");
    expect(await disk.backend.get(KEY)).toBeNull();
    expect(await disk.backend.stat(KEY)).toBeNull();
  });

  test("a folder, a link, or a named pipe where the blob should be: don't know, without waiting for it", async () => {
    const path = disk.layout.blob(KEY);
    await mkdir(path);
    await expectDontKnow(KEY);
    await expect(storeBlob(disk.backend, BYTES)).rejects.toMatchObject(DONT_KNOW);
    await rename(path, `${disk.layout.root}/away`);
    await symlink("/etc/hostname", path);
    await expectDontKnow(KEY);
    await unlink(path);
    execFileSync("mkfifo", [path]);
    await expectDontKnow(KEY);
    expect(await listKeys(disk.backend)).toEqual([]);
  });

  test("the questions of a store that was closed", async () => {
    await disk.backend.close();
    await expect(disk.backend.get(KEY)).rejects.toMatchObject(DONT_KNOW);
    await expect(disk.backend.stage()).rejects.toMatchObject(DONT_KNOW);
    await expect(listKeys(disk.backend)).rejects.toMatchObject(DONT_KNOW);
  });
});

describe("reading", () => {
  test.each([1000, 3 * WHOLE_BLOB_MAX_BYTES])("%i bytes that have become fewer reject", async (sizeBytes) => {
    const { key } = await storeBlob(disk.backend, bytesOf(sizeBytes));
    const blob = await disk.backend.get(key);
    await truncate(disk.layout.blob(key), sizeBytes - 1);
    await expect(collect(blob?.chunks() as never)).rejects.toMatchObject(DONT_KNOW);
    await blob?.close();
  });

  test("an error of the disk rejects", async () => {
    const { key } = await storeBlob(disk.backend, BYTES);
    disk.watched.fail = ({ name }) => (name === "read" ? systemError("EIO") : undefined);
    await expect(fetchBlob(disk.backend, key)).rejects.toMatchObject({ ...DONT_KNOW, cause: { code: "EIO" } });
  });

  test("descriptors are released at the end of the last reader, and by close", async () => {
    const { key } = await storeBlob(disk.backend, BYTES);
    const descriptors = async () => (await readdir("/proc/self/fd")).length;
    if (process.platform !== "linux") return;
    const before = await descriptors();
    for (let i = 0; i < 10; i++) await collect((await disk.backend.get(key))?.chunks() as never);
    for (let i = 0; i < 10; i++) await (await disk.backend.get(key))?.close();
    expect(await descriptors()).toBeLessThanOrEqual(before + 1);
  });
});

describe("a copy that can't be read, when its bytes come again", () => {
  test.each(["open", "read"])("EIO at %s: it goes to quarantine, and is replaced", async (name) => {
    await storeBlob(disk.backend, BYTES);
    disk.watched.fail = (call) => {
      const hit = call.name === name && call.path === disk.layout.blob(KEY);
      return hit ? systemError("EIO") : undefined;
    };
    expect((await storeBlob(disk.backend, BYTES)).outcome).toBe("replaced");
    disk.watched.fail = () => undefined;
    expect(await disk.backend.isQuarantined(KEY)).toBe(true);
    expect((await fetchBlob(disk.backend, KEY))?.equals(BYTES)).toBe(true);
  });

  test("EIO, and it can't be moved either: don't know", async () => {
    await storeBlob(disk.backend, BYTES);
    disk.watched.fail = (call) =>
      call.path === disk.layout.blob(KEY) && ["read", "rename"].includes(call.name) ? systemError("EIO") : undefined;
    await expect(storeBlob(disk.backend, BYTES)).rejects.toMatchObject(DONT_KNOW);
    disk.watched.fail = () => undefined;
    expect(await disk.backend.isQuarantined(KEY)).toBe(false);
    expect((await fetchBlob(disk.backend, KEY))?.equals(BYTES)).toBe(true);
  });

  test.each(["EMFILE", "EACCES", "ENOMEM"])("%s is not the copy's fault: it stays", async (code) => {
    await storeBlob(disk.backend, BYTES);
    disk.watched.fail = ({ name, path }) =>
      name === "open" && path === disk.layout.blob(KEY) ? systemError(code) : undefined;
    await expect(storeBlob(disk.backend, BYTES)).rejects.toMatchObject(DONT_KNOW);
    disk.watched.fail = () => undefined;
    expect((await storeBlob(disk.backend, BYTES)).outcome).toBe("known");
  });

  test("a stage that can't be read back is not the copy's fault either", async () => {
    const large = bytesOf(2 * WHOLE_BLOB_MAX_BYTES);
    const { key } = await storeBlob(disk.backend, large);
    disk.watched.fail = (call) =>
      call.name === "read" && call.path.startsWith(disk.layout.stage) ? systemError("EIO") : undefined;
    await expect(storeBlob(disk.backend, large)).rejects.toMatchObject(DONT_KNOW);
    expect(await disk.backend.isQuarantined(key)).toBe(false);
    expect((await fetchBlob(disk.backend, key))?.equals(large)).toBe(true);
  });
});

describe("listing", () => {
  test("one unreadable folder: all others are listed, then it rejects and names the folder", async () => {
    const stored: Key[] = [];
    for (let i = 0; i < 40; i++) stored.push((await storeBlob(disk.backend, Buffer.from(`blob ${i}`))).key);
    stored.sort();
    const broken = disk.layout.folder(stored[20] as Key);
    disk.watched.fail = ({ name, path }) => (name === "readdir" && path === broken ? systemError("EIO") : undefined);
    const listed: Key[] = [];
    const listing = (async () => {
      for await (const key of disk.backend.keys()) listed.push(key);
    })();
    await expect(listing).rejects.toMatchObject({ ...DONT_KNOW, message: expect.stringContaining(broken) });
    expect(listed).toEqual(stored.filter((key) => disk.layout.folder(key) !== broken));
  });

  test("a folder that has vanished is not an empty one", async () => {
    await rename(disk.layout.folder(KEY), `${disk.layout.root}/elsewhere`);
    await expect(listKeys(disk.backend)).rejects.toMatchObject(DONT_KNOW);
  });

  test("foreign files are counted and left alone", async () => {
    const { key } = await storeBlob(disk.backend, BYTES);
    const foreign = [
      `${disk.layout.blobs}/README`,
      `${disk.layout.blobs}/ab/${"0".repeat(37)}`,
      `${disk.layout.blobs}/ab/${"0".repeat(39)}`,
      `${disk.layout.blobs}/ab/${"A".repeat(38)}`,
      `${disk.layout.blobs}/ab/${"0".repeat(38)}.tmp`,
      `${disk.layout.blobs}/ab/data`,
    ];
    for (const path of foreign) await writeFile(path, "mine");
    await mkdir(`${disk.layout.blobs}/ab/${"1".repeat(38)}`);
    expect(await listKeys(disk.backend)).toEqual([key]);
    expect(disk.backend.foreignFiles).toBe(foreign.length + 1);
  });
});
