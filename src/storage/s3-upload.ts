import { Readable } from "node:stream";
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  ListMultipartUploadsCommand,
  type S3Client,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { Gate } from "../core/gate.ts";
import {
  S3_COMPLETE_MS,
  S3_PART_BYTES,
  S3_PARTS_AT_ONCE_COUNT,
  S3_PARTS_MAX_COUNT,
  S3_UPLOADS_AT_ONCE_COUNT,
  UPLOADS_MAX_COUNT,
} from "../core/limits.ts";
import type { S3Connection } from "./s3-client.ts";
import { hasStatus } from "./s3-failure.ts";
import { PUT_TAG, type S3Objects } from "./s3-objects.ts";

export interface UploadSource {
  readonly sizeBytes: number;
  read(): AsyncIterable<Uint8Array>;
}

/** Puts bytes under a name: small ones in one request, large ones in parts. Visible when whole, not before. */
export class S3Uploads {
  private readonly connection: S3Connection;
  private readonly objects: S3Objects;
  /** Each holds a part or two in memory. */
  private readonly gate = new Gate("uploads to S3", S3_UPLOADS_AT_ONCE_COUNT, UPLOADS_MAX_COUNT);

  constructor(connection: S3Connection, objects: S3Objects) {
    this.connection = connection;
    this.objects = objects;
  }

  /**
   * A rejection says nothing about whether the object is there: the caller looks. Parts of a failed upload are removed. `onDoubt` is called
   * when an attempt may still come to be, late; the parts of a large blob can't, once their upload is complete or given up.
   */
  put(name: string, source: UploadSource, putTag: string, onDoubt?: () => void): Promise<void> {
    return this.gate.run(async () => {
      if (source.sizeBytes <= S3_PART_BYTES) {
        await this.objects.put(name, await whole(source), putTag, onDoubt ? { onDoubt } : {});
        return;
      }
      try {
        await this.inParts(name, source, putTag);
      } catch (error) {
        // The library removes the parts; when that failed too, because S3 was gone, this is one more attempt. The next start is another.
        await this.removeStray(name).catch(() => undefined);
        throw error;
      }
    });
  }

  /** Removes the parts of uploads under names that begin so, which nobody will complete. Answers how many uploads they were of. */
  async removeStray(prefix: string): Promise<number> {
    const { connection } = this;
    let count = 0;
    for (let more = true, marker: { KeyMarker?: string; UploadIdMarker?: string } = {}; more; ) {
      const input = { Bucket: connection.bucket, Prefix: prefix, ...marker };
      const page = await connection.send({ kind: "list" }, (client, abortSignal) =>
        client.send(new ListMultipartUploadsCommand(input), { abortSignal }),
      );
      for (const { Key: name, UploadId: id } of page.Uploads ?? []) {
        if (name?.startsWith(prefix) && id !== undefined && (await this.removeUpload(name, id))) count++;
      }
      more = page.IsTruncated === true && page.NextKeyMarker !== undefined;
      marker = {
        ...(page.NextKeyMarker === undefined ? {} : { KeyMarker: page.NextKeyMarker }),
        ...(page.NextUploadIdMarker === undefined ? {} : { UploadIdMarker: page.NextUploadIdMarker }),
      };
    }
    return count;
  }

  private async removeUpload(name: string, id: string): Promise<boolean> {
    const input = { Bucket: this.connection.bucket, Key: name, UploadId: id };
    try {
      await this.connection.send({ kind: "delete" }, (client, abortSignal) =>
        client.send(new AbortMultipartUploadCommand(input), { abortSignal }),
      );
      return true;
    } catch (error) {
      if (hasStatus(error, 404)) return false;
      throw error;
    }
  }

  private async inParts(name: string, source: UploadSource, putTag: string): Promise<void> {
    const failure = new AbortController();
    const body = Readable.from(untilAborted(source.read(), failure.signal), { objectMode: false });
    const upload = new Upload({
      client: this.patientClient(failure),
      params: { Bucket: this.connection.bucket, Key: name, Body: body, Metadata: { [PUT_TAG]: putTag } },
      partSize: Math.max(S3_PART_BYTES, Math.ceil(source.sizeBytes / S3_PARTS_MAX_COUNT)),
      queueSize: S3_PARTS_AT_ONCE_COUNT,
    });
    try {
      await upload.done();
    } finally {
      body.destroy();
    }
  }

  /** What lib-storage needs of a client; it sends as all others do. Once a part has failed the other ones are not even read. */
  private patientClient(failure: AbortController): S3Client {
    const { connection } = this;
    const send = async (command: Parameters<S3Client["send"]>[0]) => {
      try {
        return await connection.send(
          {
            kind: command instanceof AbortMultipartUploadCommand ? "delete" : "write",
            bodyBytes: command instanceof UploadPartCommand ? (command.input.Body as Uint8Array).length : 0,
            ...(command instanceof CompleteMultipartUploadCommand ? { attemptMs: S3_COMPLETE_MS } : {}),
          },
          (client, abortSignal) => client.send(command, { abortSignal }),
        );
      } catch (error) {
        failure.abort(error);
        throw error;
      }
    };
    return { config: connection.client.config, send } as unknown as S3Client;
  }
}

async function whole(source: UploadSource): Promise<Buffer> {
  const bytes = Buffer.allocUnsafeSlow(source.sizeBytes);
  let filled = 0;
  for await (const chunk of source.read()) {
    bytes.set(chunk, filled);
    filled += chunk.length;
  }
  if (filled !== bytes.length) throw new Error(`${bytes.length - filled} bytes are missing in the stage`);
  return bytes;
}

async function* untilAborted(chunks: AsyncIterable<Uint8Array>, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    signal.throwIfAborted();
    yield chunk;
  }
}
