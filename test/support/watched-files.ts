import type { FileHandle } from "node:fs/promises";
import { type FileSystem, systemFiles } from "../../src/storage/file-system.ts";

/** One call that reached the operating system: `rename` of a path, `sync` of an open file, … */
export interface Call {
  readonly name: string;
  readonly path: string;
  /** Where to, for `rename`. */
  readonly to?: string;
}

/** The system's files, with a record of the calls, and with calls that fail or are left out when a test says so. */
export class WatchedFiles {
  calls: Call[] = [];
  /** Answers the error with which a call is to fail. */
  fail: (call: Call) => Error | undefined = () => undefined;
  /** True for a call that is answered without being made: how a defect is put in. */
  skip: (call: Call) => boolean = () => false;
  /** How many of the bytes that a `write` was given are written. */
  shorten: (call: Call, bytes: number) => number = (_, bytes) => bytes;
  readonly files: FileSystem;

  constructor() {
    this.files = new Proxy(systemFiles, {
      get: (target, name: keyof FileSystem) => {
        if (typeof target[name] !== "function") return target[name];
        return name === "open" ? this.open : (...args: unknown[]) => this.call(target, name, String(args[0]), args);
      },
    });
  }

  names(): string[] {
    return this.calls.map((call) => call.name);
  }

  private readonly open = async (...args: Parameters<FileSystem["open"]>): Promise<FileHandle> => {
    const path = String(args[0]);
    const handle = (await this.call(systemFiles, "open", path, args)) as FileHandle;
    return new Proxy(handle, {
      get: (target, name: string) => {
        const value: unknown = Reflect.get(target, name);
        if (typeof value !== "function" || name === "constructor") return value;
        return (...rest: unknown[]) => this.call(target, name, path, rest);
      },
    });
  };

  private async call(target: object, name: string, path: string, args: unknown[]): Promise<unknown> {
    const call = name === "rename" ? { name, path, to: String(args[1]) } : { name, path };
    this.calls.push(call);
    const error = this.fail(call);
    if (error) {
      if (name === "close") await Reflect.apply(Reflect.get(target, name), target, args); // closed it is, whatever it says
      throw error;
    }
    if (this.skip(call)) return undefined;
    if (name === "write") args = [args[0], args[1], this.shorten(call, Number(args[2])), args[3]];
    return Reflect.apply(Reflect.get(target, name), target, args);
  }
}

/** An error as the system gives it. */
export function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: injected`), { code });
}
