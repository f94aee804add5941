import type { Readable } from "node:stream";
import type { Clock } from "../core/clock.ts";
import { CaskError } from "../core/errors.ts";
import type { Seen, StoredBlob } from "./backend.ts";
import type { S3Timing } from "./s3-client.ts";
import { BadAnswer, isRefusal, s3Failure, saysChanged } from "./s3-failure.ts";
import type { OpenedObject, S3Objects, S3Stat } from "./s3-objects.ts";
import type { S3Traffic } from "./s3-traffic.ts";

export interface S3CopyOptions {
  readonly objects: S3Objects;
  readonly name: string;
  readonly opened: OpenedObject;
  readonly timing: S3Timing;
  readonly traffic: S3Traffic;
  readonly clock: Clock;
}

/** For each so many bytes of a blob one more cut is borne. */
const BYTES_PER_RETRY = 64 * 1024 * 1024;

/**
 * One object, open: its body is on its way since it was asked for, and goes to the first reader that begins at the start. Other readers
 * ask for their piece. A body that is cut is asked for again from there, of the same object only.
 */
export class S3Copy implements StoredBlob {
  readonly sizeBytes: number;
  readonly seen: Seen;
  readonly stat: S3Stat;
  private readonly options: S3CopyOptions;
  private first: Readable | undefined;
  private readonly bodies = new Set<Readable>();
  private closed = false;

  constructor(options: S3CopyOptions) {
    this.options = options;
    this.stat = options.opened.stat;
    this.sizeBytes = this.stat.sizeBytes;
    this.seen = this.stat.seen;
    this.first = options.opened.body;
    this.bodies.add(this.first);
  }

  async *chunks(start = 0, end = this.sizeBytes - 1): AsyncGenerator<Uint8Array> {
    const { name, timing, clock } = this.options;
    if (end >= this.sizeBytes) throw new CaskError("STORAGE_FAILED", `${name} has ${this.sizeBytes} bytes`);
    const retriesMax = timing.attempts - 1 + Math.floor(this.sizeBytes / BYTES_PER_RETRY);
    for (let at = start, retries = 0; at <= end; ) {
      this.mustBeOpen();
      let body: Readable | undefined;
      const isFirst = at === 0 && this.first !== undefined;
      try {
        body = await this.bodyFrom(at, end);
        for await (const chunk of this.inTime(body)) {
          const piece = chunk.subarray(0, end + 1 - at); // the first body may go on beyond what was asked for
          at += piece.length;
          yield piece;
          if (at > end && isFirst && at < this.sizeBytes) break; // else it ends by itself, and its connection is used again
        }
        if (at <= end) throw new BadAnswer(`${end + 1 - at} bytes are missing`);
      } catch (error) {
        this.mustBeOpen();
        if (error instanceof CaskError || isRefusal(error) || ++retries > retriesMax) throw this.failure(error);
        this.options.traffic.retries++;
        await clock.sleep(timing.backoffMs * 2 ** Math.min(retries, 5));
      } finally {
        this.release(body);
      }
    }
    this.release(this.takeFirst()); // of an empty blob nothing is read
  }

  async close(): Promise<void> {
    this.closed = true;
    for (const body of [...this.bodies]) this.release(body);
  }

  private async bodyFrom(start: number, end: number): Promise<Readable> {
    const first = this.takeFirst();
    if (start === 0 && first) return first;
    this.release(first);
    const opened = await this.options.objects.open(this.options.name, { start, end }, this.stat.etag);
    if (opened && opened.stat.seen === this.seen && !this.closed) {
      this.bodies.add(opened.body);
      return opened.body;
    }
    opened?.body.destroy();
    throw new CaskError("STORAGE_FAILED", `${this.options.name} has changed since it was opened`);
  }

  private async *inTime(body: Readable): AsyncGenerator<Buffer> {
    const { clock, timing, traffic } = this.options;
    const iterator = body[Symbol.asyncIterator]();
    while (true) {
      const cancel = clock.timer(timing.attemptMs, () => body.destroy(new Error("S3 sends no more bytes")));
      const { done, value } = await iterator.next().finally(cancel);
      if (done) return;
      traffic.bytesIn += (value as Buffer).length;
      yield value as Buffer;
    }
  }

  private takeFirst(): Readable | undefined {
    const { first } = this;
    this.first = undefined;
    return first;
  }

  private release(body: Readable | undefined): void {
    if (!body) return;
    this.bodies.delete(body);
    body.destroy();
  }

  private failure(error: unknown): CaskError {
    if (saysChanged(error))
      return new CaskError("STORAGE_FAILED", `${this.options.name} has changed since it was opened`);
    return s3Failure(error, `reading ${this.options.name}`);
  }

  private mustBeOpen(): void {
    if (this.closed) throw new CaskError("STORAGE_FAILED", `${this.options.name} was closed`);
  }
}
