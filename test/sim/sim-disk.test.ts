import { constants } from "node:fs";
import fc from "fast-check";
import { SeededRandom } from "../../src/core/random.ts";
import { ManualClock, settle } from "../support/manual-clock.ts";
import { type SimCall, SimDisk } from "../support/sim/sim-disk.ts";
import { simError } from "../support/sim/sim-errors.ts";

const { O_CREAT, O_DIRECTORY, O_EXCL, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } = constants;

async function write(disk: SimDisk, path: string, text: string, { sync = true } = {}): Promise<void> {
  const handle = await disk.start().files.open(path, O_WRONLY | O_CREAT | O_TRUNC);
  await handle.writeFile(text);
  if (sync) await handle.sync();
  await handle.close();
}

async function syncFolder(disk: SimDisk, path: string): Promise<void> {
  const handle = await disk.start().files.open(path, O_RDONLY | O_DIRECTORY);
  await handle.sync();
  await handle.close();
}

/** All ends that power cuts of this state can have, as the text of each file below the root. */
function endsOf(disk: SimDisk, cuts = 200): Set<string> {
  const ends = new Set<string>();
  for (let seed = 0; seed < cuts; seed++) {
    const after = disk.crash(new SeededRandom(seed));
    ends.add(treeOf(after, ""));
  }
  return ends;
}

function treeOf(disk: SimDisk, path: string): string {
  const parts = disk
    .namesIn(path)
    .sort()
    .map((name) => {
      const at = `${path}/${name}`;
      return disk.find(at, "stat").kind === "folder" ? `${name}/(${treeOf(disk, at)})` : `${name}=${disk.bytesOf(at)}`;
    });
  return parts.join(" ");
}

describe("a power cut", () => {
  test("takes or leaves a name whose folder was not synced, and leaves it once it was", async () => {
    const disk = new SimDisk();
    await write(disk, "/a", "one");
    expect(endsOf(disk)).toEqual(new Set(["", "a=one"]));
    await syncFolder(disk, "/");
    expect(endsOf(disk)).toEqual(new Set(["a=one"]));
  });

  test("takes, tears or leaves bytes that were not synced", async () => {
    const disk = new SimDisk();
    await write(disk, "/a", "1234", { sync: false });
    await syncFolder(disk, "/");
    expect(endsOf(disk)).toEqual(new Set(["a=", "a=1", "a=12", "a=123", "a=1234"]));
  });

  test("takes each of several writes for itself: what was synced before stays below", async () => {
    const disk = new SimDisk();
    await write(disk, "/a", "....");
    await syncFolder(disk, "/");
    const handle = await disk.start().files.open("/a", O_RDWR);
    await handle.write(Buffer.from("A"), 0, 1, 0);
    await handle.write(Buffer.from("B"), 0, 1, 5);
    expect(endsOf(disk)).toEqual(new Set(["a=....", "a=A...", "a=....\0B", "a=A...\0B"]));
    await (await disk.start().files.open("/a", O_RDWR)).datasync(); // the power cuts killed the other process
    expect(endsOf(disk)).toEqual(new Set(["a=A...\0B"]));
  });

  test("in one folder, a rename is done or not, and always the file is there", async () => {
    const disk = new SimDisk();
    await write(disk, "/a", "one");
    await syncFolder(disk, "/");
    await disk.start().files.rename("/a", "/b");
    expect(endsOf(disk)).toEqual(new Set(["a=one", "b=one"]));
  });

  test("between two folders, a file may have both names, and never none", async () => {
    const disk = new SimDisk();
    const { files } = disk.start();
    await files.mkdir("/x");
    await files.mkdir("/y");
    await write(disk, "/x/a", "one");
    for (const folder of ["/x", "/"]) await syncFolder(disk, folder);
    await files.rename("/x/a", "/y/b");
    const [before, both, after] = ["x/(a=one) y/()", "x/(a=one) y/(b=one)", "x/() y/(b=one)"] as const;
    expect(endsOf(disk)).toEqual(new Set([before, both, after]));
    await syncFolder(disk, "/y");
    expect(endsOf(disk)).toEqual(new Set([both, after]));
    await syncFolder(disk, "/x");
    expect(endsOf(disk)).toEqual(new Set([after]));
  });

  test("when only the folder was synced that a file left, it has arrived, too", async () => {
    const disk = new SimDisk();
    const { files } = disk.start();
    for (const folder of ["/x", "/y"]) await files.mkdir(folder);
    await write(disk, "/x/a", "one");
    for (const folder of ["/x", "/"]) await syncFolder(disk, folder);
    await files.rename("/x/a", "/y/b");
    await syncFolder(disk, "/x");
    expect(endsOf(disk)).toEqual(new Set(["x/() y/(b=one)"]));
  });

  test("a file that was renamed over another is the one or the other", async () => {
    const disk = new SimDisk();
    await write(disk, "/a", "old");
    await write(disk, "/b", "new");
    await syncFolder(disk, "/");
    await disk.start().files.rename("/b", "/a");
    expect(endsOf(disk)).toEqual(new Set(["a=old b=new", "a=new"]));
  });

  test("brings back what was deleted, unless the folder was synced", async () => {
    const disk = new SimDisk();
    await write(disk, "/a", "one");
    await syncFolder(disk, "/");
    await disk.start().files.unlink("/a");
    expect(endsOf(disk)).toEqual(new Set(["", "a=one"]));
    await syncFolder(disk, "/");
    expect(endsOf(disk)).toEqual(new Set([""]));
  });

  test("takes a folder with all that is in it when its own name was not synced", async () => {
    const disk = new SimDisk();
    await disk.start().files.mkdir("/x");
    await write(disk, "/x/a", "one");
    await syncFolder(disk, "/x");
    expect(endsOf(disk)).toEqual(new Set(["", "x/(a=one)"]));
  });

  test("ends each process, and from the same seed it is the same", async () => {
    const disk = new SimDisk();
    const process = disk.start();
    await write(disk, "/a", "1234", { sync: false });
    expect(treeOf(disk.crash(new SeededRandom(5)), "")).toBe(treeOf(disk.crash(new SeededRandom(5)), ""));
    expect(process.isDead).toBe(true);
  });

  // A kernel that could not write a page calls it clean, and the next sync a success.
  test("takes what a failed sync was to write, though a later sync succeeds", async () => {
    const disk = new SimDisk();
    await write(disk, "/a", "....");
    await syncFolder(disk, "/");
    const handle = await disk.start().files.open("/a", O_RDWR);
    await handle.write(Buffer.from("A"), 0, 1, 0);
    disk.beforeCall = ({ name, path }) => (name === "sync" ? simError("EIO", "fsync", path) : undefined);
    await expect(handle.sync()).rejects.toMatchObject({ code: "EIO" });
    disk.beforeCall = () => undefined;
    await handle.write(Buffer.from("B"), 0, 1, 1);
    await handle.sync();
    expect(disk.bytesOf("/a").toString()).toBe("AB..");
    expect(endsOf(disk)).toEqual(new Set(["a=.B.."]));
  });
});

