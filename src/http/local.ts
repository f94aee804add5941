import type { IncomingMessage, ServerResponse } from "node:http";
import { type Request, type Response, Router } from "express";
import type { Opened } from "../blobs/get.ts";
import { bodyOf, type StagedUpload, stageUpload } from "../blobs/staged-upload.ts";
import { isSmall, readVerified, verifiedChunks } from "../blobs/verified.ts";
import { CaskError } from "../core/errors.ts";
import { type Key, parseKey } from "../core/key.ts";
import { LOCAL_READ_TIMEOUT_MS } from "../core/limits.ts";
import { HEADER, PATH, parseHasRequest, parseJsonObject } from "../peer/protocol.ts";
import {
  digestsJson,
  parseRangeRequest,
  parseRanges,
  parseVouchRequest,
  vouchesJson,
} from "../peer/repair-protocol.ts";
import { fetchBatch, mustBeWriteable, putBatch } from "./batches.ts";
import type { BlobAnswers } from "./blob-answers.ts";
import type { HttpContext } from "./context.ts";
import { readBody } from "./read-body.ts";
import type { SecretCheck } from "./secret-check.ts";
import { sendJson } from "./send-json.ts";
import { type BlobDoor, closeSignal, serveBlob } from "./serve-blob.ts";
import { uploadOf } from "./upload.ts";

/** The doors for other nodes. None of them calls another node. All want the cluster's secret. */
export function localRoutes(context: HttpContext): Router {
  const router = Router();
  const answers = localAnswers(context);
  router.use("/local", (req, res, next) => {
    guard(context, req, res);
    next();
  });
  router.post(PATH.has, (req, res) => has(context, req, res));
  router.post(PATH.batch, (req, res) => putBatch(context, req, res));
  router.post(PATH.fetch, (req, res) => fetchBatch(context, req, res));
  router.post(PATH.vouch, (req, res) => vouch(context, req, res));
  router.post(PATH.digests, async (req, res) => {
    const ranges = parseRanges(parseJsonObject(await readBody(req, context)));
    res.json(digestsJson(await context.localStore.digests(ranges)));
  });
  router.post(PATH.keys, async (req, res) => {
    const range = parseRangeRequest(parseJsonObject(await readBody(req, context)));
    res.json(await context.localStore.keysIn(range));
  });
  router.post(PATH.local, (req, res) => postLocal(context, req, res));
  router.put("/local/:key", (req, res) => answers.put(req, res, parseKey(req.params.key)));
  router.get("/local/:key", (req, res) => answers.get(req, res, parseKey(req.params.key)));
  return router;
}

/** For callers that `guard` has let in. */
export function localAnswers(context: HttpContext): BlobAnswers {
  const door = localDoor(context);
  const headers = { [HEADER.store]: context.backend.store };
  return {
    put: (req, res, key) => putLocal(context, req, res, key),
    get: (req, res, key) => serveBlob(req, res, { key, door, stallMs: context.writeTimeoutMs, headers }),
  };
}

export interface Guarding {
  readonly secrets: SecretCheck;
  readonly cluster: { readonly uuid: string };
}

/** Only a caller that knows the secret gets in, and only if it means this node. */
export function guard(context: Guarding, req: IncomingMessage, res: ServerResponse): void {
  if (!context.secrets.accepts(req.headers[HEADER.secret])) {
    throw new CaskError("FORBIDDEN", "the cluster secret (header X-Cask-Cluster-Secret) is missing or wrong");
  }
  res.setHeader(HEADER.node, context.cluster.uuid);
  const meant = req.headers[HEADER.node];
  if (meant !== undefined && meant !== context.cluster.uuid) {
    throw new CaskError("WRONG_NODE", `this is node ${context.cluster.uuid}, not ${meant}`);
  }
}

/** `POST /local/` as Go nodes send it: multipart, answered with the key as text. */
async function postLocal(context: HttpContext, req: Request, res: Response): Promise<void> {
  await withStaged(context, req, undefined, async (staged) => {
    await context.localStore.put(staged.key, staged);
    res.type("text/plain").send(staged.key);
  });
}

async function putLocal(context: HttpContext, req: IncomingMessage, res: ServerResponse, key: Key): Promise<void> {
  await withStaged(context, req, key, async (staged) => {
    const { store, outcome } = await context.localStore.put(key, staged);
    res.setHeader(HEADER.store, store);
    res.setHeader(HEADER.outcome, outcome);
    sendJson(res, outcome === "stored" ? 201 : 200, { key, outcome });
  });
}

async function withStaged(
  context: HttpContext,
  req: IncomingMessage,
  expected: Key | undefined,
  then: (staged: StagedUpload) => Promise<void>,
): Promise<void> {
  mustBeWriteable(context);
  const options = { stallMs: context.readTimeoutMs, clock: context.clock };
  const upload = await uploadOf(req, expected ? { ...options, expected } : options);
  const staged = await stageUpload({
    ...bodyOf(upload),
    backend: context.backend,
    maxBytes: Number.MAX_SAFE_INTEGER, // the node that took it in from the client has applied its limit
    sizeHint: upload.sizeBytes,
    expected: upload.expected,
    complete: upload.complete,
  });
  try {
    await then(staged);
  } finally {
    await staged.release();
  }
}

async function has(context: HttpContext, req: Request, res: Response): Promise<void> {
  const keys = parseHasRequest(parseJsonObject(await readBody(req, context)));
  res.json({ holdings: await context.localStore.has(keys, closeSignal(res)) });
}

async function vouch(context: HttpContext, req: Request, res: Response): Promise<void> {
  const request = parseVouchRequest(parseJsonObject(await readBody(req, context)));
  const vouches = await context.localStore.vouch(request, 0, closeSignal(res));
  // Not cached by anybody: a vouch holds for the marking that was asked for, and for no other.
  res.setHeader("cache-control", "no-store");
  res.json(vouchesJson(request.nonce, vouches));
}

function localDoor({ localStore }: HttpContext): BlobDoor {
  return {
    async open(key, signal): Promise<Opened> {
      const own = await localStore.readAtOnce(key, LOCAL_READ_TIMEOUT_MS);
      if (own) return { kind: "whole", sizeBytes: own.length, bytes: own };
      const body = await localStore.get(key, undefined, signal);
      if (!body) throw absent(key);
      if (isSmall(body.sizeBytes)) {
        const bytes = await readVerified(body, key);
        return { kind: "whole", sizeBytes: bytes.length, bytes };
      }
      return {
        kind: "stream",
        sizeBytes: body.sizeBytes,
        chunks: verifiedChunks(body, key),
        close: () => body.close(),
      };
    },
    async openRange(key, sizeBytes, range, signal): Promise<Opened> {
      const body = await localStore.get(key, range, signal);
      if (!body) throw absent(key);
      return { kind: "stream", sizeBytes, chunks: body.chunks, close: () => body.close() };
    },
    async size(key, signal): Promise<number> {
      if (localStore.isTrimming(key)) throw absent(key); // a Go node must not count on this copy
      const [holding] = await localStore.has([key], signal);
      if (holding?.state === "present" && holding.sizeBytes !== null) return holding.sizeBytes;
      if (holding?.state === "absent") throw absent(key);
      throw new CaskError("DONT_KNOW", holding?.state === "unknown" ? holding.reason : "no answer");
    },
  };
}

function absent(key: Key): CaskError {
  return new CaskError("NOT_FOUND", `this node has no copy of ${key}`);
}
