import type { IncomingMessage, ServerResponse } from "node:http";
import { type Request, type Response, Router } from "express";
import type { PutResult, Upload } from "../blobs/put.ts";
import { askEverybody } from "../blobs/search.ts";
import { CaskError, type ErrorCode } from "../core/errors.ts";
import { type Key, parseKey } from "../core/key.ts";
import type { BlobAnswers } from "./blob-answers.ts";
import type { HttpContext } from "./context.ts";
import { RETRY_AFTER_SECONDS, STATUS_OF_CODE } from "./error-answer.ts";
import { sendJson } from "./send-json.ts";
import { closeSignal, serveBlob } from "./serve-blob.ts";
import { uploadOf } from "./upload.ts";

/** The doors for clients: store a file, fetch it, ask where it is. */
export function publicRoutes(context: HttpContext): Router {
  const router = Router();
  const answers = publicAnswers(context);
  router.post("/", (req, res) => answers.post(req, res));
  router.get("/file/:key/copies", (req, res) => copies(context, req, res));
  router.get("/file/:key", (req, res) => answers.get(req, res, parseKey(req.params.key))); // HEAD too
  router.put("/file/:key", (req, res) => answers.put(req, res, parseKey(req.params.key)));
  return router;
}

export interface PublicAnswers extends BlobAnswers {
  post(req: IncomingMessage, res: ServerResponse): Promise<void>;
}

export function publicAnswers(context: HttpContext): PublicAnswers {
  return {
    async post(req, res) {
      answerStored(req, res, await store(context, req, res));
    },
    async put(req, res, key) {
      answerStored(req, res, await store(context, req, res, key));
    },
    get: (req, res, key) => serveBlob(req, res, { key, door: context.get, stallMs: context.writeTimeoutMs }),
  };
}

/** Takes in the file of a request. `named`: the key in its path. */
export async function store(
  context: HttpContext,
  req: IncomingMessage,
  res: ServerResponse,
  named?: Key,
): Promise<PutResult> {
  const expected = named === undefined ? {} : { expected: named };
  const upload = await uploadOf(req, { stallMs: context.readTimeoutMs, clock: context.clock, ...expected });
  return storeUpload(context, upload, closeSignal(res));
}

/** Makes the copies, and tells the metrics and the log what came of it. */
export async function storeUpload(
  context: Pick<HttpContext, "put" | "metrics" | "log">,
  upload: Upload,
  signal?: AbortSignal,
): Promise<PutResult> {
  const result = await context.put.put(upload, signal);
  context.metrics.putCopies.inc({ result: result.success ? "success" : "too_few_copies" });
  if (!result.success) {
    context.log.warn(
      { key: result.key, failures: result.failures },
      `${result.copies.length} of ${result.wanted} copies made`,
    );
  }
  return result;
}

/** What is left to say of an upload of which as many copies were made as were wanted. */
export interface StoredBriefly {
  readonly key: Key;
  /** How many were made. */
  readonly copies: number;
  readonly wanted: number;
  readonly isNew: boolean;
}

/** Shape of the answer: Go Cask's `key` and `success`, and how many copies were made of how many. */
export function answerStored(req: IncomingMessage, res: ServerResponse, result: PutResult): void {
  const { key, success, wanted, isNew } = result;
  const copies = result.copies.length;
  if (success) {
    answerBriefly(req, res, { key, copies, wanted, isNew });
    return;
  }
  const { code, message } = tooFew(result);
  const error = { code, message, failures: result.failures };
  res.setHeader("retry-after", RETRY_AFTER_SECONDS);
  sendJson(res, STATUS_OF_CODE[code], { key, success, copies, wanted, error });
}

export function answerBriefly(
  { method }: IncomingMessage,
  res: ServerResponse,
  { key, copies, wanted, isNew }: StoredBriefly,
): void {
  sendJson(res, method === "PUT" && isNew ? 201 : 200, { key, success: true, copies, wanted });
}

export function tooFew(result: PutResult): { code: ErrorCode; message: string } {
  const made = `${result.copies.length} of ${result.wanted} copies were made`;
  if (result.noSpace && result.copies.length === 0) {
    return { code: "NO_SPACE", message: `${made}: every node that was asked lacks the space` };
  }
  const why =
    result.failures.length > 0
      ? result.failures.join("; ")
      : "there are not that many writeable nodes (CASK_REPLICATION is the number of copies wanted)";
  return { code: "TOO_FEW_COPIES", message: `${made}: ${why}` };
}

/** Who holds it: `{"key", "wanted", "copies": [{uuid, base_url, state, size, verified}]}`; `verified` is a time or null. */
async function copies(context: HttpContext, req: Request, res: Response): Promise<void> {
  const key = parseKey(req.params["key"] as string);
  const view = context.cluster.view();
  const findings = await askEverybody(key, view, context.clock, closeSignal(res));
  const owners = new Set(
    view
      .writeOrder(key)
      .slice(0, view.replication)
      .map((node) => node.uuid),
  );
  if (!findings.some(({ holding }) => holding.state !== "absent"))
    throw new CaskError("NOT_FOUND", `${key} is not stored here`);
  res.json({
    key,
    wanted: view.replication,
    copies: findings.map(({ node, holding }) => ({
      uuid: node.uuid,
      base_url: node.baseUrl,
      owner: owners.has(node.uuid),
      state: holding.state,
      size: holding.state === "present" ? holding.sizeBytes : null,
      verified:
        holding.state === "present" && holding.verifiedAtMs ? new Date(holding.verifiedAtMs).toISOString() : null,
      ...(holding.state === "unknown" ? { reason: holding.reason } : {}),
    })),
  });
}
