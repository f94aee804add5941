import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { CopyPlace } from "./copy-places.ts";

export interface FakeObject {
  readonly bytes: Buffer;
  readonly etag: string;
  readonly modified: Date;
  readonly metadata: Readonly<Record<string, string>>;
}

export interface FakeRequest {
  readonly method: string;
  /** Without the bucket. Empty for requests to the bucket itself. */
  readonly name: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage["headers"];
  readonly body: Buffer;
}

interface FakeUpload {
  readonly name: string;
  readonly metadata: Record<string, string>;
  readonly parts: Map<number, Buffer>;
}

/** An answer, as far as it is not the usual one. `bytes` are the body. */
export interface FakeAnswer {
  status: number;
  headers: Record<string, string>;
  bytes: Buffer;
}

/**
 * What to do with a request. Nothing: answer as S3 would. An answer: give that one instead, and do nothing. `spoil`: do it, and change what is
 * answered. `cutAfter`: end the connection after so many bytes of the body. `never`: no answer; `undone`: and nothing is done.
 */
export type Fault =
  | undefined
  | { readonly answer: FakeAnswer }
  | { readonly spoil: (answer: FakeAnswer) => FakeAnswer }
  | { readonly cutAfter: number }
  | { readonly never: "done" | "undone" };

/** S3 in memory, as far as cask uses it: no signatures are checked. In-process, so that a test can spoil any answer. */
export class FakeS3 {
  readonly objects = new Map<string, FakeObject>();
  readonly uploads = new Map<string, FakeUpload>();
  readonly requests: FakeRequest[] = [];
  fault: (request: FakeRequest) => Fault = () => undefined;
  private readonly bucket: string;
  private readonly server: Server;
  private count = 0;

  private constructor(bucket: string) {
    this.bucket = bucket;
    this.server = createServer((request, response) => {
      this.serve(request, response).catch((error: unknown) => response.destroy(error as Error));
    });
  }

  static async start(bucket: string): Promise<FakeS3> {
    const fake = new FakeS3(bucket);
    fake.server.listen(0, "127.0.0.1");
    await once(fake.server, "listening");
    return fake;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((done) => this.server.close(done));
  }

  put(name: string, bytes: Buffer, metadata: Record<string, string> = {}, etag = `"${md5(bytes)}"`): FakeObject {
    const object = { bytes, etag, modified: new Date(Math.floor(Date.now() / 1000) * 1000), metadata };
    this.objects.set(name, object);
    return object;
  }

  /** An object, to be damaged: its ETag and metadata stay. */
  place(name: string): CopyPlace {
    return {
      read: async () => this.objects.get(name)?.bytes ?? null,
      write: async (bytes) => {
        const object = this.objects.get(name);
        if (!object) throw new Error(`there is no ${name}`);
        this.objects.set(name, { ...object, bytes: Buffer.from(bytes) });
      },
      remove: async () => void this.objects.delete(name),
    };
  }

  private async serve(message: IncomingMessage, response: ServerResponse): Promise<void> {
    const parts: Buffer[] = [];
    for await (const part of message) parts.push(part as Buffer);
    const url = new URL(message.url ?? "/", "http://localhost");
    const [, bucket, ...rest] = url.pathname.split("/").map(decodeURIComponent);
    const { method = "GET", headers } = message;
    const request = { method, name: rest.join("/"), query: url.searchParams, headers, body: Buffer.concat(parts) };
    this.requests.push(request);
    const fault = this.fault(request);
    if (fault && "never" in fault) {
      if (fault.never === "done") this.answer(request);
      return;
    }
    if (fault && "answer" in fault) return send(request, response, fault.answer);
    const usual = bucket === this.bucket ? this.answer(request) : failure(404, "NoSuchBucket");
    const answer = fault && "spoil" in fault ? fault.spoil(usual) : usual;
    send(request, response, answer, fault && "cutAfter" in fault ? fault.cutAfter : undefined);
  }

  private answer(request: FakeRequest): FakeAnswer {
    const { method, name, query } = request;
    if (name === "") return query.has("uploads") ? this.listUploads(query) : this.list(query);
    if (query.has("uploads") || query.has("uploadId")) return this.multipart(request);
    if (method === "PUT") return request.headers["x-amz-copy-source"] ? this.copy(request) : this.store(request);
    if (method === "DELETE") return this.remove(request);
    return this.fetch(request);
  }

