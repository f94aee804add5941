import type { IncomingMessage } from "node:http";
import type { PutResult } from "../blobs/put.ts";
import type { Clock } from "../core/clock.ts";
import { CaskError } from "../core/errors.ts";
import type { Key } from "../core/key.ts";
import { CACHED_UPLOAD_MAX_BYTES, HANDED_UPLOADS_MAX_COUNT } from "../core/limits.ts";
import type { StoredBriefly } from "./public.ts";
import type { HandedAnswers, HandedUploads } from "./serving-messages.ts";
import { smallUploadOf } from "./upload.ts";

export interface HandOverOptions {
  /** To the owner of the data; the bytes' memory goes with them. */
  readonly pass: (puts: HandedUploads) => void;
  readonly stallMs: number;
  readonly clock: Clock;
}

interface Waiting {
  readonly resolve: (result: PutResult | StoredBriefly) => void;
  readonly reject: (error: CaskError) => void;
}

interface Outgoing {
  readonly id: number;
  readonly bytes: Uint8Array;
  readonly expected: Key | undefined;
}

/** Small uploads that a serving thread takes in whole, and gives to the owner of the data: those that came in one turn go in one message. */
export class HandOver {
  private readonly options: HandOverOptions;
  private readonly waiting = new Map<number, Waiting>();
  private outgoing: Outgoing[] = [];
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
  async store(req: IncomingMessage, named: Key | undefined): Promise<PutResult | StoredBriefly> {
    this.underWay++;
    try {
      const { stallMs, clock } = this.options;
      const options = { stallMs, clock, ...(named === undefined ? {} : { expected: named }) };
      const { bytes, expected } = await smallUploadOf(req, options);
      return await this.pass(bytes, expected);
    } finally {
      this.underWay--;
    }
  }

  answered({ stored, others }: HandedAnswers): void {
    for (const [i, id] of stored.ids.entries()) {
      this.take(id)?.resolve({
        key: stored.keys[i] as Key,
        copies: stored.copies[i] as number,
        wanted: stored.wanted[i] as number,
        isNew: stored.areNew[i] as boolean,
      });
    }
    for (const outcome of others) {
      const waiting = this.take(outcome.id);
      if ("result" in outcome) waiting?.resolve(outcome.result);
      else waiting?.reject(new CaskError(outcome.failure.code, outcome.failure.message));
    }
  }

  private take(id: number): Waiting | undefined {
    const waiting = this.waiting.get(id);
    this.waiting.delete(id);
    return waiting;
  }

  private pass(bytes: Uint8Array, expected: Key | undefined): Promise<PutResult | StoredBriefly> {
    const id = ++this.lastId;
    if (this.outgoing.length === 0) setImmediate(() => this.send());
    this.outgoing.push({ id, bytes, expected });
    return new Promise((resolve, reject) => this.waiting.set(id, { resolve, reject }));
  }

  private send(): void {
    const { outgoing } = this;
    this.outgoing = [];
    const sizesBytes = outgoing.map(({ bytes }) => bytes.length);
    // In memory of their own, which can be given away: the network's is shared.
    const bytes = new Uint8Array(sizesBytes.reduce((sum, size) => sum + size, 0));
    let at = 0;
    for (const upload of outgoing) {
      bytes.set(upload.bytes, at);
      at += upload.bytes.length;
    }
    const expected = outgoing.map((upload) => upload.expected);
    this.options.pass({ firstId: (outgoing[0] as Outgoing).id, sizesBytes, expected, bytes });
  }
}
