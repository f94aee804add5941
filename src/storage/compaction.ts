import type { Key } from "../core/key.ts";
import type { KeyedMutex } from "../core/keyed-mutex.ts";
import { COMPACT_AT_ONCE_BYTES, COMPACT_AT_ONCE_COUNT } from "../core/limits.ts";
import type { RateLimit } from "../core/rate-limit.ts";
import type { SegmentFile } from "./segment-file.ts";
import { type RecordPlace, type RecordTarget, recordBytes } from "./segment-record.ts";
import type { Segments } from "./segments.ts";

export interface CompactionOptions {
  readonly segments: Segments;
  /** The one under which copies are stored and deleted. */
  readonly mutex: KeyedMutex;
  readonly rate: RateLimit;
}

export interface Compacted {
  /** Null: there was nothing to do. */
  readonly segment: number | null;
  readonly movedBytes: number;
  /** Copies that are not what their keys say: they stay where they are, and their segment with them. */
  readonly corrupt: readonly Key[];
}

type Moved = readonly [Key, RecordPlace];

interface Deletion {
  readonly key: Key;
  readonly target: RecordTarget;
}

/**
 * Gives back the space of deleted copies: what is left in a segment that is half empty is written anew, then the file goes. At any time each copy
 * is whole in one place at least, and in both when the process dies between.
 */
export class Compaction {
  private readonly options: CompactionOptions;
  /** Segments that could not be emptied, and what was needed of them then: not tried again before that changes. */
  private readonly stuck = new Map<number, number>();

  constructor(options: CompactionOptions) {
    this.options = options;
  }

  /** Compacts the emptiest segment, if one is half empty. Rejects when the disk fails, or the signal aborts. */
  async step(signal: AbortSignal): Promise<Compacted> {
    const { segments } = this.options;
    const segment = segments.hasUnread ? undefined : this.emptiest();
    if (!segment) return { segment: null, movedBytes: 0, corrupt: [] };
    const live: Moved[] = [];
    const deletions: Deletion[] = [];
    await segments.readRecords(segment, (record) => {
      const place = { segment: segment.id, offset: record.offset };
      if (record.kind === "deletion") deletions.push({ key: record.key, target: record.target });
      else if (segments.set.index.isAt(record.key, place))
        live.push([record.key, { ...place, sizeBytes: record.sizeBytes }]);
    });
    const corrupt = await this.move(live, signal);
    // A record that can't be told from its header is still known to the index.
    if (corrupt.length === 0 && segment.liveBytes > 0) corrupt.push(...(await this.move(this.restOf(segment), signal)));
    await segments.deleteAgain(deletions.filter(({ target }) => this.mustBeKept(segment, target.segment)));
    if (segment.liveBytes === 0) await segments.drop(segment);
    else this.stuck.set(segment.id, this.needed(segment));
    const movedBytes = live.reduce((sum, [, { sizeBytes }]) => sum + sizeBytes, 0);
    return { segment: segment.id, movedBytes, corrupt };
  }

  private emptiest(): SegmentFile | undefined {
    const { segments } = this.options;
    const share = (segment: SegmentFile) => this.needed(segment) / segment.endBytes;
    // The last one is written to, or may be in a moment.
    return segments.set
      .all()
      .slice(0, -1)
      .filter((segment) => share(segment) < 0.5)
      .filter((segment) => this.stuck.get(segment.id) !== this.needed(segment))
      .sort((a, b) => share(a) - share(b))[0];
  }

  private needed(segment: SegmentFile): number {
    return segment.neededBytes(this.options.segments.set.exists);
  }

  private mustBeKept(segment: SegmentFile, target: number): boolean {
    return target !== segment.id && this.options.segments.set.exists(target);
  }

  private restOf({ id }: SegmentFile): Moved[] {
    return [...this.options.segments.set.index.records()].filter(([, { segment }]) => segment === id);
  }

  /** Answers those that can't be moved. */
  private async move(copies: readonly Moved[], signal: AbortSignal): Promise<Key[]> {
    const { segments, mutex, rate } = this.options;
    const corrupt: Key[] = [];
    for (const group of groupsOf(copies)) {
      await rate.take(
        group.reduce((sum, [, { sizeBytes }]) => sum + recordBytes(sizeBytes), 0),
        signal,
      );
      await Promise.all(
        group.map(([key, place]) =>
          mutex.run(key, async () => {
            if (!(await segments.move(key, place))) corrupt.push(key);
          }),
        ),
      );
    }
    return corrupt;
  }
}

function groupsOf(copies: readonly Moved[]): Moved[][] {
  const groups: Moved[][] = [];
  let [group, bytes]: [Moved[], number] = [[], 0];
  for (const copy of copies) {
    if (
      group.length === COMPACT_AT_ONCE_COUNT ||
      (group.length > 0 && bytes + copy[1].sizeBytes > COMPACT_AT_ONCE_BYTES)
    ) {
      groups.push(group);
      [group, bytes] = [[], 0];
    }
    group.push(copy);
    bytes += copy[1].sizeBytes;
  }
  return group.length > 0 ? [...groups, group] : groups;
}
