import type { FileHandle } from "node:fs/promises";

/** Fills memory from an offset of a file on. Answers the part that was filled: shorter at the end of the file. */
export async function readFully(handle: FileHandle, into: Buffer, offset: number): Promise<Buffer> {
  let filled = 0;
  while (filled < into.length) {
    const { bytesRead } = await handle.read(into, filled, into.length - filled, offset + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return into.subarray(0, filled);
}
