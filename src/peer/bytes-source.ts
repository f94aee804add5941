import type { BlobSource } from "./peer.ts";

/** A small blob that is in memory anyway. */
export function sourceOfBytes(bytes: Uint8Array): BlobSource {
  return {
    sizeBytes: bytes.length,
    inMemory: () => bytes,
    async *read() {
      yield bytes;
    },
  };
}
