import { CaskError } from "../core/errors.ts";
import { MESSAGE_TYPE } from "./message-types.ts";
import { Refused } from "./messages.ts";
import { COMPOUND_PART_MAX_BYTES, COMPOUND_PARTS_MAX_COUNT } from "./wire-limits.ts";

export interface Compound {
  readonly parts: readonly Uint8Array[];
  /** Parts that were announced and cut off. */
  readonly missingCount: number;
}

/** Many messages in as few as possible, each of at most 255: how large they become is the caller's to watch. */
export function makeCompounds(parts: readonly Uint8Array[]): Buffer[] {
  const compounds: Buffer[] = [];
  for (let i = 0; i < parts.length; i += COMPOUND_PARTS_MAX_COUNT)
    compounds.push(makeCompound(parts.slice(i, i + COMPOUND_PARTS_MAX_COUNT)));
  return compounds;
}

/** The count in one byte, all lengths in two each, the parts. More would wrap around unnoticed, as it does in Go. */
export function makeCompound(parts: readonly Uint8Array[]): Buffer {
  if (parts.length > COMPOUND_PARTS_MAX_COUNT) throw new CaskError("INTERNAL", `a compound of ${parts.length} parts`);
  const header = Buffer.alloc(2 + 2 * parts.length);
  header[0] = MESSAGE_TYPE.compound;
  header[1] = parts.length;
  parts.forEach(({ length }, i) => {
    if (length > COMPOUND_PART_MAX_BYTES) throw new CaskError("INTERNAL", `a compound with a part of ${length} bytes`);
    header.writeUInt16BE(length, 2 + 2 * i);
  });
  return Buffer.concat([header, ...parts]);
}

/** `bytes` without the type byte. The parts are views of it. As in Go, those before one that is cut off count. */
export function readCompound(bytes: Uint8Array): Compound {
  const count = bytes[0];
  if (count === undefined) throw new Refused("compound", "missing compound length byte");
  let start = 1 + 2 * count;
  if (bytes.length < start) throw new Refused("compound", "truncated len slice");
  const parts: Uint8Array[] = [];
  for (let i = 0; i < count; i++) {
    const length = (bytes[1 + 2 * i] as number) * 256 + (bytes[2 + 2 * i] as number);
    if (length > bytes.length - start) return { parts, missingCount: count - i };
    parts.push(bytes.subarray(start, start + length));
    start += length;
  }
  return { parts, missingCount: 0 };
}
