import { accessSync, constants } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { CaskError, messageOf } from "../core/errors.ts";

const SQLITE_BUSY = 5;

export interface HeldLock {
  release(): void;
}

/** Locks a data folder by a file in it. Throws ROOT_IN_USE, BAD_ROOT. */
export type TakeLock = (file: string, root: string) => HeldLock;

/**
 * One process per data folder: an exclusive transaction that never ends. The kernel frees it when the process dies, however it
 * dies, so that there is no stale lock to clean up. (Node has no flock.)
 */
export class RootLock implements HeldLock {
  private readonly database: DatabaseSync;

  private constructor(database: DatabaseSync) {
    this.database = database;
  }

  /** Rejects with ROOT_IN_USE when another process, or another part of this one, has it. */
  static take(file: string, root: string): RootLock {
    let database: DatabaseSync | undefined;
    try {
      database = new DatabaseSync(file);
      database.exec("PRAGMA journal_mode=MEMORY"); // no second file, and it works on a full disk
      database.exec("BEGIN EXCLUSIVE");
      // A file that it may only read SQLite "locks" without locking it. (access: a descriptor that we close would free the lock.)
      accessSync(file, constants.W_OK);
      return new RootLock(database);
    } catch (error) {
      if (database?.isOpen) database.close();
      throw refusal(error, file, root);
    }
  }

  release(): void {
    if (this.database.isOpen) this.database.close();
  }
}

function refusal(error: unknown, file: string, root: string): CaskError {
  if (typeof error === "object" && error !== null && "errcode" in error && error.errcode === SQLITE_BUSY) {
    return new CaskError(
      "ROOT_IN_USE",
      `another process uses the data folder ${root}: stop it, or give this node a folder of its own`,
      error,
    );
  }
  const detail = messageOf(error);
  return new CaskError(
    "BAD_ROOT",
    `can't lock the data folder ${root} (${file}: ${detail}): it must be writeable by this process, on a disk that knows locks`,
    error,
  );
}
