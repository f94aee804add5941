import { constants } from "node:fs";
import path from "node:path";
import { CaskError, systemCode } from "../core/errors.ts";
import { type FileSystem, systemFiles } from "../storage/file-system.ts";
import { syncFolder } from "../storage/folder-sync.ts";

/**
 * A small JSON file that survives a crash at any moment: it holds the old content or the new one.
 * Writes of one file follow one another.
 */
export class StateFile {
  private readonly file: string;
  private readonly files: FileSystem;
  private last: Promise<void> = Promise.resolve();

  constructor(folder: string, name: string, files: FileSystem = systemFiles) {
    this.files = files;
    this.file = path.join(folder, name);
  }

  /** null when the file does not exist. A damaged one rejects: what a node must remember is not to be made up. */
  async read(): Promise<object | null> {
    let text: string;
    try {
      text = await this.files.readFile(this.file, "utf8");
    } catch (error) {
      if (systemCode(error) === "ENOENT") return null;
      throw new CaskError("BAD_ROOT", `cannot read ${this.file}; check the folder's permissions`, error);
    }
    return this.parse(text);
  }

  private parse(text: string): object {
    let value: unknown;
    let cause: unknown;
    try {
      value = JSON.parse(text);
    } catch (error) {
      cause = error;
    }
    if (typeof value === "object" && value !== null) return value;
    const message = `${this.file} is damaged; restore it, or move it away to start without it`;
    throw new CaskError("BAD_ROOT", message, cause);
  }

  write(value: object): Promise<void> {
    const text = `${JSON.stringify(value, null, 2)}\n`;
    const next = this.last.then(() => this.replace(text));
    this.last = next.catch(() => undefined); // the caller gets the rejection; the next write must not
    return next;
  }

  private async replace(text: string): Promise<void> {
    const folder = path.dirname(this.file);
    const temporary = `${this.file}.new`;
    try {
      await this.files.mkdir(folder, { recursive: true });
      await this.writeSynced(temporary, text);
      await this.files.rename(temporary, this.file);
      await syncFolder(this.files, folder);
    } catch (error) {
      throw new CaskError("STORAGE_FAILED", `cannot write ${this.file}`, error);
    }
  }

  private async writeSynced(file: string, text: string): Promise<void> {
    const handle = await this.files.open(file, constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC, 0o666);
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
  }
}
