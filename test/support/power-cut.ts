import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { type Random, SystemRandom } from "../../src/core/random.ts";
import type { TieredBackend } from "../../src/storage/tiered.ts";
import { Acknowledged } from "./acknowledged.ts";
import { cutOff, makeImage, whileMounted } from "./loop-disk.ts";
import { openTiers, type Tiers } from "./real-tiers.ts";

const WRITER = resolve("test/support/put-blobs.ts");
const IMAGE_BYTES = 256 * 1024 * 1024;
const LEAST_MS = 150;
const SPREAD_MS = 700;

const execute = promisify(execFile);

export type Defect = "without-fsync" | "without-file-fsync" | "without-folder-fsync";

export interface CutResult {
  /** Blobs that were acknowledged before the cut. */
  readonly acknowledged: number;
  readonly faults: readonly string[];
}

/**
 * A process stores blobs on an ext4 image; at some moment nothing reaches the image any more, and it is copied. (Copied while it is
 * written to, it would show old data beside newer metadata, as no disk does.) The copy holds what had reached the "disk" by then and
 * nothing of the page cache, as after a power cut: it is mounted (which replays its journal), and everything that had been
 * acknowledged before must be in it, whole.
 */
export async function cutPower(tiers: Tiers, defect: Defect | undefined, random: Random): Promise<CutResult> {
  const folder = await mkdtemp(join(tmpdir(), "cask-power-cut-"));
  const [image, copy, mounted] = ["image", "copy", "mounted"].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  try {
    await makeImage(image, IMAGE_BYTES);
    const said = await whileMounted(image, mounted, () =>
      writeUntilCut({ mounted, image, copy, tiers, defect, random }),
    );
    const faults = await whileMounted(copy, mounted, () => faultsOf(join(mounted, "root"), tiers, said));
    return { acknowledged: said.certain, faults };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

interface Cut {
  readonly mounted: string;
  readonly image: string;
  readonly copy: string;
  readonly tiers: Tiers;
  readonly defect: Defect | undefined;
  readonly random: Random;
}

/** What was acknowledged is noted before the cut: later acknowledgements may or may not be in the copy. */
async function writeUntilCut({ mounted, image, copy, tiers, defect, random }: Cut): Promise<Acknowledged> {
  const args = [WRITER, join(mounted, "root"), "endless", tiers, ...(defect ? [defect] : [])];
  const writer = spawn(process.execPath, args, { stdio: ["pipe", "pipe", "inherit"] });
  const exit = once(writer, "exit");
  let output = "";
  writer.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  try {
    await once(writer.stdout, "data");
    writer.stdin.write("go\n");
    while (!output.includes('"done"')) await once(writer.stdout, "data");
    await sleep(LEAST_MS + SPREAD_MS * random.next());
    const said = new Acknowledged();
    said.read(output);
    mustRun(writer);
    await cutOff(mounted);
    await execute("cp", ["--reflink=never", "--sparse=always", image, copy]);
    return said;
  } finally {
    writer.kill("SIGKILL");
    await exit;
  }
}

function mustRun(writer: ChildProcess): void {
  if (writer.exitCode !== null) throw new Error("the writer ended before its power was cut");
}

async function faultsOf(root: string, tiers: Tiers, said: Acknowledged): Promise<string[]> {
  let backend: TieredBackend;
  try {
    backend = await openTiers(root, tiers, { random: new SystemRandom(), onNotice: () => undefined });
  } catch (error) {
    return [`the root does not open: ${error}`];
  }
  try {
    return await said.faults(backend);
  } finally {
    await backend.close();
  }
}
