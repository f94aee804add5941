import { readFile, rm, truncate, writeFile } from "node:fs/promises";

async function flip(path: string, at: (length: number) => number): Promise<void> {
  const bytes = await readFile(path);
  const place = at(bytes.length);
  bytes[place] = (bytes[place] as number) ^ 0x10;
  await writeFile(path, bytes);
}

/** What can happen to a copy behind a node's back. `other`: the path of another blob's copy. */
export const DAMAGES_OF_COPIES: Record<string, (path: string, other: string) => Promise<void>> = {
  "flipped in the first byte": (path) => flip(path, () => 0),
  "flipped in the last byte": (path) => flip(path, (length) => length - 1),
  "flipped in the middle": (path) => flip(path, (length) => length >> 1),
  cut: async (path) => truncate(path, (await readFile(path)).length >> 1),
  emptied: (path) => truncate(path, 0),
  grown: async (path) => writeFile(path, Buffer.concat([await readFile(path), Buffer.from("more")])),
  "swapped with another blob": async (path, other) => {
    const [one, two] = [await readFile(path), await readFile(other)];
    await writeFile(path, two);
    await writeFile(other, one);
  },
  removed: (path) => rm(path),
};
