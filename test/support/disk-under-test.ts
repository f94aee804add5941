import type { ByteBudget } from "../../src/core/byte-budget.ts";
import { SystemRandom } from "../../src/core/random.ts";
import { DiskBackend } from "../../src/storage/disk.ts";
import { Layout } from "../../src/storage/layout.ts";
import { WatchedFiles } from "./watched-files.ts";

export interface DiskUnderTest {
  readonly backend: DiskBackend;
  readonly layout: Layout;
  readonly watched: WatchedFiles;
  readonly notices: string[];
}

/** A disk backend whose system calls can be watched and made to fail; with `watched` those of its opening, too. */
export async function openDisk(
  root: string,
  { stageBudget, watched = new WatchedFiles() }: { stageBudget?: ByteBudget; watched?: WatchedFiles } = {},
): Promise<DiskUnderTest> {
  const notices: string[] = [];
  const backend = await DiskBackend.open({
    root,
    random: new SystemRandom(),
    onNotice: (message) => notices.push(message),
    files: watched.files,
    ...(stageBudget ? { stageBudget } : {}),
  });
  watched.calls = [];
  return { backend, layout: new Layout(root), watched, notices };
}
