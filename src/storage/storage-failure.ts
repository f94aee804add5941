import { CaskError, messageOf, systemCode } from "../core/errors.ts";

const NO_SPACE_CODES = new Set(["ENOSPC", "EDQUOT"]);
/** The disk or the filesystem is at fault for this one file: reading it again will not help. */
const UNREADABLE_CODES = new Set(["EIO", "EUCLEAN", "EBADMSG"]);
const ABSENT_CODES = new Set(["ENOENT", "ENOTDIR"]);

/** What the system said, in our words: NO_SPACE, or STORAGE_FAILED with its cause. A CaskError passes as it is. */
export function storageFailure(error: unknown, doing: string): CaskError {
  if (error instanceof CaskError) return error;
  const detail = messageOf(error);
  if (isNoSpace(error)) return new CaskError("NO_SPACE", `no space left while ${doing}: ${detail}`, error);
  return new CaskError("STORAGE_FAILED", `storage failed while ${doing}: ${detail}`, error);
}

export function isNoSpace(error: unknown): boolean {
  return NO_SPACE_CODES.has(systemCode(error) ?? "");
}

/** Nothing lies at the path. Says nothing about why: the folder itself may be missing. */
export function isAbsent(error: unknown): boolean {
  return ABSENT_CODES.has(systemCode(error) ?? "");
}

export function isUnreadable(error: unknown): boolean {
  return UNREADABLE_CODES.has(systemCode(rootCause(error)) ?? "");
}

function rootCause(error: unknown): unknown {
  return error instanceof CaskError && error.cause !== undefined ? rootCause(error.cause) : error;
}
