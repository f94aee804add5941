import { CaskError, systemCode } from "../core/errors.ts";

/** What the file system said, in our codes: no room left is NO_SPACE, anything else is "don't know". */
export function diskError(what: string, error: unknown): CaskError {
  if (error instanceof CaskError) return error;
  const detail = error instanceof Error ? error.message : String(error);
  const noSpace = ["ENOSPC", "EDQUOT"].includes(systemCode(error) ?? "");
  return new CaskError(noSpace ? "NO_SPACE" : "STORAGE_FAILED", `${what}: ${detail}`, error);
}

/** Runs disk work; what it rejects with becomes a CaskError. */
export async function onDisk<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw diskError(what, error);
  }
}

/** Absent: the file is not there, and its folder could be read. Nothing else is absence. */
export function isAbsent(error: unknown): boolean {
  return systemCode(error) === "ENOENT";
}
