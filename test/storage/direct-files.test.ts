import { closeSync, constants, mkdtempSync, openSync, rmSync } from "node:fs";
import { open, readdir, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PiecePool, recycle } from "../../src/core/piece-pool.ts";
import { DirectFiles } from "../../src/storage/direct-files.ts";
import { type FileSystem, systemFiles } from "../../src/storage/file-system.ts";
import { bytesOf } from "../support/store-blob.ts";
import { TemporaryFolders } from "../support/temporary-folder.ts";
import { systemError, WatchedFiles } from "../support/watched-files.ts";

const PIECE_BYTES = 64 * 1024;

const folders = new TemporaryFolders();
afterAll(() => folders.removeAll());

let folder: string;
let watched: WatchedFiles;
let openFlags: number[];
let direct: DirectFiles;
let path: string;
beforeEach(async () => {
  folder = await folders.make();
  path = join(folder, "a");
  watched = new WatchedFiles();
  openFlags = [];
  const files: FileSystem = {
    ...systemFiles,
    unlink: (...args) => watched.files.unlink(...args),
    open: (...args) => {
      openFlags.push(Number(args[1]));
      return watched.files.open(...args);
    },
  };
  direct = new DirectFiles(files);
});

const pool = new PiecePool(PIECE_BYTES, 1, { aligned: true });

function piece(bytes: Uint8Array): Buffer {
  const taken = pool.take() as Buffer;
  taken.fill(0xee).set(bytes);
  return taken.subarray(0, bytes.length);
}

afterEach(() => {
  const taken = pool.take();
  if (taken) recycle(taken);
  expect(taken).not.toBeNull();
});

const withDirect = hasDirectFiles() ? test : test.skip;
if (withDirect === test.skip)
  console.log("direct-files: skipped in part, the filesystem of temporary files has no O_DIRECT");

function hasDirectFiles(): boolean {
  const root = mkdtempSync(join(tmpdir(), "cask-test-"));
  try {
    closeSync(openSync(join(root, "probe"), constants.O_WRONLY | constants.O_CREAT | constants.O_DIRECT));
    return true;
  } catch {
    return false;
  } finally {
    rmSync(root, { recursive: true });
  }
}

describe("a file past the page cache", () => {
  withDirect.each([1, 4_095, 4_096, 4_097, 50_000, PIECE_BYTES])("of %i bytes has just these", async (sizeBytes) => {
    const bytes = piece(bytesOf(sizeBytes));
    const handle = await direct.create(path, bytes);
    await handle?.sync();
    await handle?.close();
    expect(openFlags).toEqual([constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_DIRECT]);
    expect((await readFile(path)).equals(bytesOf(sizeBytes))).toBe(true);
    // What other uploads had left in the piece does not go to the disk, not even for a moment.
    const lastBlock = Buffer.from(bytes.buffer, 0, Math.ceil(sizeBytes / 4_096) * 4_096);
    expect(lastBlock.subarray(sizeBytes).every((byte) => byte === 0)).toBe(true);
    recycle(bytes);
  });

  test("is not made of memory that does not begin at a page, nor of none", async () => {
    const bytes = piece(bytesOf(5_000));
    expect(await direct.create(path, bytes.subarray(16))).toBeNull();
    expect(await direct.create(path, bytes.subarray(0, 0))).toBeNull();
    expect(await direct.create(path, Buffer.alloc(PIECE_BYTES))).toBeNull();
    const shared = new PiecePool(PIECE_BYTES, 1).take() as Buffer;
    expect(await direct.create(path, shared)).toBeNull();
    expect(openFlags).toEqual([]);
    recycle(bytes);
  });

  test("is not tried where a name is taken", async () => {
    const bytes = piece(bytesOf(5_000));
    await (await open(path, "w")).close();
    await expect(direct.create(path, bytes)).rejects.toMatchObject({ code: "EEXIST" });
    recycle(bytes);
  });
});

describe("where the filesystem has no such thing", () => {
  test.each(["open", "write"])("(%s says so) nothing stays, and it is not tried again", async (name) => {
    const bytes = piece(bytesOf(5_000));
    watched.fail = (call) => (call.name === name ? systemError("EINVAL") : undefined);
    expect(await direct.create(path, bytes)).toBeNull();
    expect(await direct.create(path, bytes)).toBeNull();
    expect(openFlags).toHaveLength(1);
    expect(await readdir(folder)).toEqual([]);
    if (name === "write") expect(watched.names()).toContain("close");
    recycle(bytes);
  });

  test("what it made all the same must go, or nobody may take its name", async () => {
    const bytes = piece(bytesOf(5_000));
    watched.fail = ({ name }) =>
      name === "open" ? systemError("EINVAL") : name === "unlink" ? systemError("EIO") : undefined;
    await expect(direct.create(path, bytes)).rejects.toMatchObject({ code: "EIO" });
    recycle(bytes);
  });
});

test.each([
  ["write", "ENOSPC"],
  ["write", "EIO"],
  ["truncate", "EIO"],
])("an error of %s (%s) is told, the file is closed, and the next one is tried", async (name, code) => {
  const bytes = piece(bytesOf(5_000));
  watched.fail = (call) => (call.name === name ? systemError(code) : undefined);
  await expect(direct.create(path, bytes)).rejects.toMatchObject({ code });
  expect(watched.names().at(-1)).toBe("close");
  await expect(direct.create(`${path}2`, bytes)).rejects.toMatchObject({ code });
  recycle(bytes);
});
