import type { Key } from "../core/key.ts";
import { KEY_BYTES, writeKey } from "../core/key-bytes.ts";
import { BucketRecords } from "./bucket-records.ts";
import { decodePlace, PLACE_BYTES } from "./copy-index.ts";
import { EntrySearch, SUFFIX_BYTES } from "./entry-search.ts";
import type { RecordPlace } from "./segment-record.ts";
import { readStable, type SharedMemory } from "./table-share.ts";

interface Readable {
  readonly memory: SharedMemory;
  readonly entries: Buffer;
  readonly search: EntrySearch;
}

/** The index of copies as another thread than its owner's reads it. */
export class SharedIndex {
  private table: Readable | undefined;
  private readonly key = Buffer.alloc(KEY_BYTES);

  /** As the owner tells it, at first and whenever it is another. */
  use(memory: SharedMemory): void {
    const records = BucketRecords.over(memory.words);
    const entries = Buffer.from(memory.entries as unknown as ArrayBuffer);
    const search = new EntrySearch({ records, slab: { bytes: entries }, entryBytes: memory.entryBytes });
    this.table = { memory, entries, search };
  }

  /** In a segment, perhaps in a file, or null: absent, or it can't be told from here. The owner knows. */
  place(key: Key): RecordPlace | "file" | null {
    const { table } = this;
    if (!table) return null;
    writeKey(key, this.key);
    return readStable(table.memory, () => this.look(table)) ?? null;
  }

  private look({ entries, search, memory: { entryBytes } }: Readable): RecordPlace | "file" | null {
    const entry = search.find(this.key);
    if (entry < 0) return null;
    const at = entry * entryBytes + SUFFIX_BYTES;
    return at + PLACE_BYTES <= entries.length ? (decodePlace(entries, at) ?? "file") : null;
  }
}
