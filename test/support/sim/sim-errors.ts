const MEANINGS = {
  EBADF: "bad file descriptor",
  EEXIST: "file already exists",
  EIO: "i/o error",
  EISDIR: "illegal operation on a directory",
  EINVAL: "invalid argument",
  ENOENT: "no such file or directory",
  ENOSPC: "no space left on device",
  ENOTDIR: "not a directory",
  ENOTEMPTY: "directory not empty",
  EROFS: "read-only file system",
};

export type SimErrorCode = keyof typeof MEANINGS;

/** An error as Node.js makes it of what the system said. */
export function simError(code: SimErrorCode, syscall: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${MEANINGS[code]}, ${syscall} '${path}'`), { code, syscall, path });
}