  private fetch({ method, name, headers }: FakeRequest): FakeAnswer {
    const object = this.objects.get(name);
    if (!object) return failure(404, "NoSuchKey");
    if (headers["if-match"] !== undefined && headers["if-match"] !== object.etag)
      return failure(412, "PreconditionFailed");
    const about = {
      etag: object.etag,
      "last-modified": object.modified.toUTCString(),
      ...Object.fromEntries(Object.entries(object.metadata).map(([key, value]) => [`x-amz-meta-${key}`, value])),
    };
    const range = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? "");
    if (!range || method === "HEAD") return { status: 200, headers: about, bytes: object.bytes };
    const [start, end] = [Number(range[1]), Math.min(Number(range[2]), object.bytes.length - 1)];
    if (start >= object.bytes.length) return failure(416, "InvalidRange");
    const contentRange = `bytes ${start}-${end}/${object.bytes.length}`;
    return {
      status: 206,
      headers: { ...about, "content-range": contentRange },
      bytes: object.bytes.subarray(start, end + 1),
    };
  }

  private store({ name, headers, body }: FakeRequest): FakeAnswer {
    const existing = this.objects.get(name);
    if (headers["if-none-match"] === "*" && existing) return failure(412, "PreconditionFailed");
    if (headers["if-match"] !== undefined && !existing) return failure(404, "NoSuchKey");
    if (headers["if-match"] !== undefined && headers["if-match"] !== existing?.etag)
      return failure(412, "PreconditionFailed");
    return { status: 200, headers: { etag: this.put(name, body, metadataOf(headers)).etag }, bytes: Buffer.alloc(0) };
  }

  private copy({ name, headers }: FakeRequest): FakeAnswer {
    const [, ...rest] = decodeURIComponent(String(headers["x-amz-copy-source"])).replace(/^\//, "").split("/");
    const source = this.objects.get(rest.join("/"));
    if (!source) return failure(404, "NoSuchKey");
    if ((headers["x-amz-copy-source-if-match"] ?? source.etag) !== source.etag)
      return failure(412, "PreconditionFailed");
    const { etag } = this.put(name, source.bytes, source.metadata);
    return xml(200, `<CopyObjectResult><ETag>${escapeXml(etag)}</ETag></CopyObjectResult>`);
  }

  private remove({ name, headers }: FakeRequest): FakeAnswer {
    const object = this.objects.get(name);
    if (object && (headers["if-match"] ?? object.etag) !== object.etag) return failure(412, "PreconditionFailed");
    this.objects.delete(name);
    return { status: 204, headers: {}, bytes: Buffer.alloc(0) };
  }

  private list(query: URLSearchParams): FakeAnswer {
    const [prefix, after] = [query.get("prefix") ?? "", query.get("start-after") ?? ""];
    const max = Math.min(1000, Number(query.get("max-keys") ?? 1000));
    const names = [...this.objects.keys()].filter((name) => name.startsWith(prefix) && name > after).sort();
    const shown = names.slice(0, max).map((name) => {
      const { bytes, etag } = this.objects.get(name) as FakeObject;
      return `<Contents><Key>${escapeXml(name)}</Key><Size>${bytes.length}</Size><ETag>${escapeXml(etag)}</ETag></Contents>`;
    });
    const head = `<KeyCount>${shown.length}</KeyCount><IsTruncated>${names.length > max}</IsTruncated>`;
    return xml(200, `<ListBucketResult>${head}${shown.join("")}</ListBucketResult>`);
  }

  private listUploads(query: URLSearchParams): FakeAnswer {
    const prefix = query.get("prefix") ?? "";
    const shown = [...this.uploads]
      .filter(([, { name }]) => name.startsWith(prefix))
      .map(([id, { name }]) => `<Upload><Key>${escapeXml(name)}</Key><UploadId>${id}</UploadId></Upload>`);
    const body = `<IsTruncated>false</IsTruncated>${shown.join("")}`;
    return xml(200, `<ListMultipartUploadsResult>${body}</ListMultipartUploadsResult>`);
  }

  private multipart({ method, name, query, headers, body }: FakeRequest): FakeAnswer {
    if (query.has("uploads")) {
      const id = `upload-${this.count++}`;
      this.uploads.set(id, { name, metadata: metadataOf(headers), parts: new Map() });
      return xml(200, `<InitiateMultipartUploadResult><UploadId>${id}</UploadId></InitiateMultipartUploadResult>`);
    }
    const id = query.get("uploadId") ?? "";
    const upload = this.uploads.get(id);
    if (!upload) return failure(404, "NoSuchUpload");
    if (method === "PUT") {
      upload.parts.set(Number(query.get("partNumber")), body);
      return { status: 200, headers: { etag: `"${md5(body)}"` }, bytes: Buffer.alloc(0) };
    }
    this.uploads.delete(id);
    if (method === "DELETE") return { status: 204, headers: {}, bytes: Buffer.alloc(0) };
    const parts = [...upload.parts].sort(([a], [b]) => a - b).map(([, bytes]) => bytes);
    const etag = `"${md5(Buffer.concat(parts.map((part) => Buffer.from(md5(part), "hex"))))}-${parts.length}"`;
    this.put(name, Buffer.concat(parts), upload.metadata, etag);
    return xml(200, `<CompleteMultipartUploadResult><ETag>${escapeXml(etag)}</ETag></CompleteMultipartUploadResult>`);
  }
}

/** An error of S3, with its code. */
export function failure(status: number, code: string): FakeAnswer {
  return xml(status, `<Error><Code>${code}</Code><Message>${code}, said on purpose</Message></Error>`);
}

export function xml(status: number, body: string): FakeAnswer {
  const bytes = Buffer.from(`<?xml version="1.0" encoding="UTF-8"?>${body}`);
  return { status, headers: { "content-type": "application/xml" }, bytes };
}

function send({ method }: FakeRequest, response: ServerResponse, answer: FakeAnswer, cutAfter?: number): void {
  response.writeHead(answer.status, { "content-length": String(answer.bytes.length), ...answer.headers });
  if (method === "HEAD") return void response.end();
  if (cutAfter === undefined) return void response.end(answer.bytes);
  response.write(answer.bytes.subarray(0, cutAfter), () => setTimeout(() => response.destroy(), 5));
}

function metadataOf(headers: IncomingMessage["headers"]): Record<string, string> {
  const prefix = "x-amz-meta-";
  const entries = Object.entries(headers).filter(([name]) => name.startsWith(prefix));
  return Object.fromEntries(entries.map(([name, value]) => [name.slice(prefix.length), String(value)]));
}

function md5(bytes: Buffer): string {
  return createHash("md5").update(bytes).digest("hex");
}

function escapeXml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
}
