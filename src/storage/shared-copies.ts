import { ByteBudget } from "../core/byte-budget.ts";
import type { Key } from "../core/key.ts";
import { READ_LARGE_CHUNKS_MAX_BYTES, SEGMENT_FILES_OPEN_MAX_COUNT } from "../core/limits.ts";
import { readBytes } from "../core/read-bytes.ts";
import type { StoredBlob } from "./backend.ts";
import { openCopy } from "./disk-copy.ts";
import { type FileSystem, systemFiles } from "./file-system.ts";
import { Layout } from "./layout.ts";
import { OpenFiles } from "./open-files.ts";
import { SegmentFolder } from "./segment-folder.ts";
import { RECORD_HEADER_BYTES, type RecordPlace } from "./segment-record.ts";
import { SharedIndex } from "./shared-index.ts";

/** Copies of a data folder that another thread owns, for reading alone. Where something is not as it should be the owner is to be asked. */
export class SharedCopies {
  readonly index = new SharedIndex();
  private readonly files: FileSystem;
  private readonly layout: Layout;
  private readonly folder: SegmentFolder;
  private readonly readers: OpenFiles;
  private readonly pieces = new ByteBudget(READ_LARGE_CHUNKS_MAX_BYTES);

  constructor(root: string, files: FileSystem = systemFiles) {
    this.files = files;
    this.layout = new Layout(root);
    this.folder = new SegmentFolder(files, root);
    this.readers = new OpenFiles(files, SEGMENT_FILES_OPEN_MAX_COUNT);
  }

  /**
   * Bytes of a record, unverified, or a file that is open. Null: there is no copy, or that can't be told from here. Rejects with the error of
   * the filesystem.
   */
  async open(key: Key): Promise<Buffer | StoredBlob | null> {
    const place = this.index.place(key);
    if (place !== "file") return place && this.read(place);
    const { files, layout, pieces } = this;
    return openCopy({ files, layout, pieces }, key);
  }

  /** As `open`, of copies alone that take one read. */
  async record(key: Key): Promise<Buffer | null> {
    const place = this.index.place(key);
    return place === null || place === "file" ? null : this.read(place);
  }

  /** The segment was compacted away: its space is given back once nobody has it open. */
  async dropped(segment: number): Promise<void> {
    await this.readers.drop(this.folder.segment(segment));
  }

  private async read({ segment, offset, sizeBytes }: RecordPlace): Promise<Buffer | null> {
    const bytes = await this.readers.use(this.folder.segment(segment), (handle) => {
      return readBytes(handle, sizeBytes, offset + RECORD_HEADER_BYTES);
    });
    return bytes.length === sizeBytes ? bytes : null;
  }

  async close(): Promise<void> {
    await this.readers.close();
  }
}
