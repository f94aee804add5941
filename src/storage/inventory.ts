import { setImmediate as turn } from "node:timers/promises";
import { CaskError } from "../core/errors.ts";
import type { Key } from "../core/key.ts";
import type { KeyDigest, KeyRange } from "../core/key-range.ts";
import { KeyedMutex } from "../core/keyed-mutex.ts";
import { LISTED_PER_TURN_COUNT, VANISHED_KEYS_MAX_COUNT } from "../core/limits.ts";
import { untilAborted } from "../core/until-aborted.ts";
import {
  type Backend,
  type CommitOutcome,
  IncompleteListing,
  type Seen,
  type Space,
  type Stage,
  type Stat,
  type StoredBlob,
  type WholeCopy,
} from "./backend.ts";
import type { KeySet } from "./key-set.ts";
import { KeyTable } from "./key-table.ts";

/** What a backend has that knows keys in memory itself: one table is enough, and need not be listed. */
export interface KnownKeys {
  /** Kept right by the backend where it knows, by the inventory where it doesn't. */
  readonly table: KeySet;
  /** Keys of the table of which a listing says whether they are there, in order. */
  listedBefore(): Iterator<Key>;
  /** These keys as they are now, in order, as `Backend.keys` does it. */
  list(): AsyncIterable<Key>;
}

export interface InventoryOptions {
  readonly inner: Backend;
  readonly known?: KnownKeys | undefined;
  /** Lets others go on; between two pieces of a listing. */
  readonly pause?: () => Promise<unknown>;
}

/**
 * A backend whose keys are also known in memory, so that "which keys of this range are here" costs no disk. All that the contract of
 * `Backend` asks for is answered by the inner one, never from the table.
 *
 * The table says what the inner backend last said. A key whose last change failed, and for which it then could not be asked either, is
 * *uncertain*: not in the table, so that nobody counts on that copy, and looked at again by whatever touches it and by each `load`.
 */
export class Inventory implements Backend {
  private readonly inner: Backend;
  private readonly pause: () => Promise<unknown>;
  private readonly known: KnownKeys;
  private readonly table: KeySet;
  /** Changes of a key, with what they mean for the table, follow one another: the last one done is the last one noted. */
  private readonly mutex = new KeyedMutex();
  private readonly uncertain = new Set<Key>();
  /** Copies that were here and are not, though nothing of ours removed them. */
  private readonly vanished = new Set<Key>();
  /** Keys that are known better than by a listing that began before; while there is one. */
  private touched: Set<Key> | undefined;
  private loading: Promise<void> | undefined;
  private readonly looks = new Map<Key, Promise<boolean>>();
  private listedOnce = false;

  constructor({ inner, known = allListed(inner), pause = turn }: InventoryOptions) {
    this.inner = inner;
    this.known = known;
    this.table = known.table;
    this.pause = pause;
  }

  get store(): string {
    return this.inner.store;
  }

  /** Has one listing been completed? From then on the table is kept right by what happens. */
  get ready(): boolean {
    return this.listedOnce;
  }

  /** Keys known by now: all of them, once `ready`. */
  get count(): number {
    return this.table.count;
  }

  /** Keys that may be there or not: 0, unless the disk fails. */
  get uncertainCount(): number {
    return this.uncertain.size;
  }

  /** Was a copy here that nothing of ours removed? Then that there is none, or that it can't be read, does not mean that there is no such blob. */
  wasHere(key: Key): boolean {
    return this.table.has(key) || this.uncertain.has(key) || this.vanished.has(key);
  }

  /** False: a look at the inner backend would find nothing, most probably. */
  mayBeHere(key: Key): boolean {
    return !this.ready || this.wasHere(key);
  }

  /** Memory of the table in bytes. */
  get sizeBytes(): number {
    return this.table.sizeBytes;
  }

  /** Throws DONT_KNOW until `ready`. */
  digest(range: KeyRange): KeyDigest {
    this.mustBeReady();
    return this.table.digest(range);
  }

  /** The first `limit` keys of a range, in order. Throws DONT_KNOW until `ready`. */
  keysIn(range: KeyRange, limit: number): Key[] {
    this.mustBeReady();
    return this.table.keysIn(range, limit);
  }

  /**
   * Brings the table in line with a listing of the inner backend. Blobs may come and go meanwhile. It can be repeated: what was changed
   * behind the backend's back is then seen, and a table that is ready stays so. Rejects when the listing fails; the table is then
   * as ready as before, and right in what it says of each key. After an IncompleteListing it is ready, and lacks what could not be read.
   * Two calls at a time are one.
   */
  load(signal?: AbortSignal): Promise<void> {
    this.loading ??= this.list(signal).finally(() => {
      this.loading = undefined;
      this.touched = undefined;
    });
    return untilAborted(this.loading, signal);
  }

  async stage(sizeHint?: number): Promise<Stage> {
    const stage = await this.inner.stage(sizeHint);
    return new InventoryStage(stage, (key) => this.commit(stage, key));
  }

  async get(key: Key): Promise<StoredBlob | null> {
    const blob = await this.inner.get(key);
    this.compare(key, blob !== null);
    return blob;
  }

  readAtOnce(key: Key, maxBytes?: number): Promise<WholeCopy> | null {
    return this.inner.readAtOnce?.(key, maxBytes) ?? null;
  }

  async stat(key: Key): Promise<Stat | null> {
    const stat = await this.inner.stat(key);
    this.compare(key, stat !== null);
    return stat;
  }

  async delete(key: Key, seen: Seen): Promise<boolean> {
    return this.remove(key, () => this.inner.delete(key, seen));
  }

  async quarantine(key: Key, seen: Seen): Promise<boolean> {
    return this.remove(key, () => this.inner.quarantine(key, seen));
  }