test("a file holds what was written to it, whatever is synced and lost in between", () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant("write" as const), at: fc.nat(40), length: fc.integer({ min: 1, max: 20 }) }),
    fc.record({ kind: fc.constant("truncate" as const), at: fc.nat(50), length: fc.constant(0) }),
    fc.constant({ kind: "sync" as const, at: 0, length: 0 }),
    fc.constant({ kind: "cut" as const, at: 0, length: 0 }),
  );
  return fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
      let disk = new SimDisk();
      await write(disk, "/a", "");
      await syncFolder(disk, "/");
      let [model, synced]: [Buffer, Buffer] = [Buffer.alloc(0), Buffer.alloc(0)];
      let handle = await disk.start().files.open("/a", O_RDWR);
      for (const [i, { kind, at, length }] of steps.entries()) {
        if (kind === "write") {
          await handle.write(Buffer.alloc(length, i + 1), 0, length, at);
          const grown = Buffer.alloc(Math.max(model.length, at + length));
          model.copy(grown);
          model = grown.fill(i + 1, at, at + length);
        } else if (kind === "truncate") {
          await handle.truncate(at);
          const cut = Buffer.alloc(at);
          model.copy(cut);
          model = cut;
        } else if (kind === "sync") {
          await handle.sync();
          synced = Buffer.from(model);
        } else {
          const unsynced = disk;
          disk = disk.crash(new SeededRandom(i));
          // What is on the new disk is its own.
          if (disk.bytesOf("/a").equals(synced)) unsynced.put("/a", Buffer.from("else"));
          model = disk.bytesOf("/a");
          synced = Buffer.from(model);
          handle = await disk.start().files.open("/a", O_RDWR);
        }
        expect(disk.bytesOf("/a")).toEqual(Buffer.from(model));
      }
      await handle.sync();
      expect(disk.crash(new SeededRandom(1)).bytesOf("/a")).toEqual(Buffer.from(model));
    }),
    { numRuns: 100 },
  );
});

