import { CaskError } from "../core/errors.ts";
import { type Key, keyOfBytes } from "../core/key.ts";
import type { Random } from "../core/random.ts";
import type { Backend, CommitOutcome, Seen, Space, Stage, Stat, StoredBlob } from "./backend.ts";

interface Copy {
  readonly bytes: Buffer;
  readonly seen: Seen;
}

/** Blobs in memory: for tests, and for trying things out. Nothing survives the process. */
export class MemoryBackend implements Backend {
  readonly store: string;
  private readonly copies = new Map<Key, Copy>();
  private readonly quarantined: Array<{ readonly key: Key; readonly bytes: Buffer }> = [];
  private writes = 0;

  constructor(random: Random) {
    this.store = random.hex(16);
  }

  async stage(): Promise<Stage> {
    return new MemoryStage((key, bytes) => this.commit(key, bytes));
  }

  async get(key: Key): Promise<StoredBlob | null> {
    const copy = this.copies.get(key);
    if (!copy) return null;
    return {
      sizeBytes: copy.bytes.length,
      seen: copy.seen,
      chunks: (start = 0, end = copy.bytes.length - 1) => inChunks(copy.bytes.subarray(start, end + 1)),
      close: async () => undefined,
    };
  }

  async stat(key: Key): Promise<Stat | null> {
    const copy = this.copies.get(key);
    return copy ? { sizeBytes: copy.bytes.length, seen: copy.seen } : null;
  }

  async delete(key: Key, seen: Seen): Promise<boolean> {
    return this.copies.get(key)?.seen === seen && this.copies.delete(key);
  }

  async quarantine(key: Key, seen: Seen): Promise<boolean> {
    const copy = this.copies.get(key);
    if (copy?.seen !== seen) return false;
    this.quarantined.push({ key, bytes: copy.bytes });
    return this.copies.delete(key);
  }

  async isQuarantined(key: Key): Promise<boolean> {
    return this.quarantined.some((entry) => entry.key === key);
  }

  async *keys(from?: Key, to?: Key): AsyncIterable<Key> {
    const sorted = [...this.copies.keys()].sort();
    yield* sorted.filter((key) => (from === undefined || key >= from) && (to === undefined || key < to));
  }

  async space(): Promise<Space> {
    return { freeBytes: null, totalBytes: null };
  }

  async close(): Promise<void> {
    // nothing is held
  }

  /** For tests: puts bytes under a key as a failing disk would. */
  damage(key: Key, bytes: Buffer): void {
    this.copies.set(key, { bytes, seen: this.nextSeen() });
  }

  private commit(key: Key, bytes: Buffer): CommitOutcome {
    const before = this.copies.get(key)?.bytes;
    if (before?.equals(bytes)) return "known";
    if (before && keyOfBytes(before) === key) {
      throw new CaskError("KEY_COLLISION", `other bytes with the key ${key} are stored already; they stay`);
    }
    if (before) this.quarantined.push({ key, bytes: before });
    this.copies.set(key, { bytes, seen: this.nextSeen() });
    return before ? "replaced" : "stored";
  }

  private nextSeen(): Seen {
    return String(++this.writes) as Seen;
  }
}

class MemoryStage implements Stage {
  private parts: Uint8Array[] = [];
  private size = 0;
  private readonly whenCommitted: (key: Key, bytes: Buffer) => CommitOutcome;

  constructor(whenCommitted: (key: Key, bytes: Buffer) => CommitOutcome) {
    this.whenCommitted = whenCommitted;
  }

  get sizeBytes(): number {
    return this.size;
  }

  async write(chunk: Uint8Array): Promise<void> {
    this.parts.push(Uint8Array.from(chunk));
    this.size += chunk.length;
  }

  async *read(): AsyncIterable<Uint8Array> {
    yield* this.parts;
  }

  async commit(key: Key): Promise<CommitOutcome> {
    return this.whenCommitted(key, Buffer.concat(this.parts));
  }

  async abort(): Promise<void> {
    this.parts = [];
  }
}

async function* inChunks(bytes: Buffer): AsyncGenerator<Uint8Array> {
  const chunkBytes = 262_144;
  for (let at = 0; at < bytes.length; at += chunkBytes) yield bytes.subarray(at, at + chunkBytes);
}
