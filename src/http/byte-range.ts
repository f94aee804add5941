import { CaskError } from "../core/errors.ts";
import type { ByteRange } from "../peer/peer.ts";

/**
 * The one range in a `Range` header, resolved against the blob's size; null where the header is to be ignored: another unit, several
 * ranges, bad syntax (RFC 9110, section 14.2). Rejects with BAD_RANGE when it lies outside the blob.
 */
export function parseRange(header: string | undefined, sizeBytes: number): ByteRange | null {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header?.trim() ?? "");
  if (!match || (match[1] === "" && match[2] === "")) return null;
  const [first, last] = [match[1] as string, match[2] as string];
  const range = first === "" ? suffix(Number(last), sizeBytes) : fromTo(Number(first), last, sizeBytes);
  if (range && range.start > range.end) return null;
  if (!range || range.start >= sizeBytes) throw new CaskError("BAD_RANGE", `the blob has ${sizeBytes} bytes`);
  return range;
}

function suffix(count: number, sizeBytes: number): ByteRange | undefined {
  if (count === 0 || sizeBytes === 0) return undefined;
  return { start: Math.max(0, sizeBytes - count), end: sizeBytes - 1 };
}

function fromTo(start: number, last: string, sizeBytes: number): ByteRange | undefined {
  if (start >= sizeBytes) return undefined;
  // An end before the start is bad syntax, which is ignored; an end behind the blob is cut.
  return { start, end: last === "" ? sizeBytes - 1 : Math.min(Number(last), Math.max(sizeBytes - 1, start)) };
}
