import { execFileSync } from "node:child_process";
import { cpSync, readFileSync } from "node:fs";
import { access, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { basename, dirname, join, relative } from "node:path";
import { type Key, keyOfBytes, parseKey } from "../../src/core/key.ts";
import { type DiskUnderTest, openDisk } from "../support/disk-under-test.ts";
import { bytesOf, fetchBlob, listKeys, readAndClose, storeBlob } from "../support/store-blob.ts";
import { TemporaryFolders } from "../support/temporary-folder.ts";
import { systemError } from "../support/watched-files.ts";

interface Fixture {
  readonly blobs: ReadonlyArray<{ name: string; sizeBytes: number; key: string; path: string }>;
  readonly quirks: {
    readonly filesTakenForBlobs: ReadonlyArray<{ fileName: string }>;
    readonly repairOverLonger: { readonly good: string; readonly corrupt: string };
    readonly rootWithoutTrailingSlash: { readonly root: string; readonly writtenTo: readonly string[] };
  };
}

/** A data folder that Go Cask wrote, and what is in it. */
const FIXTURES = join(__dirname, "../fixtures");
const FIXTURE = JSON.parse(readFileSync(join(FIXTURES, "cask-disk.json"), "utf8")) as Fixture;
const BLOBS = FIXTURE.blobs.map((blob) => ({ ...blob, key: parseKey(blob.key) }));
const KEYS = BLOBS.map(({ key }) => key).sort();

const folders = new TemporaryFolders();
afterAll(() => folders.removeAll());

let disk: DiskUnderTest;
beforeEach(async () => {
  disk = await openDisk(await copyOfFixture());
});
afterEach(() => disk.backend.close());

async function copyOfFixture(): Promise<string> {
  const root = join(await folders.make(), "data");
  cpSync(join(FIXTURES, "cask-disk/data"), root, { recursive: true });
  return root;
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

async function seenOf(key: Key) {
  const stat = await disk.backend.stat(key);
  if (!stat) throw new Error(`${key} is absent`);
  return stat.seen;
}

/** Every file below `sha1/`, by its path there. */
async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries.filter((each) => each.isFile()).map((each) => relative(folder, join(each.parentPath, each.name)));
}

describe("a data folder of Go Cask is taken over as it is", () => {
  test("every blob is listed, has its size, and none is foreign", async () => {
    expect(await listKeys(disk.backend)).toEqual(KEYS);
    expect(disk.backend.foreignFiles).toBe(0);
    for (const { key, sizeBytes } of BLOBS) expect(await disk.backend.stat(key)).toMatchObject({ sizeBytes });
  });

  test("every blob is read whole, and hashes to its key", async () => {
    for (const { key, path } of BLOBS) {
      const bytes = await fetchBlob(disk.backend, key);
      expect(bytes?.equals(await readFile(join(disk.layout.root, path)))).toBe(true);
      expect(keyOfBytes(bytes as Buffer)).toBe(key);
    }
  });

  test("and in part", async () => {
    for (const { key, path, sizeBytes } of BLOBS.filter((blob) => blob.sizeBytes >= 12)) {
      const whole = await readFile(join(disk.layout.root, path));
      for (const [start, end] of [
        [0, 3],
        [5, 11],
        [sizeBytes - 1, sizeBytes - 1],
      ] as const) {
        const part = await readAndClose((await disk.backend.get(key)) as never, start, end);
        expect(part.equals(whole.subarray(start, end + 1))).toBe(true);
      }
    }
  });

  test("a listing begins and ends anywhere, and merges both layouts in order", async () => {
    const added = await Promise.all(Array.from({ length: 40 }, (_, i) => storeBlob(disk.backend, Buffer.from(`${i}`))));
    const all = [...KEYS, ...added.map(({ key }) => key)].sort();
    expect(await listKeys(disk.backend)).toEqual(all);
    for (const key of all) {
      expect(await listKeys(disk.backend, key)).toEqual(all.slice(all.indexOf(key)));
      expect(await listKeys(disk.backend, undefined, key)).toEqual(all.slice(0, all.indexOf(key)));
    }
  });

  test("what Go Cask would have taken for blobs, we don't: temporary names beside one, and `data` at other depths", async () => {
    const folder = dirname(disk.layout.legacyBlob(KEYS[0] as Key));
    const names = FIXTURE.quirks.filesTakenForBlobs.map(({ fileName }) => fileName).filter((name) => name !== "data");
    for (const name of names) await writeFile(join(folder, name), "mine");
    await mkdir(join(folder, "deeper"));
    await writeFile(join(folder, "deeper/data"), "mine");
    await mkdir(join(disk.layout.blobs, "aa/bb"));
    await writeFile(join(disk.layout.blobs, "aa/bb/data"), "mine");
    expect(await listKeys(disk.backend)).toEqual(KEYS);
    expect(disk.backend.foreignFiles).toBe(names.length + 2);
  });
});

describe("a blob of the old layout, deleted or put into quarantine", () => {
  test.each(["delete", "quarantine"] as const)("%s: gone with its empty folders, one after the other", async (how) => {
    const left = [...KEYS];
    for (const key of KEYS) {
      expect(await disk.backend[how](key, await seenOf(key))).toBe(true);
      left.shift();
      expect(await disk.backend.get(key)).toBeNull();
      expect(await listKeys(disk.backend)).toEqual(left);
      for (const other of left) expect(keyOfBytes((await fetchBlob(disk.backend, other)) as Buffer)).toBe(other);
      expect(await disk.backend.isQuarantined(key)).toBe(how === "quarantine");
    }
    const folders = await readdir(disk.layout.blobs, { recursive: true });
    expect(folders).toHaveLength(256); // those of the new layout, and nothing in them
  });

  test("the folders of another blob stay", async () => {
    const [one, two] = KEYS.filter((key) => key.startsWith("sha1:49")) as [Key, Key];
    await disk.backend.delete(one, await seenOf(one));
    expect(await readdir(disk.layout.folder(one))).toEqual([two.slice(7, 9)]);
  });

  test("foreign files stay, with their folders", async () => {
    const key = KEYS[2] as Key;
    const path = disk.layout.legacyBlob(key);
    const half = dirname(dirname(dirname(path)));
    await writeFile(join(half, "notes.txt"), "mine");
    await disk.backend.delete(key, await seenOf(key));
    expect(await readdir(half)).toEqual(["notes.txt"]);
    await writeFile(join(dirname(disk.layout.legacyBlob(KEYS[3] as Key)), "notes.txt"), "mine");
    await disk.backend.delete(KEYS[3] as Key, await seenOf(KEYS[3] as Key));
    expect(await readdir(dirname(disk.layout.legacyBlob(KEYS[3] as Key)))).toEqual(["notes.txt"]);
  });

  test("is durable when it resolves: the last folder that stays was synced after the others had gone", async () => {
    const key = KEYS[2] as Key;
    const seen = await seenOf(key);
    disk.watched.calls = [];
    await disk.backend.delete(key, seen);
    expect(disk.watched.names().filter((name) => name === "rmdir")).toHaveLength(19);
    expect(disk.watched.calls.findLast((call) => call.name === "sync")?.path).toBe(disk.layout.folder(key));
    expect(disk.watched.names().lastIndexOf("sync")).toBeGreaterThan(disk.watched.names().lastIndexOf("rmdir"));
  });

  test("all at the same time", async () => {
    const seen = await Promise.all(KEYS.map(seenOf));
    await Promise.all(KEYS.map((key, i) => disk.backend.delete(key, seen[i] as never)));
    expect(await readdir(disk.layout.blobs, { recursive: true })).toHaveLength(256);
  });
});

describe("a blob of the old layout that comes again", () => {
  test("is known, after a sync of its file and of all its folders, and there is no second copy", async () => {
    for (const { key } of BLOBS) {
      const bytes = (await fetchBlob(disk.backend, key)) as Buffer;
      disk.watched.calls = [];
      expect((await storeBlob(disk.backend, bytes)).outcome).toBe("known");
      expect(disk.watched.names()).not.toContain("rename");
      const synced = disk.watched.calls.filter((call) => call.name === "sync").map((call) => call.path);
      expect(synced[0]).toBe(disk.layout.legacyBlob(key));
      expect(synced).toHaveLength(1 + 20);
    }
    expect((await filesBelow(disk.layout.root)).filter((path) => path.startsWith("sha1/")).sort()).toEqual(
      BLOBS.map(({ path }) => path).sort(),
    );
  });

  test("and can't be synced: it is written anew, and the old copy goes", async () => {
    const key = KEYS[1] as Key;
    const bytes = (await fetchBlob(disk.backend, key)) as Buffer;
    const path = disk.layout.legacyBlob(key);
    disk.watched.fail = (call) => (call.name === "sync" && call.path === path ? systemError("EIO") : undefined);
    expect((await storeBlob(disk.backend, bytes)).outcome).toBe("known");
    expect((await fetchBlob(disk.backend, key))?.equals(bytes)).toBe(true);
    expect(await exists(path)).toBe(false);
    await disk.backend.delete(key, await seenOf(key));
    expect(await disk.backend.get(key)).toBeNull();
  });

  test("over a damaged copy: that one goes to quarantine with its folders, the good one into the new layout", async () => {
    const { good, corrupt } = FIXTURE.quirks.repairOverLonger;
    const key = keyOfBytes(Buffer.from(good));
    await writeFile(disk.layout.legacyBlob(key), corrupt);
    expect((await storeBlob(disk.backend, Buffer.from(good))).outcome).toBe("replaced");
    expect((await fetchBlob(disk.backend, key))?.toString()).toBe(good); // Go Cask: "aorrupt and longer"
    expect(await readFile(disk.layout.blob(key), "utf8")).toBe(good);
    expect(await readdir(disk.layout.folder(key))).toEqual([basename(disk.layout.blob(key))]);
    const [quarantined] = await readdir(disk.layout.quarantine);
    expect(await readFile(join(disk.layout.quarantine, quarantined as string), "utf8")).toBe(corrupt);
    expect(await listKeys(disk.backend)).toEqual(KEYS);
  });

  test.each(["open", "read"])("over a copy that can't be read (EIO at %s): it is replaced as well", async (name) => {
    const key = KEYS[1] as Key;
    const bytes = (await fetchBlob(disk.backend, key)) as Buffer;
    const path = disk.layout.legacyBlob(key);
    disk.watched.fail = (call) => (call.name === name && call.path === path ? systemError("EIO") : undefined);
    expect((await storeBlob(disk.backend, bytes)).outcome).toBe("replaced");
    expect((await fetchBlob(disk.backend, key))?.equals(bytes)).toBe(true);
    expect(await disk.backend.isQuarantined(key)).toBe(true);
  });
});

// Go Cask: 80 KB of disk and 19 new folders for one byte.
describe("C16: a new blob costs one file and no folder", () => {
  test("it goes to sha1/ab/<38 digits>", async () => {
    const keys = new Set<Key>();
    for (let i = 0; i < 300; i++) keys.add((await storeBlob(disk.backend, Buffer.from(`blob ${i}`))).key);
    const expected = [...keys].map((key) => `${key.slice(5, 7)}/${key.slice(7)}`);
    const files = await filesBelow(disk.layout.blobs);
    expect(files.filter((path) => !path.endsWith("/data")).sort()).toEqual(expected.sort());
    expect(disk.watched.names()).not.toContain("mkdir");
  });
});

describe("C17: a root without a slash at its end", () => {
  test.each(["", "/", "//", "/."])("named with %p behind it, everything is written inside", async (end) => {
    const folder = await folders.make();
    const fresh = await openDisk(`${folder}/blobs${end}`);
    const { key } = await storeBlob(fresh.backend, bytesOf(1));
    await storeBlob(fresh.backend, bytesOf(2_000_000));
    expect(await readdir(folder)).toEqual(["blobs"]);
    expect(await exists(join(folder, "blobs/sha1", key.slice(5, 7), key.slice(7)))).toBe(true);
    expect(fresh.notices).toEqual([]);
    await fresh.backend.close();
  });

  test("what Go Cask wrote beside it is announced, not served, and can be moved in as the notice says", async () => {
    const folder = await folders.make();
    const { root, writtenTo } = FIXTURE.quirks.rootWithoutTrailingSlash;
    cpSync(join(FIXTURES, "cask-disk/data/sha1"), `${folder}/${root}sha1`, { recursive: true });
    expect(await exists(join(folder, writtenTo[0] as string))).toBe(true);
    const beside = await openDisk(`${folder}/${root}`);
    expect(beside.notices).toEqual([expect.stringContaining(`${folder}/${root}sha1 `)]);
    expect(await listKeys(beside.backend)).toEqual([]);
    await beside.backend.close();

    const command = /for example: (.*?)\)/.exec(beside.notices[0] as string)?.[1] as string;
    execFileSync("sh", ["-c", command]);
    const moved = await openDisk(`${folder}/${root}`);
    expect(moved.notices).toEqual([]);
    expect(await listKeys(moved.backend)).toEqual(KEYS);
    for (const key of KEYS) expect(keyOfBytes((await fetchBlob(moved.backend, key)) as Buffer)).toBe(key);
    await moved.backend.close();
  });
});
