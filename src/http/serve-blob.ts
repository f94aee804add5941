import type { IncomingMessage, ServerResponse } from "node:http";
import type { Opened } from "../blobs/get.ts";
import { CaskError, hasCode } from "../core/errors.ts";
import type { Key } from "../core/key.ts";
import { isShared, recycle } from "../core/piece-pool.ts";
import type { ByteRange } from "../peer/peer.ts";
import { parseRange } from "./byte-range.ts";

/** Where the bytes of one key come from: the whole cluster (public door) or this node alone (/local/). */
export interface BlobDoor {
  /** The verified bytes, if no disk and no other node need be asked. */
  atHand?(key: Key): Opened | null;
  open(key: Key, signal: AbortSignal): Promise<Opened>;
  openRange(key: Key, sizeBytes: number, range: ByteRange, signal: AbortSignal): Promise<Opened>;
  size(key: Key, signal: AbortSignal): Promise<number>;
}

export interface ServeOptions {
  readonly key: Key;
  readonly door: BlobDoor;
  /** A client that takes no bytes for so long is cut off. */
  readonly stallMs: number;
  /** Further headers of the answer. */
  readonly headers?: Readonly<Record<string, string>>;
}

/** Answers GET and HEAD of a blob. Rejects before the first byte; afterwards the connection is cut, never a wrong body completed. */
export async function serveBlob(req: IncomingMessage, res: ServerResponse, options: ServeOptions): Promise<void> {
  const { key, door } = options;
  const etag = `"${key}"`;
  const opened = isPlain(req) ? door.atHand?.(key) : null;
  return opened ? sendOpened(res, opened, options) : fetchAndServe(req, res, etag, options);
}

/** Answers a plain GET. */
export function sendOpened(res: ServerResponse, opened: Opened, options: Omit<ServeOptions, "door">): Promise<void> {
  const headers = headersOf(`"${options.key}"`, options, opened.sizeBytes);
  return send(res, { opened, status: 200, headers, stallMs: options.stallMs });
}

/** The whole blob is wanted, whatever the client has. */
export function isPlain({ method, headers }: IncomingMessage): boolean {
  return method === "GET" && headers["if-none-match"] === undefined && headers.range === undefined;
}

async function fetchAndServe(
  req: IncomingMessage,
  res: ServerResponse,
  etag: string,
  options: ServeOptions,
): Promise<void> {
  const { key, door, stallMs } = options;
  const signal = closeSignal(res);
  const conditional = matches(req.headers["if-none-match"], etag);
  const ranged = req.method === "GET" && req.headers.range !== undefined && rangeApplies(req, etag);
  if (conditional || ranged || req.method === "HEAD") {
    const size = await door.size(key, signal); // also tells absent from present
    if (conditional) return void res.writeHead(304, headersOf(etag, options)).end();
    if (req.method === "HEAD") return void res.writeHead(200, headersOf(etag, options, size)).end();
    const range = rangeOrExplain(req, res, size);
    if (range) {
      const opened = await door.openRange(key, size, range, signal);
      const headers = {
        ...headersOf(etag, options, range.end - range.start + 1),
        "content-range": `bytes ${range.start}-${range.end}/${size}`,
      };
      return send(res, { opened, status: 206, headers, stallMs });
    }
  }
  return sendOpened(res, await door.open(key, signal), options);
}

/** Of each answer about a blob. */
export const BLOB_HEADERS = {
  "content-type": "application/octet",
  "x-content-type-options": "nosniff",
  "cache-control": "public, max-age=31536000, immutable",
  "accept-ranges": "bytes",
};

type Headers = Record<string, string | number>;

function headersOf(etag: string, { headers }: Pick<ServeOptions, "headers">, length?: number): Headers {
  const all: Headers = { etag, ...BLOB_HEADERS };
  if (length !== undefined) all["content-length"] = length;
  return headers ? Object.assign(all, headers) : all;
}

function rangeOrExplain(req: IncomingMessage, res: ServerResponse, size: number): ByteRange | null {
  try {
    return parseRange(req.headers.range, size);
  } catch (error) {
    if (hasCode(error, "BAD_RANGE")) res.setHeader("content-range", `bytes */${size}`);
    throw error;
  }
}

interface Sending {
  readonly opened: Opened;
  readonly status: number;
  readonly headers: Headers;
  readonly stallMs: number;
}

async function send(res: ServerResponse, { opened, status, headers, stallMs }: Sending): Promise<void> {
  if (opened.kind === "whole") {
    recycleWhenSent(res, opened.bytes);
    res.writeHead(status, headers).end(opened.bytes); // head and body in one write
    if (res.socket?.writableLength !== 0) watchForStall(res, stallMs);
    return;
  }
  watchForStall(res, stallMs);
  try {
    if (res.destroyed) return;
    res.writeHead(status, headers);
    for await (const chunk of opened.chunks) {
      if (res.destroyed) return recycle(chunk);
      // Its memory may be used again once the system has the bytes, not before.
      if (!res.write(chunk, (error) => error || recycle(chunk))) await drainedOrClosed(res);
    }
    res.end();
  } catch (error) {
    res.destroy(); // an incomplete body is the only way left to say that it is wrong
    throw error;
  } finally {
    opened.close();
  }
}

/** An answer is closed once, after the system has all of its bytes, or when it will not take any more of them. */
function recycleWhenSent(res: ServerResponse, bytes: Buffer): void {
  if (!isShared(bytes)) return;
  if (res.closed) recycle(bytes);
  else res.once("close", () => recycle(bytes));
}

/** Counts only time in which the socket made no progress. */
function watchForStall(res: ServerResponse, stallMs: number): void {
  res.setTimeout(stallMs, () => res.destroy());
}

/** Leaves no listener behind: a slow client makes thousands of these waits. */
function drainedOrClosed(res: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      res.off("drain", done).off("close", done);
      resolve();
    };
    res.on("drain", done).on("close", done);
  });
}

/** Aborts when the connection closes before the answer is complete. */
export function closeSignal(res: ServerResponse): AbortSignal {
  const controller = new AbortController();
  res.once("close", () => {
    if (!res.writableFinished) controller.abort(new CaskError("BAD_REQUEST", "the client went away"));
  });
  return controller.signal;
}

function matches(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false;
  return header.split(",").some((tag) => tag.trim() === "*" || tag.trim().replace(/^W\//, "") === etag);
}

function rangeApplies(req: IncomingMessage, etag: string): boolean {
  const ifRange = req.headers["if-range"];
  return ifRange === undefined || ifRange === etag;
}
