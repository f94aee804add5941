import { RECORD_HEADER_BYTES, type RecordPlace, recordBytes, type SegmentSalt } from "./segment-record.ts";

/** One segment: a file of records, and what is known of it. It opens nothing. */
export class SegmentFile {
  readonly id: number;
  readonly path: string;
  readonly salt: SegmentSalt;
  /** Up to here it is on stable storage, and nobody looks behind. */
  endBytes: number;
  /** Records whose blobs are copies at present. */
  liveBytes = 0;
  /** Deletions in here, by the segment of what they delete: they must be kept for as long as that one is there. */
  private readonly deletions = new Map<number, number>();

  constructor({ id, path, salt, endBytes }: Pick<SegmentFile, "id" | "path" | "salt" | "endBytes">) {
    this.id = id;
    this.path = path;
    this.salt = salt;
    this.endBytes = endBytes;
  }

  addLive({ sizeBytes }: Pick<RecordPlace, "sizeBytes">): void {
    this.liveBytes += recordBytes(sizeBytes);
  }

  takeLive({ sizeBytes }: Pick<RecordPlace, "sizeBytes">): void {
    this.liveBytes -= recordBytes(sizeBytes);
  }

  addDeletions(target: number, count = 1): void {
    this.deletions.set(target, (this.deletions.get(target) ?? 0) + count);
  }

  deletionCounts(): ReadonlyMap<number, number> {
    return this.deletions;
  }

  /** What would have to be written again if this segment were to go. `exists`: is there such a segment? */
  neededBytes(exists: (segment: number) => boolean): number {
    let bytes = this.liveBytes;
    for (const [target, count] of this.deletions) {
      if (target !== this.id && exists(target)) bytes += count * RECORD_HEADER_BYTES;
    }
    return bytes;
  }
}
