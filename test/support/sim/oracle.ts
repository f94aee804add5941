import type { Key } from "../../../src/core/key.ts";
import { copyOn, hasLostHeader, keysOn, pathOf } from "./sim-copies.ts";
import type { SimDisk } from "./sim-disk.ts";
import type { SimFile } from "./sim-file.ts";

export interface KnownBlob {
  readonly key: Key;
  /** Where its file is, on any disk. */
  readonly path: string;
  readonly bytes: Buffer;
  /** Copies that the answer to its upload told; 0: it was never acknowledged. */
  acknowledged: number;
}

/** A disk, and whether it is one that the cluster may count on: not one that was pulled out. */
export interface OracleDisk {
  readonly name: string;
  readonly disk: () => SimDisk;
  /** Does the process that runs on it not know the copy? Such a leftover goes when its segment is compacted. */
  readonly isLeftover?: (blob: KnownBlob) => boolean;
}

/** Knows what every blob is, looks at every disk, and says what must not be. */
export class Oracle {
  readonly blobs = new Map<Key, KnownBlob>();
  readonly breaches: string[] = [];
  private readonly disks: OracleDisk[];
  private readonly replication: number;
  private readonly say: (line: string) => void;
  /** When faults destroyed copies of a key. By order, not by time: much happens in one instant of simulated time. */
  private readonly destroyed = new Map<Key, number[]>();
  private readonly marked = new Map<string, number>();
  private moments = 0;

  constructor(options: {
    disks: readonly OracleDisk[];
    replication: number;
    say: (line: string) => void;
  }) {
    this.disks = [...options.disks];
    this.replication = options.replication;
    this.say = options.say;
  }

  addDisk(disk: OracleDisk): void {
    this.disks.push(disk);
  }

  breach(what: string): void {
    this.breaches.push(what);
    this.say(`BREACH ${what}`);
  }

  uploaded(key: Key, bytes: Buffer): KnownBlob {
    const blob = this.blobs.get(key) ?? { key, path: pathOf(key), bytes, acknowledged: 0 };
    this.blobs.set(key, blob);
    return blob;
  }

  /** Names of the disks with a whole copy, as it is read now. */
  goodCopies(blob: KnownBlob): string[] {
    return this.disks.filter(({ disk }) => isGood(disk(), blob)).map(({ name }) => name);
  }

  /** A fault is about to take the copies of these keys on one disk. Answers whether each acknowledged blob survives it, with so many good copies at least. */
  survives(name: string, keys: Iterable<Key>, leastCopies = 1): boolean {
    for (const key of keys) {
      const blob = this.blobs.get(key);
      if (!blob || blob.acknowledged === 0) continue;
      const others = this.disks.filter(
        (each) => each.name !== name && isGood(each.disk(), blob) && !each.isLeftover?.(blob),
      );
      if (others.length < leastCopies) return false;
    }
    return true;
  }

  /** Names this moment: what happens later has a higher one. */
  moment(): number {
    return ++this.moments;
  }

  /** I8: as many good copies as were promised, but for what faults took since the upload began. */
  acknowledgedBy(uuid: string, blob: KnownBlob, { begun, promised }: { begun: number; promised: number }): void {
    const excused = this.excused(blob, begun);
    const good = this.goodCopies(blob);
    if (good.length >= promised - excused) return;
    this.breach(
      `I8: ${uuid} acknowledged ${blob.key} with ${good.length} good copies (${good.join(", ")}), ${promised} are promised`,
    );
  }

  /** Copies that faults took since a moment, and those that may be where a fault took a segment's header. */
  private excused(blob: KnownBlob, since: number): number {
    const destroyed = (this.destroyed.get(blob.key) ?? []).filter((at) => at > since).length;
    return destroyed + this.disks.filter(({ disk }) => hasLostHeader(disk()) && !isGood(disk(), blob)).length;
  }

  /** I6: nothing lies on a disk under the name of a blob that nobody uploaded. Damage is found by other rules. */
  noGarbage(): void {
    for (const { name, disk } of this.disks) {
      for (const key of keysOn(disk())) {
        if (!this.blobs.has(key)) this.breach(`I6: ${name} holds ${key}, which nobody uploaded`);
      }
    }
  }

  noteDestroyed(key: Key): void {
    this.destroyed.set(key, [...(this.destroyed.get(key) ?? []), this.moment()]);
  }

  noteMarked(name: string, key: Key): void {
    this.marked.set(`${name} ${key}`, this.moment());
  }

  /** I3: our own deletes never bring a blob below min(replication, copies acknowledged) good copies, but for what faults took since the marking. */
  deleted(name: string, key: Key): void {
    const blob = this.blobs.get(key);
    if (!blob) return;
    const marked = this.marked.get(`${name} ${key}`) ?? 0;
    const excused = this.excused(blob, marked);
    const left = this.goodCopies(blob);
    const floor = Math.min(this.replication, Math.max(1, blob.acknowledged)) - excused;
    if (left.length < floor) {
      this.breach(
        `I3: ${name} deleted its copy of ${key}, which leaves ${left.length} (${left.join(", ")}), ${floor} are owed`,
      );
    }
  }

  /** I1, at any time: each acknowledged blob is whole somewhere, or may be where a fault took a segment's header. */
  nothingLost(): void {
    for (const blob of this.blobs.values()) {
      if (blob.acknowledged > 0 && !this.mayBeThere(blob)) this.breach(`I1: ${blob.key} is lost`);
    }
  }

  mayBeThere(blob: KnownBlob): boolean {
    return this.disks.some(({ disk }) => isGood(disk(), blob) || hasLostHeader(disk()));
  }
}

type SoughtBlob = Pick<KnownBlob, "key" | "path" | "bytes">;

/** What was found of a file at some version of its bytes: one file is the copy of one key, and is looked at again and again. */
const judged = new WeakMap<SimFile, { readonly version: number; readonly key: Key; readonly isGood: boolean }>();

export function isGood(disk: SimDisk, blob: SoughtBlob): boolean {
  const copy = copyOn(disk, blob);
  if (!copy || copy.sizeBytes !== blob.bytes.length) return false;
  const { file, begin } = copy;
  if (copy.isRecord) return file.bytes.subarray(begin, begin + copy.sizeBytes).equals(blob.bytes);
  const before = judged.get(file);
  if (before?.version === file.version && before.key === blob.key) return before.isGood;
  const isGood = file.bytes.equals(blob.bytes);
  judged.set(file, { version: file.version, key: blob.key, isGood });
  return isGood;
}
