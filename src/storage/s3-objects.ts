import type { Readable } from "node:stream";
import {
  CopyObjectCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  type GetObjectCommandOutput,
  HeadObjectCommand,
  type HeadObjectCommandOutput,
  ListObjectsV2Command,
  type ListObjectsV2CommandOutput,
  PutObjectCommand,
} from "@aws-sdk/client-s3";
import { S3_COMPLETE_MS, S3_PAGE_MAX_COUNT } from "../core/limits.ts";
import type { Seen, Stat } from "./backend.ts";
import type { S3Connection } from "./s3-client.ts";
import { BadAnswer, hasStatus, saysNoSuchKey } from "./s3-failure.ts";

/** The metadata under which each object tells the length it was put with, and a name of its own. */
export const PUT_TAG = "cask-put";

export interface S3Stat extends Stat {
  readonly etag: string;
  /** By S3's clock, in whole seconds. */
  readonly modifiedMs: number;
  /** What the put that made it was called; undefined for objects of others. */
  readonly putTag: string | undefined;
}

export interface OpenedObject {
  readonly stat: S3Stat;
  readonly body: Readable;
}

export interface ByteSpan {
  readonly start: number;
  readonly end: number;
}

export interface ListedObject {
  readonly name: string;
  readonly sizeBytes: number;
}

export interface ListedPage {
  readonly objects: readonly ListedObject[];
  readonly more: boolean;
}

export interface PutConditions {
  /** Only over the object with this ETag. */
  readonly ifMatch?: string;
  /** Only where there is none. */
  readonly ifAbsent?: boolean;
  readonly onDoubt?: () => void;
}

/** One object has another length than it was put with: a wrong answer, or, when it is said again and again, a damaged object. */
export class WrongLength extends BadAnswer {
  override readonly attemptsMax = 2;
  readonly stat: S3Stat;

  constructor(name: string, stat: S3Stat) {
    super(`${name} has ${stat.sizeBytes} bytes by this answer, but was put with others (${stat.putTag})`);
    this.stat = stat;
  }
}

/** Single requests about single objects, in terms of names. Null is an answer of S3: no such object. All else rejects. */
export class S3Objects {
  private readonly connection: S3Connection;

  constructor(connection: S3Connection) {
    this.connection = connection;
  }

  async head(name: string): Promise<S3Stat | null> {
    const input = { Bucket: this.connection.bucket, Key: name };
    try {
      return await this.connection.send({ kind: "look" }, async (client, abortSignal) =>
        statOf(name, await client.send(new HeadObjectCommand(input), { abortSignal })),
      );
    } catch (error) {
      if (!hasStatus(error, 404)) throw error;
    }
    // The answer to a HEAD has no body to tell a missing object from a missing bucket: the one to a GET has.
    const opened = await this.open(name, { start: 0, end: 0 });
    opened?.body.destroy();
    return opened && this.head(name); // it came in between
  }

  /** The same of an object that has, each time it is asked for, another length than it was put with: there is one, and it is damaged. */
  async look(name: string): Promise<S3Stat | null> {
    try {
      return await this.head(name);
    } catch (error) {
      if (error instanceof WrongLength) return error.stat;
      throw error;
    }
  }

  /**
   * The object, or a piece of it (of the one with `etag`, else it rejects with status 412). The body is to be read to its end or
   * destroyed; what becomes of it is for the reader to watch.
   */
  async open(name: string, span?: ByteSpan, etag?: string): Promise<OpenedObject | null> {
    const range = span ? { Range: `bytes=${span.start}-${span.end}` } : {};
    const input = { Bucket: this.connection.bucket, Key: name, ...range, ...(etag ? { IfMatch: etag } : {}) };
    try {
      return await this.connection.send({ kind: "read" }, async (client, abortSignal) => {
        const answer = await client.send(new GetObjectCommand(input), { abortSignal });
        const body = bodyOf(answer);
        try {
          return { stat: openedStat(name, answer, span), body };
        } catch (error) {
          body.destroy();
          throw error;
        }
      });
    } catch (error) {
      if (saysNoSuchKey(error)) return null;
      throw error;
    }
  }

  /** Answers the ETag. */
  async put(name: string, bytes: Uint8Array, putTag: string, conditions: PutConditions = {}): Promise<string> {
    const { ifMatch, ifAbsent, onDoubt } = conditions;
    const input = {
      Bucket: this.connection.bucket,
      Key: name,
      Body: bytes,
      ContentLength: bytes.length,
      Metadata: { [PUT_TAG]: putTag },
      ...(ifMatch === undefined ? {} : { IfMatch: ifMatch }),
      ...(ifAbsent ? { IfNoneMatch: "*" } : {}),
    };
    const options = { kind: "write", bodyBytes: bytes.length, ...(onDoubt ? { onDoubt } : {}) } as const;
    return this.connection.send(options, async (client, abortSignal) => {
      const { ETag: etag } = await client.send(new PutObjectCommand(input), { abortSignal });
      if (!etag) throw new BadAnswer(`no ETag in the answer to the PUT of ${name}`);
      return etag;
    });
  }

