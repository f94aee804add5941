import type { LocalStore } from "../../../src/blobs/local-store.ts";
import { isSmall, readVerified, verifiedChunks } from "../../../src/blobs/verified.ts";
import { CaskError } from "../../../src/core/errors.ts";
import type { Key } from "../../../src/core/key.ts";
import type { KeyDigest, KeyRange } from "../../../src/core/key-range.ts";
import { BATCHED_BLOB_MAX_BYTES, GET_HEDGE_MS, VOUCH_TIMEOUT_MS } from "../../../src/core/limits.ts";
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
} from "../../../src/peer/peer.ts";
import type { Reached, SimNetwork } from "./sim-network.ts";

/** What a peer needs of the process that it reaches. */
export interface ServingNode extends Reached {
  readonly localStore: LocalStore;
  readonly isWriteable: boolean;
}

export interface SimPeerOptions {
  readonly uuid: string;
  readonly baseUrl: string;
  readonly from: string;
  readonly caller: Reached;
  readonly network: SimNetwork;
  /** The process that has that UUID now; null while there is none. */
  readonly target: () => ServingNode | null;
}

const NOBODY: Reached = { isAlive: () => false, whenAwake: () => undefined };

/** Another node over the simulated network: what http/local.ts and cluster/http-peer.ts do together. */
export class SimPeer implements RemotePeer {
  readonly uuid: string;
  readonly baseUrl: string;
  readonly isGo = false;
  private readonly options: SimPeerOptions;

  constructor(options: SimPeerOptions) {
    this.options = options;
    this.uuid = options.uuid;
    this.baseUrl = options.baseUrl;
  }

  async put(key: Key, source: BlobSource, signal?: AbortSignal): Promise<PutReceipt> {
    const parts: Uint8Array[] = [];
    for await (const chunk of source.read()) parts.push(Buffer.from(chunk));
    const bytes = this.options.network.arrived(Buffer.concat(parts));
    const cutAt = this.options.network.cuts() ? Math.floor(bytes.length / 2) : null;
    return this.call(async (node) => {
      if (!node.isWriteable) throw new CaskError("READ_ONLY", `${this.uuid} takes no new blobs`);
      return node.localStore.put(key, { sizeBytes: bytes.length, read: () => inPieces(bytes, cutAt) });
    }, signal);
  }

  async get(key: Key, range?: ByteRange, signal?: AbortSignal): Promise<BlobBody | null> {
    const answer = await this.call(async (node) => {
      const body = await node.localStore.get(key, range);
      if (!body) return null;
      if (range) return { sizeBytes: body.sizeBytes, bytes: await gather(body.chunks) };
      if (isSmall(body.sizeBytes)) return { sizeBytes: body.sizeBytes, bytes: await readVerified(body, key) };
      return { sizeBytes: body.sizeBytes, bytes: await gather(verifiedChunks(body, key)) };
    }, signal);
    if (!answer) return null;
    const cutAt = this.options.network.cuts() ? Math.floor(answer.bytes.length / 2) : null;
    return {
      sizeBytes: answer.sizeBytes,
      chunks: inPieces(this.options.network.arrived(answer.bytes), cutAt),
      close: () => undefined,
      hashed: async () => undefined,
    };
  }

  /** A node that nobody else asks is not crowded: half of the keys stand for one that is. */
  getTogether(key: Key): Promise<Buffer | null> | null {
    if (Number.parseInt(key.slice(-1), 16) % 2 === 1) return null;
    const { network } = this.options;
    return this.call((node) => node.localStore.readAtOnce(key, GET_HEDGE_MS, BATCHED_BLOB_MAX_BYTES)).then(
      (bytes) => bytes && network.arrived(bytes),
      () => null,
    );
  }

  has(keys: readonly Key[], signal?: AbortSignal): Promise<Holding[]> {
    return this.call((node) => node.localStore.has(keys), signal);
  }

  vouch(request: VouchRequest, sizeBytes: number, signal?: AbortSignal): Promise<Vouch[]> {
    return this.call((node) => node.localStore.vouch(request, sizeBytes), signal, VOUCH_TIMEOUT_MS);
  }

  digests(ranges: readonly KeyRange[], signal?: AbortSignal): Promise<KeyDigest[]> {
    return this.call((node) => node.localStore.digests(ranges), signal);
  }

  keysIn(range: KeyRange, signal?: AbortSignal): Promise<KeysPage> {
    return this.call((node) => node.localStore.keysIn(range), signal);
  }

  async close(): Promise<void> {
    await Promise.resolve();
  }

  private call<T>(serve: (node: ServingNode) => Promise<T>, signal?: AbortSignal, patienceMs?: number): Promise<T> {
    const { network, from, baseUrl, caller, target } = this.options;
    const node = target();
    const ends = {
      from,
      to: baseUrl,
      caller,
      target: node ?? NOBODY,
      ...(patienceMs === undefined ? {} : { patienceMs }),
    };
    return network.call(ends, () => serve(node as ServingNode), signal);
  }
}

async function gather(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const chunk of chunks) parts.push(Buffer.from(chunk));
  return Buffer.concat(parts);
}

async function* inPieces(bytes: Buffer, cutAt: number | null): AsyncGenerator<Uint8Array> {
  const end = cutAt ?? bytes.length;
  for (let at = 0; at < end; at += 65_536) yield bytes.subarray(at, Math.min(end, at + 65_536));
  if (cutAt !== null) throw new CaskError("PEER_FAILED", "the body ended early");
}
