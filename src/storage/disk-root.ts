import { access, constants, mkdir, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import path from "node:path";
import { CaskError } from "../core/errors.ts";
import type { Key } from "../core/key.ts";
import type { Random } from "../core/random.ts";
import { isAbsent } from "./disk-errors.ts";
import { syncFolder } from "./folders.ts";
import { Layout } from "./layout.ts";
import { RootLock } from "./root-lock.ts";

/** Grows when the layout changes so that older versions must not touch it. */
const FORMAT = 1;

export interface DiskRoot {
  readonly layout: Layout;
  readonly lock: RootLock;
  readonly store: string;
  readonly quarantined: Set<Key>;
}

/**
 * Makes a data folder ready: locks it, makes what is missing, removes what dead processes left in the stage.
 * Rejects with ROOT_IN_USE, or BAD_ROOT and what to do.
 */
export async function openDiskRoot(
  root: string,
  random: Random,
  onNotice: (message: string) => void,
): Promise<DiskRoot> {
  const layout = new Layout(root);
  try {
    await makeFolder(layout);
    const lock = new RootLock(layout.lockFile, root);
    try {
      const store = await readOrMakeMeta(layout, random);
      await makeFolders(layout);
      await emptyStage(layout);
      await noticeGoSibling(root, onNotice);
      return { layout, lock, store, quarantined: await listQuarantine(layout) };
    } catch (error) {
      lock.release();
      throw error;
    }
  } catch (error) {
    if (error instanceof CaskError) throw error;
    const detail = error instanceof Error ? error.message : String(error);
    throw new CaskError(
      "BAD_ROOT",
      `the data folder ${root} can't be used: ${detail}; set CASK_DISK_BACKEND_ROOT to a folder that this process may write to`,
      error,
    );
  }
}

async function makeFolder({ root }: Layout): Promise<void> {
  await mkdir(root, { recursive: true });
  await access(root, constants.R_OK | constants.W_OK | constants.X_OK);
}

async function readOrMakeMeta(layout: Layout, random: Random): Promise<string> {
  let text: string;
  try {
    text = await readFile(layout.metaFile, "utf8");
  } catch (error) {
    if (!isAbsent(error)) throw error;
    return makeMeta(layout, random);
  }
  return parseMeta(layout, text);
}

function parseMeta({ metaFile }: Layout, text: string): string {
  let meta: { format?: unknown; store?: unknown };
  try {
    meta = JSON.parse(text) as typeof meta;
  } catch (error) {
    throw new CaskError(
      "BAD_ROOT",
      `${metaFile} is damaged; restore it: {"format":${FORMAT},"store":"<its id>"}`,
      error,
    );
  }
  if (typeof meta.format !== "number" || typeof meta.store !== "string" || meta.store === "") {
    throw new CaskError(
      "BAD_ROOT",
      `${metaFile} has no format or store; restore it: {"format":${FORMAT},"store":"<its id>"}`,
    );
  }
  if (meta.format > FORMAT) {
    throw new CaskError(
      "BAD_ROOT",
      `${metaFile} has format ${meta.format}, this version of cask knows ${FORMAT}: start the newer version that wrote it`,
    );
  }
  return meta.store;
}

async function makeMeta(layout: Layout, random: Random): Promise<string> {
  const store = random.hex(16);
  const temporary = `${layout.metaFile}.new`;
  const handle = await open(temporary, "w");
  try {
    await handle.writeFile(`${JSON.stringify({ format: FORMAT, store })}\n`);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(temporary, layout.metaFile);
  await syncFolder(layout.root);
  return store;
}

/** All at start, so that no commit ever has to make (and sync) one. */
async function makeFolders(layout: Layout): Promise<void> {
  for (const folder of [layout.stageFolder, layout.quarantineFolder, layout.blobFolder]) {
    await mkdir(folder, { recursive: true });
  }
  for (const prefix of layout.prefixes()) await mkdir(layout.prefixFolder(prefix), { recursive: true });
  await syncFolder(layout.blobFolder);
  await syncFolder(layout.root);
  await syncFolder(path.dirname(layout.root));
}

async function emptyStage({ stageFolder }: Layout): Promise<void> {
  for (const name of await readdir(stageFolder))
    await rm(path.join(stageFolder, name), { recursive: true, force: true });
}

async function listQuarantine(layout: Layout): Promise<Set<Key>> {
  const names = await readdir(layout.quarantineFolder);
  return new Set(names.map((name) => layout.keyInQuarantine(name)).filter((key) => key !== undefined));
}

/** A Go node joins root and "sha1" as text: without a slash at the end of its root it wrote beside it. */
async function noticeGoSibling(root: string, onNotice: (message: string) => void): Promise<void> {
  const sibling = `${root.replace(/\/+$/, "")}sha1`;
  try {
    await stat(sibling);
  } catch (error) {
    if (isAbsent(error)) return;
    throw error;
  }
  onNotice(
    `${sibling} looks like blobs of a Go Cask node whose root had no slash at its end; to use them, stop this node and move them to ${path.join(root, "sha1")}`,
  );
}
