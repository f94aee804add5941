import type { ClusterView } from "../cluster/cluster-view.ts";
import type { Clock } from "../core/clock.ts";
import { CaskError } from "../core/errors.ts";
import { Gate } from "../core/gate.ts";
import { type Key, keyOfBytes } from "../core/key.ts";
import { CACHED_UPLOAD_MAX_BYTES, UPLOADS_MAX_COUNT } from "../core/limits.ts";
import type { Backend } from "../storage/backend.ts";
import type { BlobCache } from "./blob-cache.ts";
import { type Replicated, replicate } from "./replicate.ts";
import type { SpaceWatch } from "./space-watch.ts";
import { bodyOf, type StagedUpload, stageUpload, type UploadBody } from "./staged-upload.ts";

/** A file on its way in. */
export type Upload = UploadBody & {
  /** Bytes of the file, where the client says. */
  readonly sizeBytes: number | undefined;
  /** The key that the client named, where it did. */
  readonly expected: Key | undefined;
  /** Resolves when the rest of the request was found to be well-formed too. */
  readonly complete: () => Promise<void>;
};

export interface PutResult extends Replicated {
  readonly key: Key;
}

export interface PutOptions {
  readonly view: () => ClusterView;
  readonly backend: Pick<Backend, "stage" | "store">;
  readonly space: Pick<SpaceWatch, "admit" | "isLow">;
  readonly cache: Pick<BlobCache, "takes" | "put">;
  readonly maxUploadBytes: number;
  readonly clock: Clock;
}

/** Takes a file in, hashes it, and makes as many durable copies as promised. */
export class Put {
  private readonly options: PutOptions;
  private readonly gate = new Gate("uploads", UPLOADS_MAX_COUNT, 0);

  constructor(options: PutOptions) {
    this.options = options;
  }

  /**
   * Resolves also when too few copies were made: `success` tells. Rejects with TOO_LARGE, KEY_MISMATCH, KEY_COLLISION, NO_SPACE,
   * READ_ONLY, OVERLOADED, STORAGE_FAILED, or what the upload itself rejects with; then nothing new is stored.
   */
  put(upload: Upload, signal?: AbortSignal): Promise<PutResult> {
    return this.gate.run(() => this.store(upload, signal));
  }

  private async store(upload: Upload, signal?: AbortSignal): Promise<PutResult> {
    const { backend, maxUploadBytes, clock, space } = this.options;
    await this.refuseEarly(upload.sizeBytes);
    await space.admit(upload.sizeBytes);
    const staged = await stageUpload({
      ...bodyOf(upload),
      backend,
      maxBytes: maxUploadBytes,
      sizeHint: upload.sizeBytes,
      expected: upload.expected,
      complete: upload.complete,
    });
    try {
      const replicated = await replicate({ upload: staged, view: this.options.view(), clock, signal });
      if (replicated.success) await this.remember(staged).catch(() => undefined); // stored it is; the cache can do without
      return { ...replicated, key: staged.key };
    } finally {
      await staged.release();
    }
  }

  /** What was just stored is often fetched next. What lay in a file meanwhile is hashed again. */
  private async remember(staged: StagedUpload): Promise<void> {
    const { cache } = this.options;
    if (staged.sizeBytes > CACHED_UPLOAD_MAX_BYTES || !cache.takes(staged.sizeBytes)) return;
    const inMemory = staged.inMemory();
    if (inMemory) {
      cache.put(staged.key, Buffer.from(inMemory.buffer, inMemory.byteOffset, inMemory.length));
      return;
    }
    const parts: Uint8Array[] = [];
    for await (const chunk of staged.read()) parts.push(chunk);
    const bytes = Buffer.concat(parts);
    if (keyOfBytes(bytes) === staged.key) cache.put(staged.key, bytes);
  }

  /** Before the body is taken: is it too large, is there anybody who could keep it? */
  private async refuseEarly(sizeBytes: number | undefined): Promise<void> {
    const { maxUploadBytes, view, space } = this.options;
    if (sizeBytes !== undefined && sizeBytes > maxUploadBytes) {
      throw new CaskError("TOO_LARGE", `the file is larger than ${maxUploadBytes} bytes (CASK_MAX_UPLOAD_SIZE)`);
    }
    if (view().nodes.some((node) => node.writeable)) return;
    if (space.isLow)
      throw new CaskError("NO_SPACE", "this node's disk is nearly full, and no other node takes new blobs");
    throw new CaskError("READ_ONLY", "no node takes new blobs at present");
  }
}
