import type { SimNode } from "./sim-folder.ts";

const BLOCK_BYTES = 512;

/** The part of `fs.Stats` that is known here, as numbers. */
export class SimStats {
  readonly dev = 1;
  readonly ino: number;
  readonly nlink: number;
  readonly size: number;
  readonly blocks: number;
  readonly mtimeMs: number;
  readonly ctimeMs: number;
  private readonly kind: SimNode["kind"];

  constructor(node: SimNode) {
    this.kind = node.kind;
    this.ino = node.ino;
    this.nlink = node.links;
    this.size = node.size;
    this.blocks = Math.ceil(node.size / BLOCK_BYTES);
    this.mtimeMs = Number(node.mtimeNs / 1_000_000n);
    this.ctimeMs = Number(node.ctimeNs / 1_000_000n);
  }

  isFile(): boolean {
    return this.kind === "file";
  }

  isDirectory(): boolean {
    return this.kind === "folder";
  }

  isSymbolicLink(): boolean {
    return false;
  }
}

/** The same as whole numbers of any size, with times in nanoseconds. */
export class SimBigStats {
  readonly dev = 1n;
  readonly ino: bigint;
  readonly nlink: bigint;
  readonly size: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  private readonly kind: SimNode["kind"];

  constructor(node: SimNode) {
    this.kind = node.kind;
    this.ino = BigInt(node.ino);
    this.nlink = BigInt(node.links);
    this.size = BigInt(node.size);
    this.mtimeNs = node.mtimeNs;
    this.ctimeNs = node.ctimeNs;
  }

  isFile(): boolean {
    return this.kind === "file";
  }

  isDirectory(): boolean {
    return this.kind === "folder";
  }

  isSymbolicLink(): boolean {
    return false;
  }
}

export class SimDirent {
  readonly name: string;
  readonly parentPath: string;
  private readonly kind: SimNode["kind"];

  constructor(name: string, parentPath: string, node: SimNode) {
    this.name = name;
    this.parentPath = parentPath;
    this.kind = node.kind;
  }

  isFile(): boolean {
    return this.kind === "file";
  }

  isDirectory(): boolean {
    return this.kind === "folder";
  }

  isSymbolicLink(): boolean {
    return false;
  }
}
