import type { CopyPlace } from "./copy-places.ts";

/** What can happen to a copy behind a node's back. `other`: that of another blob on the same node. */
export type Damage = (copy: CopyPlace, other: CopyPlace) => Promise<void>;

export const DAMAGES_OF_COPIES: Record<string, Damage> = {
  "flipped in the first byte": changed((bytes) => flipped(bytes, 0)),
  "flipped in the last byte": changed((bytes) => flipped(bytes, bytes.length - 1)),
  "flipped in the middle": changed((bytes) => flipped(bytes, bytes.length >> 1)),
  cut: changed((bytes) => bytes.subarray(0, bytes.length >> 1)),
  emptied: changed(() => Buffer.alloc(0)),
  grown: changed((bytes) => Buffer.concat([bytes, Buffer.from("more")])),
  "swapped with another blob": async (copy, other) => {
    const [one, two] = [await present(copy), await present(other)];
    await copy.write(two);
    await other.write(one);
  },
  removed: (copy) => copy.remove(),
};

function changed(change: (bytes: Buffer) => Uint8Array): Damage {
  return async (copy) => copy.write(change(await present(copy)));
}

function flipped(bytes: Buffer, place: number): Buffer {
  const spoilt = Buffer.from(bytes);
  spoilt[place] = (spoilt[place] as number) ^ 0x10;
  return spoilt;
}

async function present(copy: CopyPlace): Promise<Buffer> {
  const bytes = await copy.read();
  if (!bytes) throw new Error("there is no copy to damage");
  return bytes;
}
