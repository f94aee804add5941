import { BodyHasher } from "../core/body-hasher.ts";
import { type Clock, StallTimer } from "../core/clock.ts";
import { asCaskError, CaskError } from "../core/errors.ts";
import { type Key, keyOfBytes } from "../core/key.ts";
import { LOCAL_READ_TIMEOUT_MS } from "../core/limits.ts";
import { recycle } from "../core/piece-pool.ts";
import { untilAborted } from "../core/until-aborted.ts";
import type { BlobSource } from "../peer/peer.ts";
import type { Backend, CommitOutcome, Stage } from "../storage/backend.ts";

/** Bytes that came in whole and were hashed: they lie in a stage of this node's own backend, from which they go to all owners. */
export class StagedUpload implements BlobSource {
  readonly key: Key;
  private readonly stage: Stage;
  private readonly backend: Pick<Backend, "store">;

  constructor(key: Key, stage: Stage, backend: Pick<Backend, "store">) {
    this.key = key;
    this.stage = stage;
    this.backend = backend;
  }

  get sizeBytes(): number {
    return this.stage.sizeBytes;
  }

  read(): AsyncIterable<Uint8Array> {
    return this.stage.read();
  }

  /** All of the bytes, where they never left memory since they were hashed; good until `release`. */
  inMemory(): Uint8Array | undefined {
    return this.stage.inMemory?.();
  }

  isStagedIn(backend: Pick<Backend, "store">): boolean {
    return backend === this.backend;
  }

  /** `key`: its own. A stage's interface, so that a store can commit both alike. */
  commit(key: Key): Promise<CommitOutcome> {
    return this.stage.commit(key);
  }

  /** To be called when nobody reads any more. Never rejects. */
  release(): Promise<void> {
    return this.stage.abort();
  }
}

/**
 * The bytes of a file: as they come, pieces of a pool among them, which are recycled; or, of a small one, all at once. Those nobody changes once they came, so
 * that they need not be copied.
 */
export type UploadBody = { readonly chunks: AsyncIterable<Uint8Array> } | { readonly whole: () => Promise<Uint8Array> };

export function bodyOf(upload: UploadBody): UploadBody {
  return "whole" in upload ? { whole: upload.whole } : { chunks: upload.chunks };
}

export type StageUploadOptions = UploadBody & {
  readonly backend: Pick<Backend, "stage" | "store">;
  readonly maxBytes: number;
  readonly sizeHint: number | undefined;
  /** The key that the client named, if it did. */
  readonly expected: Key | undefined;
  /** Resolves when the request around the bytes was found to be well-formed, too. */
  readonly complete: () => Promise<void>;
};

/**
 * Takes a body in: into a stage, hashed, counted. On any trouble (the client's, the disk's) the stage is gone.
 * Rejects with TOO_LARGE, KEY_MISMATCH, NO_SPACE, STORAGE_FAILED, or with what `chunks` and `complete` reject with.
 */
export async function stageUpload(options: StageUploadOptions): Promise<StagedUpload> {
  const { maxBytes, sizeHint = 0 } = options;
  if (sizeHint > maxBytes) throw tooLarge(maxBytes);
  return "whole" in options ? stageWhole(options.whole, options) : stageChunks(options.chunks, options);
}

type BesidesBody = Omit<StageUploadOptions, "chunks" | "whole">;

async function stageWhole(
  whole: () => Promise<Uint8Array>,
  { backend, maxBytes, expected, complete }: BesidesBody,
): Promise<StagedUpload> {
  const bytes = await whole();
  if (bytes.length > maxBytes) throw tooLarge(maxBytes);
  await complete();
  const key = keyOfBytes(bytes);
  mustBe(expected, key);
  return stageBytes(key, bytes, { backend, areGiven: true });
}

async function stageChunks(chunks: AsyncIterable<Uint8Array>, options: BesidesBody): Promise<StagedUpload> {
  const { backend, sizeHint, expected } = options;
  const stage = await backend.stage(sizeHint);
  try {
    const key = await fill(stage, chunks, options);
    mustBe(expected, key);
    return new StagedUpload(key, stage, backend);
  } catch (error) {
    await stage.abort();
    throw error;
  }
}

