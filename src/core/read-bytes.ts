import type { FileHandle } from "node:fs/promises";
import { ReadThread } from "./read-thread.ts";

let sharedThread: Pick<ReadThread, "read"> = { read: () => null };

/** To be called once, by the program: from now on small reads are made together, by a thread of their own. */
export function readInThread(): void {
  sharedThread = new ReadThread();
}

let underWay = 0;

/** So many bytes from there on, or fewer where the file ends. Rejects with the error of the filesystem. */
export async function readBytes(handle: FileHandle, length: number, position: number): Promise<Buffer> {
  underWay++;
  try {
    return (await sharedThread.read(handle, length, position, underWay)) ?? (await readAlone(handle, length, position));
  } finally {
    underWay--;
  }
}

async function readAlone(handle: FileHandle, length: number, position: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafeSlow(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await handle.read(bytes, filled, length - filled, position + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return bytes.subarray(0, filled);
}
