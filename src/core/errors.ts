/**
 * Every way in which something can fail, by a code that never changes its meaning.
 * `retry`: may the same request succeed later, with nothing changed by the one who asks?
 * The HTTP status of each code is in http/error-answer.ts alone; docs/errors.md is tested against this table.
 */
export const ERROR_CODES = {
  BAD_KEY: { retry: false, meaning: "The key is not `sha1:` and 40 lowercase hexadecimal digits." },
  BAD_REQUEST: { retry: false, meaning: "The request is malformed; the message says in what." },
  BAD_METHOD: { retry: false, meaning: "There is such a door, but not for this method." },
  BAD_RANGE: { retry: false, meaning: "The range asked for lies outside the blob." },
  KEY_MISMATCH: { retry: false, meaning: "The bytes do not hash to the key that was named. Nothing was stored." },
  KEY_COLLISION: {
    retry: false,
    meaning: "Other bytes with the same SHA-1 are stored already. They stay; these were refused.",
  },
  TOO_LARGE: { retry: false, meaning: "The file is larger than `CASK_MAX_UPLOAD_SIZE`." },
  NO_SPACE: { retry: true, meaning: "The disk of this node has too little free space for the file." },
  READ_ONLY: {
    retry: true,
    meaning: "The node takes no new blobs at present: by setting, or because its disk is nearly full.",
  },
  TOO_FEW_COPIES: {
    retry: true,
    meaning: "Fewer durable copies were made than `CASK_REPLICATION` promises. Those that were made stay.",
  },
  NOT_FOUND: { retry: false, meaning: "No node has a blob with that key." },
  DONT_KNOW: {
    retry: true,
    meaning: "The blob was not found, but so many nodes could not be asked that it may well exist.",
  },
  CORRUPT: {
    retry: true,
    meaning:
      "The copy that was read does not hash to its key, or has other bytes than when it did. It was put into quarantine.",
  },
  STORAGE_FAILED: { retry: true, meaning: "The disk or object store answered with an error, or not in time." },
  PEER_FAILED: { retry: true, meaning: "Another node could not be reached, or answered with an error." },
  PEER_SLOW: { retry: true, meaning: "Another node made no progress within the time allowed." },
  WRONG_NODE: { retry: false, meaning: "The request names another node's UUID than the one that answers here." },
  FORBIDDEN: { retry: false, meaning: "The cluster secret is missing or wrong." },
  UUID_IN_USE: { retry: false, meaning: "Another live node has the same UUID." },
  STALLED: { retry: true, meaning: "The client sent or took no bytes for longer than the timeout allows." },
  OVERLOADED: { retry: true, meaning: "A queue of this node is full." },
  STOPPING: { retry: true, meaning: "The node is shutting down." },
  BAD_CONFIG: { retry: false, meaning: "The settings are wrong; the message names each." },
  ROOT_IN_USE: { retry: false, meaning: "Another process uses the same data folder." },
  BAD_ROOT: { retry: false, meaning: "The data folder can't be used: not writeable, or written by a newer version." },
  NOT_BUILT: { retry: false, meaning: "The feature does not exist in this version yet." },
  INTERNAL: { retry: true, meaning: "A defect of cask itself: please report it with the log around it." },
} as const satisfies Record<string, { retry: boolean; meaning: string }>;

export type ErrorCode = keyof typeof ERROR_CODES;

/** The only error that cask throws on purpose. `message` is for people, `code` for programs, `cause` for the log. */
export class CaskError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "CaskError";
    this.code = code;
  }

  get retry(): boolean {
    return ERROR_CODES[this.code].retry;
  }
}

export function hasCode(error: unknown, code: ErrorCode): error is CaskError {
  return error instanceof CaskError && error.code === code;
}

/** Wraps what a library threw; a CaskError passes as it is. */
export function asCaskError(error: unknown, code: ErrorCode, message: string): CaskError {
  if (error instanceof CaskError) return error;
  return new CaskError(code, `${message}: ${messageOf(error)}`, error);
}

/** What an error says of itself; its code or name where it says nothing. Anything may be thrown, so anything is taken. */
export function messageOf(error: unknown): string {
  // No instanceof: an error that was made in another realm (a worker, a vm context) is none of ours by class.
  const { message, code, name } = fieldsOf(error);
  const said = [message, code, name].find((text) => typeof text === "string" && text !== "");
  return said === undefined ? String(error) : String(said);
}

/** The `code` of a Node.js system error ("ENOENT"), or undefined. */
export function systemCode(error: unknown): string | undefined {
  const { code } = fieldsOf(error);
  return !(error instanceof CaskError) && typeof code === "string" ? code : undefined;
}

function fieldsOf(error: unknown): { readonly message?: unknown; readonly name?: unknown; readonly code?: unknown } {
  return typeof error === "object" && error !== null ? error : {};
}