  isQuarantined(key: Key): Promise<boolean> {
    return this.inner.isQuarantined(key);
  }

  quarantinedCount(): Promise<number> {
    return this.inner.quarantinedCount();
  }

  keys(from?: Key, to?: Key): AsyncIterable<Key> {
    return this.inner.keys(from, to);
  }

  space(): Promise<Space> {
    return this.inner.space();
  }

  async close(): Promise<void> {
    await this.inner.close();
    await Promise.allSettled([...this.looks.values()]);
  }

  /**
   * The inner commit begins at once: an abort that is called after it must not come before it. Only what it means for the table waits
   * for its turn, and when it had to wait, a delete may have come behind it: then the inner backend is asked what came of both.
   */
  private commit(stage: Stage, key: Key): Promise<CommitOutcome> {
    const mustWait = this.mutex.isBusy(key);
    const committing = stage.commit(key);
    committing.catch(() => undefined); // told to the caller below, perhaps later than now
    return this.mutex.run(key, async () => {
      let isCertain = false;
      try {
        const outcome = await committing;
        isCertain = !mustWait;
        return outcome;
      } finally {
        if (isCertain) this.note(key, true);
        else await this.ask(key);
      }
    });
  }

  private remove(key: Key, act: () => Promise<boolean>): Promise<boolean> {
    return this.mutex.run(key, async () => {
      let removed = false;
      let mayBeOurs = true;
      try {
        removed = await act();
        mayBeOurs = false; // it says itself whether it removed it
        return removed;
      } finally {
        // Not removed: absent, or another copy than was meant, or unknown.
        if (removed) this.note(key, false);
        else await this.ask(key, mayBeOurs);
      }
    });
  }

  /**
   * A look that says otherwise than the table is no proof: a change of the key may be under way. It is a reason to look again when no
   * change is, in the background, for the reader must not wait for a writer.
   */
  private compare(key: Key, isThere: boolean): void {
    if (!this.ready || (this.table.has(key) === isThere && !this.uncertain.has(key))) return;
    void this.look(key);
  }

  /** Puts the table right for one key, by asking when nobody changes it. Answers whether that could be told. Never rejects. */
  private look(key: Key): Promise<boolean> {
    const underWay = this.looks.get(key);
    if (underWay) return underWay;
    const look = this.mutex.run(key, () => this.ask(key)).finally(() => this.looks.delete(key));
    this.looks.set(key, look);
    return look;
  }

  private async ask(key: Key, mayBeOurs = false): Promise<boolean> {
    const wasHere = this.table.has(key);
    try {
      const isThere = (await this.inner.stat(key)) !== null;
      this.note(key, isThere);
      if (!isThere && wasHere && !mayBeOurs && this.vanished.size < VANISHED_KEYS_MAX_COUNT) this.vanished.add(key);
      return true;
    } catch (_unknown) {
      this.note(key, false);
      this.uncertain.add(key);
      return false;
    }
  }

  private note(key: Key, isThere: boolean): void {
    this.uncertain.delete(key);
    this.vanished.delete(key);
    this.touched?.add(key);
    if (isThere) this.table.insert(key);
    else this.table.delete(key);
  }

  private async list(signal: AbortSignal | undefined): Promise<void> {
    const touched = new Set<Key>();
    this.touched = touched;
    const known = this.known.listedBefore();
    let expected = known.next();
    let listed = 0;
    let incomplete: IncompleteListing | undefined;
    try {
      for await (const key of this.known.list()) {
        signal?.throwIfAborted();
        for (; !expected.done && expected.value <= key; expected = known.next()) {
          if (expected.value < key) await this.checkMissing(expected.value, touched);
        }
        if (!touched.has(key)) this.table.insert(key);
        if (++listed % LISTED_PER_TURN_COUNT === 0) await this.pause();
      }
    } catch (error) {
      if (!(error instanceof IncompleteListing)) throw error;
      incomplete = error;
    }
    if (incomplete?.nothingRead) throw incomplete;
    for (; !expected.done; expected = known.next()) await this.checkMissing(expected.value, touched);
    for (const key of [...this.uncertain]) await this.look(key);
    signal?.throwIfAborted();
    // Of what can't be read nobody counts a copy; the others make theirs elsewhere. Waiting for it would leave all else unrepaired.
    this.listedOnce = true;
    if (incomplete) throw incomplete;
  }

  /** The table has the key and the listing has not: it is gone, or came since that part of the listing was read, or can't be told. */
  private async checkMissing(key: Key, touched: ReadonlySet<Key>): Promise<void> {
    if (!touched.has(key)) await this.look(key);
  }

  private mustBeReady(): void {
    if (!this.ready) throw new CaskError("DONT_KNOW", "the keys that this node holds are still being listed");
  }
}

function allListed(inner: Backend): KnownKeys {
  const table = new KeyTable();
  return { table, listedBefore: () => table.keys(), list: () => inner.keys() };
}

/** The inner stage, but for its commit. */
class InventoryStage implements Stage {
  private readonly inner: Stage;
  readonly commit: (key: Key) => Promise<CommitOutcome>;

  constructor(inner: Stage, commit: (key: Key) => Promise<CommitOutcome>) {
    this.inner = inner;
    this.commit = commit;
  }

  get sizeBytes(): number {
    return this.inner.sizeBytes;
  }

  write(chunk: Uint8Array, isGiven?: boolean): Promise<void> {
    return this.inner.write(chunk, isGiven);
  }

  read(): AsyncIterable<Uint8Array> {
    return this.inner.read();
  }

  inMemory(): Uint8Array | undefined {
    return this.inner.inMemory?.();
  }

  abort(): Promise<void> {
    return this.inner.abort();
  }
}
