import { constants } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { CaskError, systemCode } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import type { FileSystem } from "./file-system.ts";
import { syncFolder } from "./folder-sync.ts";
import { SegmentFile } from "./segment-file.ts";
import { decodeSegmentHeader, encodeSegmentHeader, SEGMENT_HEADER_BYTES, SegmentSalt } from "./segment-record.ts";
import type { ActiveSegment } from "./segment-writer.ts";
import { storageFailure } from "./storage-failure.ts";

const SEGMENT_PATTERN = /^([0-9a-f]{8})\.seg$/;
const GONE_PATTERN = /^([0-9a-f]{8})\.gone$/;
const CREATE_FLAGS = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL;

/**
 * `segments/` of a data folder: `0000002a.seg` is segment 42. One that was compacted away leaves an empty `0000002a.gone`, until no checkpoint speaks of
 * it: so that "compacted" and "lost" are never taken for each other.
 */
export class SegmentFolder {
  readonly path: string;
  readonly checkpoint: string;
  private readonly files: FileSystem;
  private readonly root: string;

  constructor(files: FileSystem, root: string) {
    this.files = files;
    this.root = root;
    this.path = join(root, "segments");
    this.checkpoint = join(this.path, "checkpoint");
  }

  segment(id: number): string {
    return join(this.path, `${nameOf(id)}.seg`);
  }

  /** Segments that are there and that were compacted away, in order. Makes the folder if need be. */
  async list(): Promise<{ present: number[]; gone: number[] }> {
    try {
      await this.files.mkdir(this.path);
    } catch (error) {
      if (systemCode(error) !== "EEXIST") throw storageFailure(error, `making ${this.path}`);
    }
    await syncFolder(this.files, this.root);
    const names = await this.files.readdir(this.path);
    return { present: idsIn(names, SEGMENT_PATTERN), gone: idsIn(names, GONE_PATTERN) };
  }

  /** A new segment, durable. */
  async create(id: number, random: Random): Promise<ActiveSegment> {
    const path = this.segment(id);
    const salt = SegmentSalt.make(random);
    const handle = await this.files.open(path, CREATE_FLAGS, 0o644);
    try {
      const header = encodeSegmentHeader(salt);
      const { bytesWritten } = await handle.write(header, 0, header.length, 0);
      if (bytesWritten < header.length) throw new CaskError("NO_SPACE", `no space left for ${path}`);
      await handle.sync();
      await syncFolder(this.files, this.path);
    } catch (error) {
      await handle.close().catch(() => undefined);
      await this.files.unlink(path).catch(() => undefined); // why it could not be made is what matters
      throw error;
    }
    return { segment: new SegmentFile({ id, path, salt, endBytes: SEGMENT_HEADER_BYTES }), handle };
  }

  /** What a segment's own header says, and its size. `salt` null: the header is damaged. */
  async look(handle: FileHandle): Promise<{ salt: SegmentSalt | null; sizeBytes: number }> {
    const header = Buffer.alloc(SEGMENT_HEADER_BYTES);
    const { bytesRead } = await handle.read(header, 0, header.length, 0);
    const { size } = await handle.stat();
    return { salt: decodeSegmentHeader(header.subarray(0, bytesRead)), sizeBytes: size };
  }

  /** Writes a damaged header anew: without it no start finds the records. Answers whether it had to. */
  async mend({ path, salt }: SegmentFile): Promise<boolean> {
    const [found, whole] = [Buffer.alloc(SEGMENT_HEADER_BYTES), encodeSegmentHeader(salt)];
    const handle = await this.files.open(path, constants.O_RDWR);
    try {
      const { bytesRead } = await handle.read(found, 0, found.length, 0);
      if (bytesRead === found.length && found.equals(whole)) return false;
      await handle.write(whole, 0, whole.length, 0);
      await handle.sync();
      return true;
    } finally {
      await handle.close();
    }
  }

  /** All that is needed of it has been written elsewhere, durably. */
  async remove({ id, path }: SegmentFile): Promise<void> {
    const handle = await this.files.open(this.gone(id), constants.O_WRONLY | constants.O_CREAT, 0o644);
    await handle.close();
    await syncFolder(this.files, this.path);
    await this.files.unlink(path); // who has it open goes on reading
    await syncFolder(this.files, this.path);
  }

  /** No checkpoint speaks of it any more. */
  async forget(id: number): Promise<void> {
    await this.files.unlink(this.gone(id));
  }

  private gone(id: number): string {
    return join(this.path, `${nameOf(id)}.gone`);
  }
}

function nameOf(id: number): string {
  return id.toString(16).padStart(8, "0");
}

function idsIn(names: readonly string[], pattern: RegExp): number[] {
  return names
    .flatMap((name) => pattern.exec(name)?.[1] ?? [])
    .map((hex) => Number.parseInt(hex, 16))
    .sort((a, b) => a - b);
}
