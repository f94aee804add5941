import type { IncomingMessage } from "node:http";
import type { Readable } from "node:stream";
import { Busboy, type BusboyHeaders, type BusboyInstance } from "@fastify/busboy";
import type { Upload } from "../blobs/put.ts";
import type { UploadBody } from "../blobs/staged-upload.ts";
import { inPieces, UPLOAD_PIECES } from "../blobs/upload-pieces.ts";
import { isSmall } from "../blobs/verified.ts";
import { type Clock, StallTimer } from "../core/clock.ts";
import { asCaskError, CaskError } from "../core/errors.ts";
import { type Key, keyOfHex } from "../core/key.ts";
import { CACHED_UPLOAD_MAX_BYTES, MULTIPART_PARTS_MAX_COUNT } from "../core/limits.ts";
import { recycle } from "../core/piece-pool.ts";
import { untilAborted } from "../core/until-aborted.ts";
import { HEADER } from "../peer/protocol.ts";
import { gatherBody } from "./read-body.ts";

export interface UploadOptions {
  /** A client that sends nothing for so long is given up. */
  readonly stallMs: number;
  readonly clock: Clock;
  /** The key in the path of a PUT. */
  readonly expected?: Key;
}

/** The file in a request: the part `file` of a multipart body, or the raw body. Rejects with BAD_REQUEST, STALLED. */
export async function uploadOf(req: IncomingMessage, options: UploadOptions): Promise<Upload> {
  const expected = options.expected ?? expectedKey(req);
  const type = req.headers["content-type"] ?? "";
  const body = /^multipart\//i.test(type) ? await multipart(req, options) : raw(req, options);
  return { ...body, expected };
}

/** A raw body of a known length up to CACHED_UPLOAD_MAX_BYTES. Rejects as `uploadOf` does. */
export async function smallUploadOf(
  req: IncomingMessage,
  options: UploadOptions,
): Promise<{ readonly bytes: Buffer; readonly expected: Key | undefined }> {
  const expected = options.expected ?? expectedKey(req);
  return { bytes: await collected(req, contentLength(req) ?? 0, options), expected };
}

function expectedKey(req: IncomingMessage): Key | undefined {
  const hex = req.headers[HEADER.contentSha1];
  if (hex === undefined) return undefined;
  const text = String(hex).toLowerCase();
  return keyOfHex(text.startsWith("sha1:") ? text.slice(5) : text);
}

type UploadOfUnknownKey = UploadBody & Pick<Upload, "sizeBytes" | "complete">;

function raw(req: IncomingMessage, options: UploadOptions): UploadOfUnknownKey {
  const length = contentLength(req);
  if (length !== undefined && length > 0 && length <= CACHED_UPLOAD_MAX_BYTES) {
    const whole = () => collected(req, length, options);
    return { whole, sizeBytes: length, complete: async () => undefined };
  }
  if (length !== undefined && length > 0 && isSmall(length))
    return { chunks: inOnePiece(req, length, options), sizeBytes: length, complete: async () => undefined };
  const chunks = counted(timed(req, options), length);
  // Of unknown length: perhaps it is small, and pieces are for larger ones.
  return {
    chunks: length ? inPieces(chunks, { chunksAreOwn: true }) : chunks,
    sizeBytes: length,
    complete: async () => undefined,
  };
}

/** As one piece, while there is one to be had. */
async function* inOnePiece(req: IncomingMessage, length: number, options: UploadOptions): AsyncGenerator<Uint8Array> {
  const piece = UPLOAD_PIECES.take();
  if (!piece) return yield* counted(timed(req, options), length);
  let bytes: Buffer;
  try {
    bytes = await collected(req, length, options, piece);
  } catch (error) {
    recycle(piece);
    throw error;
  }
  yield bytes;
}

function isLarge(req: IncomingMessage): boolean {
  return !isSmall(contentLength(req) ?? 0);
}

function contentLength(req: IncomingMessage): number | undefined {
  const header = req.headers["content-length"];
  return header === undefined ? undefined : Number(header);
}

async function collected(
  req: IncomingMessage,
  length: number,
  { stallMs, clock }: UploadOptions,
  into?: Buffer,
): Promise<Buffer> {
  const options = { name: "upload", maxBytes: length, stallMs, stalled, clock };
  const bytes = await gatherBody(req, into ? { ...options, into } : options);
  if (bytes.length !== length) throw endedEarly(bytes.length, length);
  return bytes;
}

function endedEarly(received: number, length: number): CaskError {
  return new CaskError("BAD_REQUEST", `the body ended after ${received} of ${length} bytes`);
}