  async copy(from: string, to: string, etag: string): Promise<void> {
    const source = [this.connection.bucket, ...from.split("/")].map(encodeURIComponent).join("/");
    const input = { Bucket: this.connection.bucket, Key: to, CopySource: source, CopySourceIfMatch: etag };
    await this.connection.send({ kind: "write", attemptMs: S3_COMPLETE_MS }, (client, abortSignal) =>
      client.send(new CopyObjectCommand(input), { abortSignal }),
    );
  }

  /** One attempt: what an unknown outcome means is for the caller to judge. */
  async remove(name: string, etag: string | undefined): Promise<void> {
    const input = { Bucket: this.connection.bucket, Key: name, ...(etag === undefined ? {} : { IfMatch: etag }) };
    await this.connection.send({ kind: "delete", attempts: 1 }, (client, abortSignal) =>
      client.send(new DeleteObjectCommand(input), { abortSignal }),
    );
  }

  /** The first objects below a prefix whose names come after `after`, in order. */
  async list(prefix: string, after: string | undefined, maxCount = S3_PAGE_MAX_COUNT): Promise<ListedPage> {
    const input = {
      Bucket: this.connection.bucket,
      Prefix: prefix,
      MaxKeys: maxCount,
      ...(after === undefined ? {} : { StartAfter: after }),
    };
    return this.connection.send({ kind: "list" }, async (client, abortSignal) =>
      pageOf(prefix, after, await client.send(new ListObjectsV2Command(input), { abortSignal })),
    );
  }

  /** All objects below a prefix, page by page: each page is asked for by the last name seen, so that nothing can go stale. */
  async *listAll(prefix: string, after?: string): AsyncGenerator<ListedObject> {
    for (let last = after, more = true; more; ) {
      const page = await this.list(prefix, last);
      yield* page.objects;
      last = page.objects.at(-1)?.name ?? last;
      more = page.more;
    }
  }
}

/** What an object put with this tag should be like. */
export function makePutTag(sizeBytes: number, nonce: string): string {
  return `${sizeBytes}-${nonce}`;
}

/** The answer to a HEAD, or to a GET of the whole. */
function statOf(name: string, answer: HeadObjectCommandOutput | GetObjectCommandOutput): S3Stat {
  return makeStat(name, answer, answer.ContentLength);
}

function makeStat(
  name: string,
  { ETag: etag, LastModified: modified, Metadata: metadata }: HeadObjectCommandOutput | GetObjectCommandOutput,
  sizeBytes: number | undefined,
): S3Stat {
  if (!etag || sizeBytes === undefined) throw new BadAnswer(`no ETag or no length in the answer about ${name}`);
  const putTag = metadata?.[PUT_TAG];
  const modifiedMs = modified?.getTime() ?? 0;
  const seen = `${etag} ${sizeBytes} ${modifiedMs} ${putTag ?? ""}` as Seen;
  const stat = { sizeBytes, seen, etag, modifiedMs, putTag };
  const putBytes = Number.parseInt(putTag ?? "", 10);
  if (Number.isFinite(putBytes) && putBytes !== sizeBytes) throw new WrongLength(name, stat);
  return stat;
}

/** The length of the whole is in Content-Range when a piece was asked for. */
function openedStat(name: string, answer: GetObjectCommandOutput, span: ByteSpan | undefined): S3Stat {
  if (!span) return statOf(name, answer);
  const match = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(answer.ContentRange ?? "");
  const [start, end, total] = [match?.[1], match?.[2], match?.[3]].map(Number);
  if (start !== span.start || end !== span.end || answer.ContentLength !== span.end - span.start + 1) {
    throw new BadAnswer(`bytes ${span.start}-${span.end} of ${name} were asked for, got ${answer.ContentRange}`);
  }
  return makeStat(name, answer, total);
}

function bodyOf({ Body: body }: GetObjectCommandOutput): Readable {
  if (!body) throw new BadAnswer("no body in the answer to a GET");
  const readable = body as Readable;
  readable.on("error", () => undefined); // whoever reads is told; one that nobody reads any more must not end the process
  return readable;
}

/** An answer that was cut may still be well-formed enough for a lenient parser: what it says of itself must fit. */
function pageOf(prefix: string, after: string | undefined, answer: ListObjectsV2CommandOutput): ListedPage {
  const { Contents: contents = [], IsTruncated: more, KeyCount: count } = answer;
  const objects = contents.map(({ Key: name = "", Size: sizeBytes = 0 }) => ({ name, sizeBytes }));
  const names = [after ?? "", ...objects.map(({ name }) => name)];
  const inOrder = names.every((name, i) => i === 0 || name > (names[i - 1] as string));
  if (more === undefined || (count !== undefined && count !== objects.length) || (more && objects.length === 0)) {
    throw new BadAnswer(`a page of the listing of ${prefix} is incomplete`);
  }
  if (!inOrder || objects.some(({ name }) => !name.startsWith(prefix))) {
    throw new BadAnswer(`the listing of ${prefix} is not in the order of names, or has others`);
  }
  return { objects, more };
}
