import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { SystemRandom } from "../../src/core/random.ts";
import { DiskBackend } from "../../src/storage/disk.ts";
import { Layout } from "../../src/storage/layout.ts";
import { Acknowledged } from "../support/acknowledged.ts";
import { openDisk } from "../support/disk-under-test.ts";
import { bytesOf, fetchBlob, listKeys, storeBlob } from "../support/store-blob.ts";
import { TemporaryFolders } from "../support/temporary-folder.ts";
import { systemError, WatchedFiles } from "../support/watched-files.ts";

const folders = new TemporaryFolders();
afterAll(() => folders.removeAll());

const WRITER = resolve(__dirname, "../support/put-blobs.ts");
const FORMAT = 1;
const NEWEST_FORMAT = 2;
const STORE = "0123456789abcdef";

let root: string;
let layout: Layout;
beforeEach(async () => {
  root = join(await folders.make(), "root");
  layout = new Layout(root);
});

function open(): Promise<DiskBackend> {
  return DiskBackend.open({ root, random: new SystemRandom(), onNotice: () => undefined });
}

describe("one process per root", () => {
  interface Writer {
    readonly process: ChildProcess;
    said(): string;
    until(word: string): Promise<void>;
  }

  const started: ChildProcess[] = [];
  afterEach(() => {
    for (const process of started.splice(0)) process.kill("SIGKILL");
  });

  function startWriter(): Writer {
    const process = spawn(globalThis.process.execPath, [WRITER, root, "endless"], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    started.push(process);
    let output = "";
    process.stdout.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
    process.stdin.write("go\n");
    return {
      process,
      said: () => output,
      until: async (word) => {
        while (!output.includes(word)) await once(process.stdout, "data");
      },
    };
  }

  test("a second process is refused; after kill -9 of the first the root opens, with all that was acknowledged", async () => {
    const writer = startWriter();
    await writer.until('"done"');
    await expect(open()).rejects.toMatchObject({ code: "ROOT_IN_USE", message: expect.stringContaining(root) });
    const gone = once(writer.process, "exit");
    writer.process.kill("SIGKILL");
    await gone;
    await writeFile(layout.staged("left-over"), "half a blo");
    const backend = await open();
    expect(await readdir(layout.stage)).toEqual([]);
    const acknowledged = new Acknowledged();
    acknowledged.read(writer.said());
    expect(acknowledged.certain).toBeGreaterThan(0);
    expect(await acknowledged.faults(backend)).toEqual([]);
    await backend.close();
  });

  test("a process that comes second is told so, also after another try of the first's own, and the first goes on", async () => {
    const backend = await open();
    await expect(open()).rejects.toMatchObject({ code: "ROOT_IN_USE" }); // must not close a descriptor of the lock
    const writer = startWriter();
    await writer.until("refused");
    expect(writer.said()).toContain('"refused":"ROOT_IN_USE"');
    await once(writer.process, "exit");
    expect((await storeBlob(backend, bytesOf(10))).outcome).toBe("stored");
    await backend.close();
  });

  test("a second opening in the same process is refused, and does not free the lock", async () => {
    const backend = await open();
    await expect(open()).rejects.toMatchObject({ code: "ROOT_IN_USE" });
    await expect(open()).rejects.toMatchObject({ code: "ROOT_IN_USE" });
    await backend.close();
    await (await open()).close();
  });
});

describe("what a root has", () => {
  test("an id of its own, which stays", async () => {
    const first = await open();
    await first.close();
    const again = await open();
    expect(again.store).toBe(first.store);
    await again.close();
    root = join(await folders.make(), "other");
    const other = await open();
    expect(other.store).not.toBe(first.store);
    await other.close();
  });

  test("blobs and quarantine are there after a restart", async () => {
    const first = await open();
    const kept = await storeBlob(first, bytesOf(1000, 1));
    const rotten = await storeBlob(first, bytesOf(1000, 2));
    const { seen } = (await first.stat(rotten.key)) ?? { seen: undefined as never };
    await first.quarantine(rotten.key, seen);
    await first.close();
    const again = await open();
    expect(await listKeys(again)).toEqual([kept.key]);
    expect((await fetchBlob(again, kept.key))?.equals(bytesOf(1000, 1))).toBe(true);
    expect(await again.isQuarantined(rotten.key)).toBe(true);
    expect(await again.isQuarantined(kept.key)).toBe(false);
    expect(await again.quarantinedCount()).toBe(1);
    const [name] = await readdir(layout.quarantine);
    await writeFile(join(layout.quarantine, "notes.txt"), "of the operator");
    await rm(join(layout.quarantine, name as string)); // as an operator does who has looked at it
    expect([await again.isQuarantined(rotten.key), await again.quarantinedCount()]).toEqual([false, 0]);
    await again.close();
  });

  test("256 folders: one that has vanished is made anew at the start, and that is said", async () => {
    const first = await openDisk(root);
    const { key } = await storeBlob(first.backend, bytesOf(1000));
    expect(first.notices).toEqual([]);
    await first.backend.close();
    await rm(layout.folder(key), { recursive: true });
    const next = await openDisk(root);
    expect(next.notices).toEqual([expect.stringMatching(/^1 of the folders in .* had vanished/)]);
    expect(await next.backend.get(key)).toBeNull();
    expect(next.backend.store).toBe(first.backend.store);
    await next.backend.close();
  });

  test("a first opening that was cut short is gone on with, and has nothing to say", async () => {
    const dying = new WatchedFiles();
    dying.fail = ({ name, path }) => (name === "mkdir" && path.endsWith("/sha1/7f") ? systemError("EIO") : undefined);
    await expect(openDisk(root, { watched: dying })).rejects.toMatchObject({ code: "BAD_ROOT" });
    const next = await openDisk(root);
    expect(next.notices).toEqual([]);
    expect(await readdir(layout.blobs)).toHaveLength(256);
    await next.backend.close();
  });

  test("stages of the dead are removed at the start; a folder in there is nobody's stage", async () => {
    await (await open()).close();
    await writeFile(layout.staged("a"), "half");
    await writeFile(layout.staged("b"), "");
    await mkdir(layout.staged("folder"));
    const backend = await open();
    expect(await readdir(layout.stage)).toEqual(["folder"]);
    await backend.close();
  });

  test("its name, synced in the folders above: also when who made it died before that", async () => {
    root = join(await folders.make(), "a/b/root");
    const above = [dirname(root), dirname(dirname(root)), dirname(dirname(dirname(root)))];
    const dying = new WatchedFiles();
    dying.fail = ({ name }) => (name === "sync" ? systemError("EIO") : undefined);
    await expect(openDisk(root, { watched: dying })).rejects.toMatchObject({ code: "BAD_ROOT" });
    expect(await readdir(root)).toEqual([]);
    const next = new WatchedFiles();
    const { calls } = next;
    const { backend } = await openDisk(root, { watched: next });
    const synced = calls.filter((call) => call.name === "sync").map((call) => call.path);
    expect(synced.slice(0, above.length)).toEqual(above);
    await backend.close();
  });
});

describe("a root that is refused", () => {
  const REFUSED = { code: "BAD_ROOT" };

  async function withSettings(text: string): Promise<void> {
    await (await open()).close();
    await writeFile(layout.settings, text);
  }

  test("because a newer version wrote it: nothing in it changes, and it is not locked", async () => {
    const newer = JSON.stringify({ format: NEWEST_FORMAT + 1, store: STORE });
    await withSettings(newer);
    await writeFile(layout.staged("theirs"), "a stage of the newer version");
    await expect(open()).rejects.toMatchObject({ ...REFUSED, message: expect.stringContaining("newer version") });
    expect(await readFile(layout.settings, "utf8")).toBe(newer);
    expect(await readdir(layout.stage)).toEqual(["theirs"]);
    await writeFile(layout.settings, JSON.stringify({ format: FORMAT, store: STORE }));
    const backend = await open();
    expect(backend.store).toBe(STORE);
    await backend.close();
  });

  test.each([
    "",
    "{",
    "null",
    "[]",
    '"text"',
    '{"format":1}',
    `{"store":"${STORE}"}`,
    `{"format":"1","store":"${STORE}"}`,
    `{"format":0,"store":"${STORE}"}`,
    '{"format":1,"store":"../../etc"}',
    '{"format":1,"store":5}',
  ])("because cask.json is damaged: %j. No new id is made", async (text) => {
    await withSettings(text);
    await expect(open()).rejects.toMatchObject({ ...REFUSED, message: expect.stringContaining("damaged") });
    expect(await readFile(layout.settings, "utf8")).toBe(text);
  });

  test.each(["EIO", "EACCES", "EMFILE"])("because cask.json can't be read (%s): it is not made anew", async (code) => {
    const before = await open();
    await before.close();
    const watched = new WatchedFiles();
    watched.fail = ({ name, path }) =>
      name === "readFile" && path === layout.settings ? systemError(code) : undefined;
    await expect(openDisk(root, { watched })).rejects.toMatchObject(REFUSED);
    const after = await open();
    expect(after.store).toBe(before.store);
    await after.close();
  });

  test("because a file is in its way", async () => {
    await writeFile(root, "");
    await expect(open()).rejects.toMatchObject({
      ...REFUSED,
      message: expect.stringContaining("a file is in its way"),
    });
    await rm(root);
    await mkdir(root);
    await writeFile(layout.blobs, "");
    await expect(open()).rejects.toMatchObject(REFUSED);
  });

  test("because its quarantine can't be read: what was corrupt must not become absent. The lock is freed", async () => {
    await (await open()).close();
    const watched = new WatchedFiles();
    watched.fail = ({ name, path }) =>
      name === "readdir" && path === layout.quarantine ? systemError("EIO") : undefined;
    await expect(openDisk(root, { watched })).rejects.toMatchObject({ code: "STORAGE_FAILED" });
    await (await open()).close();
  });

  test("but not because the folder around it can't be looked into: then it says so", async () => {
    const watched = new WatchedFiles();
    watched.fail = ({ name, path }) => (name === "lstat" && path === `${root}sha1` ? systemError("EACCES") : undefined);
    const disk = await openDisk(root, { watched });
    expect(disk.notices).toEqual([expect.stringContaining(`${root}sha1`)]);
    await disk.backend.close();
  });
});