/** The parser rejects bodies that end early only on some paths: an upload must have every byte that was announced. */
async function* counted(chunks: AsyncIterable<Uint8Array>, length: number | undefined): AsyncGenerator<Uint8Array> {
  let received = 0;
  for await (const chunk of chunks) {
    received += chunk.length;
    yield chunk;
  }
  if (length !== undefined && received !== length) throw endedEarly(received, length);
}

async function multipart(req: IncomingMessage, options: UploadOptions): Promise<UploadOfUnknownKey> {
  const parser = openParser(req);
  const broken = new AbortController();
  const breakOff = (error: CaskError) => broken.abort(error);
  const finished = new Promise<void>((resolve) => parser.once("finish", resolve));
  parser.once("error", (error: unknown) => breakOff(malformed(error)));
  parser.once("partsLimit", () =>
    breakOff(new CaskError("BAD_REQUEST", `more than ${MULTIPART_PARTS_MAX_COUNT} parts`)),
  );
  req.once("aborted", () => breakOff(new CaskError("BAD_REQUEST", "the client went away during the upload")));
  req.once("error", (error) => breakOff(new CaskError("BAD_REQUEST", "the connection broke during the upload", error)));
  watchForStall(req, options, breakOff);
  const part = partNamedFile(parser);
  req.pipe(parser);
  try {
    const file = await untilAborted(Promise.race([part, finished.then(() => null)]), broken.signal);
    if (!file) throw new CaskError("BAD_REQUEST", 'no file in the field "file": try curl -F file=@NAME');
    const chunks = untilBroken(file, broken.signal);
    return {
      chunks: isLarge(req) ? inPieces(chunks) : chunks,
      sizeBytes: undefined,
      complete: () => untilAborted(finished, broken.signal),
    };
  } catch (error) {
    req.unpipe(parser);
    throw error;
  }
}

/** Counts only while bytes may come in: when this node holds them back itself, the client is not to blame. */
function watchForStall(req: IncomingMessage, options: UploadOptions, breakOff: (error: CaskError) => void): void {
  const stall = new StallTimer(options.clock, options.stallMs, stalled);
  stall.signal.addEventListener("abort", () => breakOff(stall.signal.reason as CaskError), { once: true });
  req.on("data", () => stall.progress());
  req.on("pause", () => stall.pause());
  req.on("resume", () => stall.progress());
  req.on("end", () => stall.stop());
  req.on("close", () => stall.stop());
}

function openParser(req: IncomingMessage): BusboyInstance {
  try {
    return new Busboy({
      headers: req.headers as BusboyHeaders,
      limits: {
        parts: MULTIPART_PARTS_MAX_COUNT,
        headerPairs: 100,
        fieldSize: 64 * 1024,
        fields: MULTIPART_PARTS_MAX_COUNT,
      },
    });
  } catch (error) {
    throw malformed(error);
  }
}

function malformed(error: unknown): CaskError {
  return asCaskError(error, "BAD_REQUEST", "the multipart body is malformed");
}

function partNamedFile(parser: BusboyInstance): Promise<Readable> {
  return new Promise((resolve) => {
    let found = false;
    parser.on("file", (name: string, stream: Readable) => {
      stream.on("error", () => undefined); // the parser's own error says it
      if (name === "file" && !found) {
        found = true;
        resolve(stream);
      } else stream.resume();
    });
  });
}

/** The part's bytes, until the request as a whole turns out to be broken. */
async function* untilBroken(file: Readable, broken: AbortSignal): AsyncGenerator<Uint8Array> {
  const iterator = file[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>;
  while (true) {
    const { done, value } = await untilAborted(iterator.next(), broken);
    if (done) return;
    yield value;
  }
}

/** A request's body; the time that it takes for each next chunk is limited, not the time in all. */
async function* timed(req: IncomingMessage, { stallMs, clock }: UploadOptions): AsyncGenerator<Uint8Array> {
  const stall = new StallTimer(clock, stallMs, stalled);
  const iterator = req.iterator({ destroyOnReturn: false }) as AsyncIterator<Uint8Array>;
  try {
    while (true) {
      stall.progress();
      const { done, value } = await untilAborted(iterator.next(), stall.signal);
      stall.pause();
      if (done) return;
      yield value;
    }
  } catch (error) {
    throw asCaskError(error, "BAD_REQUEST", "the upload broke off");
  } finally {
    stall.stop();
  }
}

function stalled(): CaskError {
  return new CaskError("STALLED", "no bytes came for too long; the upload was given up and nothing was stored");
}
