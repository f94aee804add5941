import { CaskError } from "../../src/core/errors.ts";
import type { Key } from "../../src/core/key.ts";
import { isInRange, type KeyDigest, type KeyRange } from "../../src/core/key-range.ts";
import type { PiecePool } from "../../src/core/piece-pool.ts";
import type {
  BlobBody,
  BlobSource,
  ByteRange,
  Holding,
  KeysPage,
  PutReceipt,
  RemotePeer,
  Vouch,
  VouchRequest,
} from "../../src/peer/peer.ts";
import { KeyTable } from "../../src/storage/key-table.ts";

export type Behaviour = "good" | "absent" | "failing" | "hanging" | "corrupt";

/** A peer in memory that can be told to fail in any of the ways in which a real one does. */
export class FakePeer implements RemotePeer {
  readonly uuid: string;
  isGo = false;
  readonly blobs = new Map<string, Buffer>();
  store: string;
  onGet: Behaviour = "good";
  /** What it sends comes in one piece of this pool, as from a disk. */
  pool: PiecePool | undefined;
  onPut: "good" | "failing" | "hanging" | "collision" | "no-space" = "good";
  onHas: "good" | "failing" | "hanging" | "unknown" | "quarantined" = "good";
  gets = 0;
  /** What is fetched with others; "alone": nothing is. */
  onGetTogether: Behaviour | "alone" = "alone";
  gotTogether = 0;
  puts = 0;
  asks = 0;
  readonly hashResults: string[] = [];

  readonly baseUrl: string;
  onVouch: (key: Key) => Vouch = (key) =>
    this.blobs.has(key) ? { vouched: true, store: this.store } : { vouched: false, reason: "has no copy" };
  readonly vouchRequests: VouchRequest[] = [];

  constructor(uuid: string, baseUrl = `http://${uuid}`) {
    this.uuid = uuid;
    this.baseUrl = baseUrl;
    this.store = `store of ${uuid}`;
  }

  async put(key: Key, source: BlobSource, signal?: AbortSignal): Promise<PutReceipt> {
    this.puts++;
    if (this.onPut === "hanging") await hang(signal);
    if (this.onPut === "failing") throw new CaskError("PEER_FAILED", `${this.uuid} is broken`);
    if (this.onPut === "no-space") throw new CaskError("NO_SPACE", `${this.uuid} is full`);
    if (this.onPut === "collision") throw new CaskError("KEY_COLLISION", "other bytes are there");
    const parts: Uint8Array[] = [];
    for await (const chunk of source.read()) parts.push(chunk);
    const outcome = this.blobs.has(key) ? "known" : "stored";
    this.blobs.set(key, Buffer.concat(parts));
    return { store: this.store, outcome };
  }

  async get(key: Key, range?: ByteRange, signal?: AbortSignal): Promise<BlobBody | null> {
    this.gets++;
    if (this.onGet === "hanging") await hang(signal);
    if (this.onGet === "failing") throw new CaskError("PEER_FAILED", `${this.uuid} is broken`);
    const bytes = this.blobs.get(key);
    if (!bytes || this.onGet === "absent") return null;
    const wrong = Buffer.from(bytes);
    if (this.onGet === "corrupt") wrong[wrong.length - 1] = (wrong.at(-1) as number) ^ 1;
    const sent = range ? wrong.subarray(range.start, range.end + 1) : wrong;
    return {
      sizeBytes: bytes.length,
      chunks: this.pool ? inPiece(this.pool, sent) : inChunks(sent),
      close: () => undefined,
      hashed: async (result) => void this.hashResults.push(result),
    };
  }

  getTogether(key: Key): Promise<Buffer | null> | null {
    if (this.onGetTogether === "alone") return null;
    this.gotTogether++;
    if (this.onGetTogether === "hanging") return new Promise(() => undefined);
    const bytes = this.blobs.get(key);
    if (!bytes || this.onGetTogether !== "good")
      return Promise.resolve(this.onGetTogether === "corrupt" ? Buffer.from("others") : null);
    return Promise.resolve(bytes);
  }

  async has(keys: readonly Key[], signal?: AbortSignal): Promise<Holding[]> {
    this.asks++;
    if (this.onHas === "hanging") await hang(signal);
    if (this.onHas === "failing") throw new CaskError("PEER_FAILED", `${this.uuid} is broken`);
    if (this.onHas === "quarantined")
      return keys.map(() => ({ state: "unknown", reason: "in quarantine", lacking: true, wasStored: true }));
    if (this.onHas === "unknown") return keys.map(() => ({ state: "unknown", reason: "told to" }));
    return keys.map((key) => {
      const bytes = this.blobs.get(key);
      if (!bytes) return { state: "absent" };
      return { state: "present", sizeBytes: bytes.length, verifiedAtMs: null, store: this.store };
    });
  }

  async vouch(request: VouchRequest): Promise<Vouch[]> {
    this.vouchRequests.push(request);
    return request.keys.map((key) => this.onVouch(key));
  }

  async digests(ranges: readonly KeyRange[]): Promise<KeyDigest[]> {
    this.asks++;
    if (this.onHas === "failing") throw new CaskError("PEER_FAILED", `${this.uuid} is broken`);
    return ranges.map((range) => this.table().digest(range));
  }

  async keysIn(range: KeyRange): Promise<KeysPage> {
    this.asks++;
    return { keys: ([...this.blobs.keys()] as Key[]).filter((key) => isInRange(key, range)).sort(), more: false };
  }

  async close(): Promise<void> {
    await Promise.resolve();
  }

  private table(): KeyTable {
    const table = new KeyTable();
    for (const key of this.blobs.keys()) table.insert(key as Key);
    return table;
  }
}

async function* inPiece(pool: PiecePool, bytes: Buffer): AsyncGenerator<Uint8Array> {
  const piece = pool.take();
  if (!piece) throw new Error("a piece was not recycled");
  bytes.copy(piece);
  yield piece.subarray(0, bytes.length);
}

async function* inChunks(bytes: Buffer): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536);
}

function hang(signal?: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal?.aborted) reject(signal.reason);
    signal?.addEventListener("abort", () => reject(signal.reason));
  });
}
