import { execFile, execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { mkdir, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const execute = promisify(execFile);
const PROBE_BYTES = 8 * 1024 * 1024;
const MAKE_EXT4 = ["-q", "-F", "-m", "0", "-E", "lazy_itable_init=0"];

/** Why no disk image can be mounted here, in one line, or null. */
export function whyNoLoopDisk(): string | null {
  if (process.platform !== "linux" || process.getuid?.() !== 0) return "needs Linux and root, to mount a disk image";
  const folder = mkdtempSync(join(tmpdir(), "cask-probe-"));
  const [image, mounted] = [join(folder, "image"), join(folder, "mounted")];
  try {
    mkdirSync(mounted);
    writeFileSync(image, "");
    truncateSync(image, PROBE_BYTES);
    for (const [command, ...rest] of [
      ["mkfs.ext4", ...MAKE_EXT4, image],
      ["mount", "-o", "loop", image, mounted],
      ["umount", mounted],
    ] as const) {
      execFileSync(command, rest, { stdio: "pipe" });
    }
    return null;
  } catch (error) {
    return `no disk image can be mounted here: ${String(error).split("\n")[0]}`;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** A file that holds an empty ext4 file system, of which every byte is for everyone. */
export async function makeImage(image: string, sizeBytes: number): Promise<void> {
  await writeFile(image, "");
  await truncate(image, sizeBytes);
  await execute("mkfs.ext4", [...MAKE_EXT4, image]);
}

/** Work on the disk that an image is. `options`: of mount, `ro` for example. */
export async function whileMounted<T>(
  image: string,
  mounted: string,
  work: () => Promise<T>,
  options: readonly string[] = [],
): Promise<T> {
  await mkdir(mounted, { recursive: true });
  await execute("mount", ["-o", ["loop", ...options].join(","), image, mounted]);
  try {
    return await work();
  } finally {
    await unmount(mounted);
  }
}

/** Rejects when something in it is still open; it is taken out of sight all the same, so that a failed test leaves nothing. */
export async function unmount(mounted: string): Promise<void> {
  try {
    await execute("umount", [mounted]);
  } catch (error) {
    await execute("umount", ["-l", mounted]);
    throw error;
  }
}

/**
 * From this moment on nothing reaches the image any more; what the page cache has can still be read. It is what ext4 does on its own
 * when its disk fails under it: it is read-only, whoever has files open for writing.
 */
export async function cutOff(mounted: string): Promise<void> {
  await execute("mount", ["-o", "remount,abort", mounted]);
}