/** Bytes that were hashed. */
async function stageBytes(
  key: Key,
  bytes: Uint8Array,
  { backend, areGiven }: { readonly backend: BesidesBody["backend"]; readonly areGiven: boolean },
): Promise<StagedUpload> {
  const stage = await backend.stage(bytes.length);
  try {
    await stage.write(bytes, areGiven);
    return new StagedUpload(key, stage, backend);
  } catch (error) {
    await stage.abort();
    throw error;
  }
}

function mustBe(expected: Key | undefined, key: Key): void {
  if (expected === undefined || key === expected) return;
  throw new CaskError("KEY_MISMATCH", `the body hashes to ${key}, not to ${expected}; nothing was stored`);
}

/** Writes one piece while it is hashed and the next one comes in. Nothing is being written any more when it answers or rejects. */
async function fill(
  stage: Stage,
  chunks: AsyncIterable<Uint8Array>,
  { maxBytes, sizeHint, complete }: BesidesBody,
): Promise<Key> {
  const hasher = new BodyHasher();
  let receivedBytes = 0;
  let writing: Promise<void> | undefined;
  let key: Key | undefined;
  try {
    for await (const piece of chunks) {
      if (piece.length === 0) continue;
      receivedBytes += piece.length;
      if (receivedBytes > maxBytes) throw tooLarge(maxBytes);
      if (key !== undefined)
        throw new CaskError("BAD_REQUEST", `the body goes on after the ${sizeHint} bytes that were announced`);
      if (writing) await writing;
      const hashed = receivedBytes === sizeHint ? hasher.digest(piece) : hasher.update(piece);
      writing = writeAndRecycle(stage, piece);
      writing.catch(() => undefined); // told to who waits for it next
      key = (hashed && (await hashed)) || undefined;
    }
    await complete();
    await writing;
    return key ?? (await hasher.digest());
  } catch (error) {
    hasher.close();
    await writing?.catch(() => undefined);
    throw error;
  }
}

async function writeAndRecycle(stage: Stage, piece: Uint8Array): Promise<void> {
  try {
    await stage.write(piece);
  } finally {
    recycle(piece);
  }
}

function tooLarge(maxBytes: number): CaskError {
  return new CaskError("TOO_LARGE", `the file is larger than ${maxBytes} bytes (CASK_MAX_UPLOAD_SIZE)`);
}

export interface StageInTimeOptions {
  readonly backend: Pick<Backend, "stage" | "store">;
  readonly clock: Clock;
  /** Called when the backend is late with a piece. */
  readonly late: () => CaskError;
  /** For messages. */
  readonly whose: string;
}

/** Stages what another sends. The disk is given up when it takes too long over a piece. How long the source takes is the source's to bound. */
export async function stageInTime(key: Key, source: BlobSource, options: StageInTimeOptions): Promise<StagedUpload> {
  const { backend, clock, late, whose } = options;
  const stall = new StallTimer(clock, LOCAL_READ_TIMEOUT_MS, late);
  const staging = stageSource(key, source, { backend, stall });
  try {
    return await untilAborted(staging, stall.signal);
  } catch (error) {
    staging.then((upload) => upload.release()).catch(() => undefined); // it was given up: only what it holds matters
    throw asCaskError(error, "STORAGE_FAILED", whose);
  } finally {
    stall.stop();
  }
}

async function stageSource(
  key: Key,
  source: BlobSource,
  { backend, stall }: { readonly backend: StageInTimeOptions["backend"]; readonly stall: StallTimer },
): Promise<StagedUpload> {
  const bytes = source.inMemory?.();
  if (bytes) {
    mustBe(key, keyOfBytes(bytes));
    return stageBytes(key, bytes, { backend, areGiven: false }); // who gave it may use its memory again
  }
  async function* timed(): AsyncGenerator<Uint8Array> {
    stall.pause();
    for await (const chunk of source.read()) {
      stall.progress();
      yield chunk;
      stall.pause();
    }
    stall.progress();
  }
  return stageUpload({
    chunks: timed(),
    backend,
    maxBytes: source.sizeBytes,
    sizeHint: source.sizeBytes,
    expected: key,
    complete: async () => undefined,
  });
}
