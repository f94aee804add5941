import { CaskError } from "../core/errors.ts";
import { type Key, keyOfBytes } from "../core/key.ts";
import { READ_CHUNK_BYTES } from "../core/limits.ts";
import type { Random } from "../core/random.ts";
import type { Backend, CommitOutcome, Seen, Space, Stage, Stat, StoredBlob } from "./backend.ts";

interface Copy {
  readonly bytes: Buffer;
  readonly seen: Seen;
}

/** Blobs in memory, gone with the process: for tests, and for trying things out. Nothing in it is durable. */
export class MemoryBackend implements Backend {
  readonly store: string;
  protected readonly copies = new Map<Key, Copy>();
  protected readonly quarantined = new Map<Key, Buffer[]>();
  private written = 0;

  constructor(random: Random) {
    this.store = random.hex(16);
  }

  async stage(): Promise<Stage> {
    return new MemoryStage((key, bytes) => this.place(key, bytes));
  }

  async get(key: Key): Promise<StoredBlob | null> {
    const copy = this.copies.get(key);
    if (!copy) return null;
    const { bytes, seen } = copy;
    return {
      sizeBytes: bytes.length,
      seen,
      chunks: (start = 0, end = bytes.length - 1) => inPieces(bytes.subarray(start, end + 1), end + 1 - start),
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
    this.quarantined.set(key, [...(this.quarantined.get(key) ?? []), copy.bytes]);
    return this.copies.delete(key);
  }

  async isQuarantined(key: Key): Promise<boolean> {
    return this.quarantined.has(key);
  }

  async quarantinedCount(): Promise<number> {
    return [...this.quarantined.values()].reduce((sum, copies) => sum + copies.length, 0);
  }

  async *keys(from?: Key, to?: Key): AsyncGenerator<Key> {
    const sorted = [...this.copies.keys()].sort();
    for (const key of sorted) {
      if (to !== undefined && key >= to) return;
      if (from === undefined || key >= from) yield key;
    }
  }

  async space(): Promise<Space> {
    return { freeBytes: null, totalBytes: null };
  }

  async close(): Promise<void> {
    await Promise.resolve();
  }

  protected write(key: Key, bytes: Buffer): void {
    this.written++;
    this.copies.set(key, { bytes, seen: String(this.written) as Seen });
  }

  private async place(key: Key, bytes: Buffer): Promise<CommitOutcome> {
    const existing = this.copies.get(key);
    if (!existing) {
      this.write(key, bytes);
      return "stored";
    }
    if (existing.bytes.equals(bytes)) return "known";
    if (keyOfBytes(existing.bytes) === key) {
      throw new CaskError(
        "KEY_COLLISION",
        `other bytes are stored under ${key} already, with the same hash; they stay`,
      );
    }
    await this.quarantine(key, existing.seen);
    this.write(key, bytes);
    return "replaced";
  }
}

class MemoryStage implements Stage {
  private chunks: Buffer[] = [];
  private size = 0;
  private state: "open" | "committed" | "ended" = "open";
  private readonly place: (key: Key, bytes: Buffer) => Promise<CommitOutcome>;

  constructor(place: (key: Key, bytes: Buffer) => Promise<CommitOutcome>) {
    this.place = place;
  }

  get sizeBytes(): number {
    return this.size;
  }

  async write(chunk: Uint8Array): Promise<void> {
    this.mustBe("open");
    this.chunks.push(Buffer.from(chunk)); // a copy: the caller may use its buffer again
    this.size += chunk.length;
  }

  async *read(): AsyncGenerator<Uint8Array> {
    for (const chunk of this.chunks.slice()) {
      if (this.state === "ended") throw ended();
      yield chunk;
    }
    if (this.state === "ended") throw ended();
  }

  async commit(key: Key): Promise<CommitOutcome> {
    this.mustBe("open");
    this.state = "committed";
    const bytes = Buffer.concat(this.chunks, this.size);
    this.chunks = bytes.length > 0 ? [bytes] : [];
    return this.place(key, bytes);
  }

  async abort(): Promise<void> {
    this.state = "ended";
    this.chunks = [];
  }

  private mustBe(state: "open"): void {
    if (this.state !== state) throw ended();
  }
}

function ended(): CaskError {
  return new CaskError("STORAGE_FAILED", "the stage was committed or given up already");
}

/** Rejects, as a disk does, when fewer bytes are there than asked for. */
async function* inPieces(bytes: Buffer, expected: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += READ_CHUNK_BYTES) yield bytes.subarray(at, at + READ_CHUNK_BYTES);
  if (bytes.length < expected) throw new CaskError("STORAGE_FAILED", `${expected - bytes.length} bytes are missing`);
}
