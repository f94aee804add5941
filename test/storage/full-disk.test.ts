import { execFile } from "node:child_process";
import { appendFile, mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { keyOfBytes } from "../../src/core/key.ts";
import { type DiskUnderTest, openDisk } from "../support/disk-under-test.ts";
import { cutOff, makeImage, unmount, whileMounted, whyNoLoopDisk } from "../support/loop-disk.ts";
import { bytesOf, fetchBlob, listKeys, readAndClose, storeBlob } from "../support/store-blob.ts";
import { TemporaryFolders } from "../support/temporary-folder.ts";

const execute = promisify(execFile);
const MIB = 1024 * 1024;
/** More than what a large blob must leave free. */
const IMAGE_BYTES = 100 * MIB;
const SMALL = bytesOf(5000, 1);
const LARGE = bytesOf(3 * MIB, 2);
const MORE = bytesOf(5000, 3);

const reason = whyNoLoopDisk();
if (reason) console.log(`full-disk: skipped, ${reason}`);
const onRealDisks = reason ? describe.skip : describe;

const folders = new TemporaryFolders();
afterAll(() => folders.removeAll());

let image: string;
let mounted: string;
beforeEach(async () => {
  const folder = await folders.make();
  image = join(folder, "image");
  mounted = join(folder, "mounted");
  if (!reason) await makeImage(image, IMAGE_BYTES);
});

/** A store on a disk of its own, with one small and one large blob in it. */
async function onDisk(work: (disk: DiskUnderTest) => Promise<void>): Promise<void> {
  await whileMounted(image, mounted, async () => {
    const disk = await openDisk(join(mounted, "root"));
    try {
      await storeBlob(disk.backend, SMALL);
      await storeBlob(disk.backend, LARGE);
      await work(disk);
    } finally {
      await disk.backend.close();
    }
  });
}

/** To the last byte. */
async function fill(): Promise<void> {
  const filler = join(mounted, "filler");
  for (let bytes = 64 * MIB; bytes >= 512; ) {
    try {
      await appendFile(filler, Buffer.alloc(bytes));
    } catch (error) {
      expect(error).toMatchObject({ code: "ENOSPC" });
      bytes /= 2;
    }
  }
}

async function expectBlobsToBeThere({ backend }: DiskUnderTest): Promise<void> {
  for (const bytes of [SMALL, LARGE]) {
    const key = keyOfBytes(bytes);
    expect((await fetchBlob(backend, key))?.equals(bytes)).toBe(true);
    expect(await backend.stat(key)).toMatchObject({ sizeBytes: bytes.length });
    const part = await readAndClose((await backend.get(key)) as never, 1000, 1999);
    expect(part.equals(bytes.subarray(1000, 2000))).toBe(true);
  }
  expect(await listKeys(backend)).toEqual([keyOfBytes(SMALL), keyOfBytes(LARGE)].sort());
}

onRealDisks("a full disk", () => {
  test("GET works at 0 bytes free, a put answers NO_SPACE and leaves nothing", async () => {
    await onDisk(async (disk) => {
      const { backend, layout } = disk;
      await fill();
      expect(await backend.space()).toMatchObject({ freeBytes: 0 });
      await expect(backend.stage(1)).rejects.toMatchObject({ code: "NO_SPACE" });
      for (const bytes of [MORE, bytesOf(3 * MIB, 4)]) {
        const stage = await backend.stage(); // its size is not known
        const putting = stage.write(bytes).then(() => stage.commit(keyOfBytes(bytes)));
        await expect(putting).rejects.toMatchObject({ code: "NO_SPACE" });
        await stage.abort();
        expect(await backend.get(keyOfBytes(bytes))).toBeNull();
      }
      expect(await readdir(layout.stage)).toEqual([]);
      expect(await readdir(layout.quarantine)).toEqual([]);
      expect(disk.notices).toEqual([]);
      await expectBlobsToBeThere(disk);
    });
  });

  test("a damaged copy stays where it is until there is room for a good one", async () => {
    await onDisk(async ({ backend, layout }) => {
      const key = keyOfBytes(SMALL);
      await writeFile(layout.blob(key), "damaged");
      await fill();
      const stage = await backend.stage();
      await stage.write(SMALL);
      await expect(stage.commit(key)).rejects.toMatchObject({ code: "NO_SPACE" });
      await stage.abort();
      expect((await fetchBlob(backend, key))?.toString()).toBe("damaged");
      expect(await backend.isQuarantined(key)).toBe(false);
      await rm(join(mounted, "filler"));
      expect((await storeBlob(backend, SMALL)).outcome).toBe("replaced");
      expect((await fetchBlob(backend, key))?.equals(SMALL)).toBe(true);
    });
  });

  test("delete works, and makes room; a root that was in use opens, a new one is refused", async () => {
    await onDisk(async ({ backend, layout }) => {
      await fill();
      await backend.close();
      await expect(openDisk(join(mounted, "new"))).rejects.toMatchObject({ code: "NO_SPACE" });
      const again = await openDisk(layout.root);
      await expectBlobsToBeThere(again);
      const seen = (await again.backend.stat(keyOfBytes(LARGE)))?.seen;
      expect(await again.backend.delete(keyOfBytes(LARGE), seen as never)).toBe(true);
      expect((await storeBlob(again.backend, MORE)).outcome).toBe("stored");
      await again.backend.close();
    });
  });

  test("without a free inode: NO_SPACE, and GET works", async () => {
    await mkdir(mounted);
    await execute("mount", ["-t", "tmpfs", "-o", "size=16m,nr_inodes=300", "tmpfs", mounted]);
    try {
      const disk = await openDisk(join(mounted, "root"));
      await storeBlob(disk.backend, SMALL);
      await storeBlob(disk.backend, LARGE.subarray(0, MIB));
      const filling = (async () => {
        for (let i = 0; i < 300; i++) await writeFile(join(mounted, `${i}`), "");
      })();
      await expect(filling).rejects.toMatchObject({ code: "ENOSPC" });
      await expect(storeBlob(disk.backend, MORE)).rejects.toMatchObject({ code: "NO_SPACE" });
      expect(await readdir(disk.layout.stage)).toEqual([]);
      expect((await fetchBlob(disk.backend, keyOfBytes(SMALL)))?.equals(SMALL)).toBe(true);
      await disk.backend.close();
    } finally {
      await unmount(mounted);
    }
  });
});

onRealDisks("a disk that turns read-only under a running store", () => {
  test("GET works, what writes answers STORAGE_FAILED; after its repair nothing is missing", async () => {
    await onDisk(async (disk) => {
      const { backend } = disk;
      const key = keyOfBytes(SMALL);
      const seen = (await backend.stat(key))?.seen as never;
      const begun = await backend.stage();
      await begun.write(bytesOf(2 * MIB, 5));
      await cutOff(mounted);
      await expectBlobsToBeThere(disk);
      await expect(storeBlob(backend, MORE)).rejects.toMatchObject({ code: "STORAGE_FAILED" });
      await expect(backend.delete(key, seen)).rejects.toMatchObject({ code: "STORAGE_FAILED" });
      await expect(backend.quarantine(key, seen)).rejects.toMatchObject({ code: "STORAGE_FAILED" });
      await expect(begun.commit(keyOfBytes(bytesOf(2 * MIB, 5)))).rejects.toMatchObject({ code: "STORAGE_FAILED" });
      await begun.abort();
      await expectBlobsToBeThere(disk);
    });
    await execute("e2fsck", ["-p", image]).catch((error: { code: number }) => {
      if (error.code !== 1) throw error; // 1: it had something to repair, and did
    });
    await whileMounted(image, mounted, async () => {
      const disk = await openDisk(join(mounted, "root"));
      expect(await readdir(disk.layout.stage)).toEqual([]);
      await expectBlobsToBeThere(disk);
      expect((await storeBlob(disk.backend, MORE)).outcome).toBe("stored");
      await disk.backend.close();
    });
  });

  test("a root on a disk that is read-only from the start is refused, and says what to look at", async () => {
    await onDisk(async () => undefined);
    const opening = () => expect(openDisk(join(mounted, "root"))).rejects;
    await whileMounted(
      image,
      mounted,
      () => opening().toMatchObject({ code: "BAD_ROOT", message: expect.stringContaining("writeable") }),
      ["ro"],
    );
  });
});
