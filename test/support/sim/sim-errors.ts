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

/** An error as Node.js makes it of what the system said: without a stack, which would be what costs most in a simulated call. */
export function simError(code: SimErrorCode, syscall: string, path: string): Error {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 0;
  const error: NodeJS.ErrnoException = new Error(`${code}: ${MEANINGS[code]}, ${syscall} '${path}'`);
  Error.stackTraceLimit = limit;
  error.code = code;
  error.syscall = syscall;
  error.path = path;
  return error;
}
