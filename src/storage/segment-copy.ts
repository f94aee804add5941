import { CaskError } from "../core/errors.ts";
import type { Seen, StoredBlob } from "./backend.ts";
import type { RecordTarget } from "./segment-record.ts";

/** A copy from a segment: small, so its bytes were read when it was opened. */
export class SegmentCopy implements StoredBlob {
  readonly sizeBytes: number;
  readonly seen: Seen;
  private readonly bytes: Buffer;

  constructor(bytes: Buffer, seen: Seen) {
    this.bytes = bytes;
    this.sizeBytes = bytes.length;
    this.seen = seen;
  }

  async *chunks(start = 0, end = this.sizeBytes - 1): AsyncGenerator<Uint8Array> {
    if (end >= this.sizeBytes)
      throw new CaskError("STORAGE_FAILED", `a copy of ${this.sizeBytes} bytes has no byte ${end}`);
    if (end >= start) yield this.bytes.subarray(start, end + 1);
  }

  async close(): Promise<void> {
    // nothing is held
  }
}

/** No record is ever written in the place of another: numbers of segments are not used again. */
export function seenAt({ segment, offset }: RecordTarget): Seen {
  return `segment-${segment}-${offset}` as Seen;
}
