import type { IncomingMessage, ServerResponse } from "node:http";
import { CaskError } from "../core/errors.ts";
import { BATCHED_BLOB_MAX_BYTES, GET_HEDGE_MS } from "../core/limits.ts";
import {
  ASKED_MAX_BYTES,
  BATCH_BODY_MAX_BYTES,
  type BatchOutcome,
  decodeAsked,
  decodeBatch,
  encodeCopies,
  errorOutcome,
  outcomesJson,
} from "../peer/batch-protocol.ts";
import { sourceOfBytes } from "../peer/bytes-source.ts";
import type { HttpContext } from "./context.ts";
import { readBytes } from "./read-body.ts";
import { sendJson } from "./send-json.ts";
import { readOnlyBecause } from "./status.ts";

/** Each of the blobs by itself: one that is refused does not keep the others from being stored. */
export async function putBatch(context: HttpContext, req: IncomingMessage, res: ServerResponse): Promise<void> {
  mustBeWriteable(context);
  const items = decodeBatch(await readBytes(req, BATCH_BODY_MAX_BYTES, context));
  const outcomes = await Promise.all(
    items.map(({ key, bytes }) =>
      context.localStore.put(key, sourceOfBytes(bytes)).catch((error: unknown): BatchOutcome => {
        if (error instanceof CaskError) return errorOutcome(error.code, error.message);
        context.log.error({ err: error }, `${key} could not be stored: unexpected`);
        return errorOutcome("INTERNAL", "an unexpected error; the log of this node has the details");
      }),
    ),
  );
  sendJson(res, 200, outcomesJson(outcomes));
}

/** Small copies of this node that its disk gives at once. Of all else nothing is said: it is asked for by itself. */
export async function fetchBatch(context: HttpContext, req: IncomingMessage, res: ServerResponse): Promise<void> {
  const keys = decodeAsked(await readBytes(req, ASKED_MAX_BYTES, context));
  const copies = await Promise.all(
    keys.map((key) => context.localStore.readAtOnce(key, GET_HEDGE_MS, BATCHED_BLOB_MAX_BYTES)),
  );
  const body = encodeCopies(copies);
  res.writeHead(200, { "content-type": "application/octet-stream", "content-length": body.length }).end(body);
}

/** Asked before a body is taken, and again when it is stored. */
export function mustBeWriteable(context: HttpContext): void {
  if (context.cluster.isWriteable) return;
  const reason = readOnlyBecause(context) ?? "it has just changed";
  throw new CaskError(
    context.space.isLow ? "NO_SPACE" : "READ_ONLY",
    `node ${context.cluster.uuid} takes no new blobs: ${reason}`,
  );
}
