import { constants } from "node:fs";
import { CaskError, systemCode } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import type { FileSystem } from "./file-system.ts";
import { syncFolder } from "./folder-sync.ts";
import { FORMAT, type Layout, SEGMENTS_FORMAT } from "./layout.ts";

const STORE_PATTERN = /^[0-9a-f]{8,64}$/;
const STORE_BYTES = 16;

/** The id of the store, from `cask.json`; null in a root that has none. Rejects with BAD_ROOT for what it can't understand. */
export async function readSettings(files: FileSystem, layout: Layout): Promise<string | null> {
  let text: string;
  try {
    text = await files.readFile(layout.settings, "utf8");
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw error;
    return null;
  }
  return storeOf(text, layout);
}

function storeOf(text: string, layout: Layout): string {
  const { format, store } = parse(text, layout);
  if (typeof format === "number" && format > SEGMENTS_FORMAT) {
    throw new CaskError(
      "BAD_ROOT",
      `${layout.root} was written by a newer version of cask (format ${format}, this one knows ${SEGMENTS_FORMAT}): run that version, or ` +
        "give this node another data folder",
    );
  }
  if ((format !== FORMAT && format !== SEGMENTS_FORMAT) || typeof store !== "string" || !STORE_PATTERN.test(store))
    throw broken(layout);
  return store;
}

function parse(text: string, layout: Layout): { format?: unknown; store?: unknown } {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null) return value;
  } catch (error) {
    throw broken(layout, error);
  }
  throw broken(layout);
}

function broken(layout: Layout, cause?: unknown): CaskError {
  return new CaskError(
    "BAD_ROOT",
    `${layout.settings} is damaged: put it back from a backup, or delete it; the blobs stay, but the node will then be taken for one ` +
      "with a new disk until it has compared its blobs with the others",
    cause,
  );
}

/** A new id for a root that is otherwise complete. */
export async function makeSettings(files: FileSystem, layout: Layout, random: Random): Promise<string> {
  const store = random.hex(STORE_BYTES);
  await writeSettings(files, layout, { format: FORMAT, store });
  return store;
}

/** From now on a cask that knows no segments refuses this root: it would take all that is in them for absent. */
export async function allowSegments(files: FileSystem, layout: Layout, store: string): Promise<void> {
  const { format } = parse(await files.readFile(layout.settings, "utf8"), layout);
  if (format !== SEGMENTS_FORMAT) await writeSettings(files, layout, { format: SEGMENTS_FORMAT, store });
}

async function writeSettings(
  files: FileSystem,
  layout: Layout,
  settings: { readonly format: number; readonly store: string },
): Promise<void> {
  const temporary = `${layout.settings}.new`;
  const handle = await files.open(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC, 0o644);
  try {
    await handle.writeFile(`${JSON.stringify(settings)}\n`);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await files.rename(temporary, layout.settings);
  await syncFolder(files, layout.root);
}