describe("calls answer as Linux does", () => {
  async function prepared() {
    const disk = new SimDisk();
    const { files } = disk.start();
    await files.mkdir("/d/e", { recursive: true });
    await write(disk, "/d/f", "text");
    return { disk, files };
  }

  test.each([
    ["open", "ENOENT", ["/d/none", O_RDONLY]],
    ["open", "ENOENT", ["/none/f", O_RDWR | O_CREAT]],
    ["open", "ENOTDIR", ["/d/f/g", O_RDONLY]],
    ["open", "ENOTDIR", ["/d/f", O_RDONLY | O_DIRECTORY]],
    ["open", "EISDIR", ["/d/e", O_RDWR]],
    ["open", "EEXIST", ["/d/f", O_RDWR | O_CREAT | O_EXCL]],
    ["lstat", "ENOENT", ["/d/none"]],
    ["stat", "ENOTDIR", ["/d/f/g"]],
    ["mkdir", "EEXIST", ["/d/f"]],
    ["mkdir", "EEXIST", ["/d/e"]],
    ["mkdir", "EEXIST", ["/d/f", { recursive: true }]],
    ["mkdir", "ENOTDIR", ["/d/f/g", { recursive: true }]],
    ["mkdir", "ENOENT", ["/none/e"]],
    ["readdir", "ENOTDIR", ["/d/f"]],
    ["readdir", "ENOENT", ["/d/none"]],
    ["readFile", "ENOENT", ["/d/none", "utf8"]],
    ["readFile", "EISDIR", ["/d/e", "utf8"]],
    ["rename", "ENOENT", ["/d/none", "/d/g"]],
    ["rename", "EISDIR", ["/d/f", "/d/e"]],
    ["rename", "ENOTDIR", ["/d/e", "/d/f"]],
    ["rename", "EINVAL", ["/d", "/d/e/d"]],
    ["rmdir", "ENOTEMPTY", ["/d"]],
    ["rmdir", "ENOTDIR", ["/d/f"]],
    ["rmdir", "ENOENT", ["/d/none"]],
    ["unlink", "EISDIR", ["/d/e"]],
    ["unlink", "ENOENT", ["/d/none"]],
    ["statfs", "ENOENT", ["/none"]],
  ] as const)("%s: %s for %j", async (name, code, args) => {
    const { files } = await prepared();
    const call = files[name] as (...args: unknown[]) => Promise<unknown>;
    await expect(call(...args)).rejects.toMatchObject({ code });
  });

  test("an open file stays what it is when its name goes, and a closed one is of no use", async () => {
    const { disk, files } = await prepared();
    const handle = await files.open("/d/f", O_RDONLY);
    await files.unlink("/d/f");
    const bytes = Buffer.alloc(10);
    expect((await handle.read(bytes, 0, 10, 1)).bytesRead).toBe(3);
    expect(bytes.toString("utf8", 0, 3)).toBe("ext");
    expect((await handle.stat({ bigint: true })).nlink).toBe(0n);
    await expect(handle.write(Buffer.from("x"))).rejects.toMatchObject({ code: "EBADF" });
    await handle.close();
    await expect(handle.read(bytes, 0, 10, 0)).rejects.toMatchObject({ code: "EBADF" });
    expect(disk.has("/d/f")).toBe(false);
  });

  test("stats and folders' entries", async () => {
    const { files } = await prepared();
    const before = await files.lstat("/d/f", { bigint: true });
    expect(before.isFile() && before.size === 4n).toBe(true);
    expect((await files.stat("/d")).isDirectory()).toBe(true);
    await files.rename("/d/f", "/d/g");
    const after = await files.lstat("/d/g", { bigint: true });
    expect([after.ino, after.mtimeNs]).toEqual([before.ino, before.mtimeNs]);
    expect(after.ctimeNs).toBeGreaterThan(before.ctimeNs);
    const entries = await files.readdir("/d", { withFileTypes: true });
    expect(entries.map((entry) => [entry.name, entry.isFile(), entry.isDirectory()])).toEqual([
      ["e", false, true],
      ["g", true, false],
    ]);
  });
});

