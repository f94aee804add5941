import type { IncomingMessage, ServerResponse } from "node:http";
import type { Key } from "../core/key.ts";

/** What one door answers about the blob of a key. Each rejects with what went wrong, which is then the answer. */
export interface BlobAnswers {
  /** HEAD too. */
  get(req: IncomingMessage, res: ServerResponse, key: Key): Promise<void>;
  put(req: IncomingMessage, res: ServerResponse, key: Key): Promise<void>;
}
