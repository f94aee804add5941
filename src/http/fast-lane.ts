import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import type { Key } from "../core/key.ts";
import { PATH } from "../peer/protocol.ts";
import { createApp } from "./app.ts";
import { fetchBatch, putBatch } from "./batches.ts";
import type { BlobAnswers } from "./blob-answers.ts";
import type { HttpContext } from "./context.ts";
import { BLOB_PATH, doorAt } from "./doors.ts";
import { sendError } from "./error-answer.ts";
import { guard, localAnswers } from "./local.ts";
import { measure } from "./measure.ts";
import { publicAnswers } from "./public.ts";
import type { ServerOptions } from "./server.ts";
import { FETCH, type LaneBlobs } from "./socket-lane.ts";

/**
 * All doors of a node. Blobs go past express, which costs more than all the rest of a small answer: what it would do with such a request is to
 * call the same functions, and to send the same errors.
 */
export function createDoors(context: HttpContext): RequestListener {
  const app = createApp(context);
  const onRoot = publicAnswers(context);
  const onFile: BlobAnswers = onRoot;
  const onLocal = guarded(context, localAnswers(context));
  const onBatch = guardedPost(context, putBatch);
  const onFetch = guardedPost(context, fetchBatch);
  const posted = (url: string, req: IncomingMessage, res: ServerResponse) => {
    if (url === "/") return onRoot.post(req, res);
    if (url === PATH.fetch) return onFetch(req, res);
    return url === PATH.batch && onBatch(req, res);
  };
  return (req, res) => {
    const url = req.url as string;
    const [, door, key] = BLOB_PATH.exec(url) ?? [];
    measure(context, door ?? doorAt(url.split("?", 1)[0] as string)?.name ?? "other", req, res);
    const answering = door
      ? answerOf(door === "file" ? onFile : onLocal, req, res, key as Key)
      : req.method === "POST" && posted(url, req, res);
    if (answering) answering.catch((error: unknown) => sendError(req, res, error, context));
    else app(req, res);
  };
}

/** For fetches of small blobs, which go past node:http, too. */
export function laneOf({ get, blobs, metrics, writeTimeoutMs }: HttpContext): ServerOptions["lane"] {
  const ofLane: LaneBlobs = {
    atHand: (key) => get.atHand(key)?.bytes ?? null,
    async read(key) {
      const ended = blobs.foreground.begin();
      const opened = await get.openAtOnce(key);
      ended();
      return opened?.bytes ?? null;
    },
    answered: (status, seconds) => metrics.requests.observe({ ...FETCH, status }, seconds),
  };
  return { blobs: ofLane, stallMs: writeTimeoutMs };
}

function answerOf(answers: BlobAnswers, req: IncomingMessage, res: ServerResponse, key: Key) {
  if (req.method === "GET" || req.method === "HEAD") return answers.get(req, res, key);
  return req.method === "PUT" && answers.put(req, res, key);
}

type Posting = (context: HttpContext, req: IncomingMessage, res: ServerResponse) => Promise<void>;

function guardedPost(context: HttpContext, post: Posting) {
  return async (req: IncomingMessage, res: ServerResponse) => {
    guard(context, req, res);
    return post(context, req, res);
  };
}

function guarded(context: HttpContext, answers: BlobAnswers): BlobAnswers {
  const behind = (answer: BlobAnswers["get"]): BlobAnswers["get"] => {
    return async (req, res, key) => {
      guard(context, req, res);
      return answer(req, res, key);
    };
  };
  return { get: behind(answers.get), put: behind(answers.put) };
}