describe("space", () => {
  async function free(disk: SimDisk): Promise<number> {
    const { bavail, bsize } = await disk.start().files.statfs("/");
    return bavail * bsize;
  }

  test("goes with what is written, and comes back when neither name nor descriptor is left", async () => {
    const disk = new SimDisk({ totalBytes: 1_000 * 4_096 });
    const { files } = disk.start();
    await write(disk, "/a", "x".repeat(10 * 4_096));
    expect(await free(disk)).toBe(990 * 4_096);
    const handle = await files.open("/a", O_RDWR);
    await files.unlink("/a");
    expect(await free(disk)).toBe(990 * 4_096);
    await handle.close();
    expect(await free(disk)).toBe(1_000 * 4_096);
  });

  test("a full disk takes the begin of a write, then nothing, and a dead process holds no space", async () => {
    const disk = new SimDisk();
    const process = disk.start();
    const handle = await process.files.open("/a", O_RDWR | O_CREAT);
    disk.freeBytes = 5;
    expect((await handle.write(Buffer.alloc(8), 0, 8, 0)).bytesWritten).toBe(5);
    await expect(handle.write(Buffer.alloc(3), 0, 3, 5)).rejects.toMatchObject({ code: "ENOSPC" });
    expect((await handle.write(Buffer.alloc(5), 0, 5, 0)).bytesWritten).toBe(5); // over what is there
    await process.files.unlink("/a");
    expect(disk.freeBytes).toBe(0);
    process.kill();
    expect(disk.freeBytes).toBe(5);
  });
});

describe("faults", () => {
  test("are chosen call by call, and all calls are seen", async () => {
    const disk = new SimDisk();
    const seen: SimCall[] = [];
    disk.beforeCall = (call) => {
      seen.push(call);
      return call.name === "rename" ? simError("EROFS", "rename", call.path) : undefined;
    };
    const { files } = disk.start();
    await write(disk, "/a", "text");
    await expect(files.rename("/a", "/b")).rejects.toMatchObject({ code: "EROFS" });
    expect(disk.has("/a")).toBe(true);
    expect(seen.map((call) => call.name)).toEqual(["open", "write", "sync", "close", "rename"]);
    expect(seen.at(-1)).toEqual({ name: "rename", path: "/a", to: "/b" });
  });

  test("a call that hangs goes on, or fails, when the test says so", async () => {
    const disk = new SimDisk();
    const { promise, resolve } = Promise.withResolvers<Error | undefined>();
    disk.beforeCall = () => promise;
    const made = disk.start().files.mkdir("/x");
    await settle();
    expect(disk.has("/x")).toBe(false);
    resolve(undefined);
    await made;
    expect(disk.has("/x")).toBe(true);
  });

  test("calls take as long as they are told, by the clock that was handed in", async () => {
    const clock = new ManualClock();
    const disk = new SimDisk({ clock });
    disk.latencyMs = ({ name }) => (name === "mkdir" ? 20 : 0);
    const made = disk.start().files.mkdir("/x");
    await clock.advance(19);
    expect(disk.has("/x")).toBe(false);
    await clock.advance(1);
    await made;
    expect(disk.has("/x")).toBe(true);
  });

  test("a dead process does nothing more; the next one finds what was seen, and the lock free", async () => {
    const disk = new SimDisk();
    const process = disk.start();
    const lock = process.takeLock("/lock", "/");
    expect(() => disk.start().takeLock("/lock", "/")).toThrow(expect.objectContaining({ code: "ROOT_IN_USE" }));
    disk.beforeCall = ({ name }, by) => {
      if (name === "sync") by.kill();
      return undefined;
    };
    const handle = await process.files.open("/a", O_RDWR | O_CREAT);
    await handle.write(Buffer.from("text"), 0, 4, 0);
    let settled = false;
    void handle.sync().finally(() => {
      settled = true;
    });
    void process.files.unlink("/a").finally(() => {
      settled = true;
    });
    await settle();
    expect(settled).toBe(false);
    expect(disk.bytesOf("/a").toString()).toBe("text");
    const next = disk.start().takeLock("/lock", "/");
    lock.release(); // of the dead: not his any more
    expect(() => disk.start().takeLock("/lock", "/")).toThrow(expect.objectContaining({ code: "ROOT_IN_USE" }));
    next.release();
  });

  test("bits rot on the platter, and nothing else of the file tells", async () => {
    const disk = new SimDisk();
    await write(disk, "/a", "text");
    await syncFolder(disk, "/");
    const { files } = disk.start();
    const before = await files.lstat("/a", { bigint: true });
    disk.flip("/a", 1);
    expect(await files.lstat("/a", { bigint: true })).toEqual(before);
    expect(disk.crash(new SeededRandom(1)).bytesOf("/a").toString()).toBe("tdxt");
    disk.rot("/a", (bytes) => bytes.subarray(0, 2));
    expect(disk.bytesOf("/a").toString()).toBe("td");
    disk.rot("/a", (bytes) => Buffer.concat([bytes, Buffer.from("more")]));
    expect(disk.bytesOf("/a").toString()).toBe("tdmore");
  });
});
