import type { IncomingMessage } from "node:http";
import type { PutResult } from "../blobs/put.ts";
import type { Clock } from "../core/clock.ts";
import { CaskError } from "../core/errors.ts";
import type { Key } from "../core/key.ts";
import { CACHED_UPLOAD_MAX_BYTES, HANDED_UPLOADS_MAX_COUNT } from "../core/limits.ts";
import type { HandedUpload, PutOutcome } from "./serving-messages.ts";
import { uploadOf } from "./upload.ts";

export interface HandOverOptions {
  /** To the owner of the data; the bytes' memory goes with them. */
  readonly pass: (id: number, upload: HandedUpload) => void;
  readonly stallMs: number;
  readonly clock: Clock;
}

interface Waiting {
  readonly resolve: (result: PutResult) => void;
  readonly reject: (error: CaskError) => void;
}

/** Small uploads that a serving thread takes in whole, and gives to the owner of the data in one message. */
export class HandOver {
  private readonly options: HandOverOptions;
  private readonly waiting = new Map<number, Waiting>();
  private underWay = 0;
  private lastId = 0;

  constructor(options: HandOverOptions) {
    this.options = options;
  }

  /** All else the owner reads itself, as it comes. */
  takes({ headers }: IncomingMessage): boolean {
    const length = Number(headers["content-length"]);
    if (!(length > 0 && length <= CACHED_UPLOAD_MAX_BYTES) || headers.expect !== undefined) return false;
    return !/^multipart\//i.test(headers["content-type"] ?? "") && this.underWay < HANDED_UPLOADS_MAX_COUNT;
  }

  /** Rejects as `Put.put` does, and when the client does not send what it announced. */
  async store(req: IncomingMessage, named: Key | undefined): Promise<PutResult> {
    this.underWay++;
    try {
      const { stallMs, clock } = this.options;
      const upload = await uploadOf(req, { stallMs, clock, ...(named === undefined ? {} : { expected: named }) });
      const parts: Uint8Array[] = [];
      for await (const chunk of upload.chunks) parts.push(chunk);
      await upload.complete();
      // In memory of their own, which can be given away: the network's is shared.
      const bytes = Uint8Array.from(parts.length === 1 ? (parts[0] as Uint8Array) : Buffer.concat(parts));
      return await this.pass({ bytes, expected: upload.expected });
    } finally {
      this.underWay--;
    }
  }

  answered(id: number, outcome: PutOutcome): void {
    const waiting = this.waiting.get(id);
    this.waiting.delete(id);
    if ("result" in outcome) waiting?.resolve(outcome.result);
    else waiting?.reject(new CaskError(outcome.failure.code, outcome.failure.message));
  }

  private pass(upload: HandedUpload): Promise<PutResult> {
    const id = ++this.lastId;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.options.pass(id, upload);
    });
  }
}
