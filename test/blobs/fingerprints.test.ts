import { CopyFingerprints } from "../../src/blobs/copy-fingerprints.ts";
import { PieceFingerprints } from "../../src/blobs/piece-fingerprints.ts";
import { readVerified, verifiedChunks, verify } from "../../src/blobs/verified.ts";
import { FINGERPRINT_BYTES } from "../../src/core/fingerprint.ts";
import { keyOfBytes } from "../../src/core/key.ts";
import {
  FINGERPRINTED_BLOB_LEAST_BYTES,
  FINGERPRINTS_ENTRY_BYTES,
  FINGERPRINTS_MAX_BYTES,
  READ_CHUNK_BYTES,
  READ_LARGE_CHUNK_BYTES,
  WHOLE_BLOB_MAX_BYTES,
} from "../../src/core/limits.ts";
import type { BlobBody, BodyFingerprints } from "../../src/peer/peer.ts";
import type { Seen } from "../../src/storage/backend.ts";
import { bytesOf, collect } from "../support/store-blob.ts";

const LARGE = bytesOf(READ_CHUNK_BYTES + 2 * READ_LARGE_CHUNK_BYTES + 12_345);
/** As a disk gives them: a small piece, large ones, the rest. */
const PIECE_SIZES = [READ_CHUNK_BYTES, READ_LARGE_CHUNK_BYTES, READ_LARGE_CHUNK_BYTES, 12_345];
const KEY = keyOfBytes(LARGE);
const OTHER_KEY = keyOfBytes(Buffer.from("other"));

function fingerprintsOf(bytes: Uint8Array, chunkSizes: readonly number[]): Buffer {
  const pieces = new PieceFingerprints(bytes.length);
  for (const chunk of cut(bytes, chunkSizes)) pieces.add(chunk);
  return pieces.all();
}

function* cut(bytes: Uint8Array, sizes: readonly number[]): Generator<Uint8Array> {
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = sizes[i % sizes.length] as number;
    yield bytes.subarray(at, at + size);
    at += size;
  }
}

describe("PieceFingerprints", () => {
  test("one for each piece, however it is cut into chunks", () => {
    const whole = fingerprintsOf(LARGE, [LARGE.length]);
    expect(whole).toHaveLength(PIECE_SIZES.length * FINGERPRINT_BYTES);
    for (const sizes of [PIECE_SIZES, [READ_CHUNK_BYTES], [100_003], [READ_CHUNK_BYTES, READ_LARGE_CHUNK_BYTES, 7]])
      expect(fingerprintsOf(LARGE, sizes).equals(whole)).toBe(true);
    [...cut(LARGE, PIECE_SIZES)].forEach((piece, i) => {
      const of = whole.subarray(i * FINGERPRINT_BYTES, (i + 1) * FINGERPRINT_BYTES);
      expect(fingerprintsOf(piece, [piece.length]).equals(of)).toBe(true);
    });
  });

  test("a blob that is read whole is one piece; none has none", () => {
    expect(fingerprintsOf(LARGE.subarray(0, WHOLE_BLOB_MAX_BYTES), [300_000])).toHaveLength(FINGERPRINT_BYTES);
    expect(fingerprintsOf(Buffer.alloc(0), [1])).toHaveLength(0);
  });

  test("a piece that is another is found when it is complete", () => {
    const known = fingerprintsOf(LARGE, PIECE_SIZES);
    const bytes = Buffer.from(LARGE);
    const at = READ_CHUNK_BYTES + READ_LARGE_CHUNK_BYTES + 1;
    bytes[at] = (bytes[at] as number) ^ 1;
    const pieces = new PieceFingerprints(bytes.length);
    const found = [...cut(bytes, PIECE_SIZES)].map((chunk) => {
      pieces.add(chunk);
      return pieces.areSame(known);
    });
    expect(found).toEqual([true, true, false, false]);
  });
});

describe("CopyFingerprints", () => {
  const copy = { seen: "one" as unknown as Seen, sizeBytes: FINGERPRINTED_BLOB_LEAST_BYTES };
  const pieces = Buffer.alloc(FINGERPRINT_BYTES, 1);

  test("are those of one copy, until it is another, or they are forgotten", () => {
    const copies = new CopyFingerprints();
    expect(copies.of(KEY, copy)?.known()).toBeNull();
    copies.of(KEY, copy)?.note(pieces);
    expect(copies.of(KEY, copy)?.known()).toBe(pieces);
    expect(copies.of(KEY, { ...copy, seen: "two" as unknown as Seen })?.known()).toBeNull();
    expect(copies.of(OTHER_KEY, copy)?.known()).toBeNull();
    copies.of(KEY, copy)?.forget();
    expect(copies.of(KEY, copy)?.known()).toBeNull();
  });

  test("are not taken of blobs that are hashed as cheaply", () => {
    expect(new CopyFingerprints().of(KEY, { ...copy, sizeBytes: copy.sizeBytes - 1 })).toBeUndefined();
  });

  test("of what was not fetched for longest are forgotten, and of what is too large for all of them never kept", () => {
    const copies = new CopyFingerprints();
    const count = Math.floor(FINGERPRINTS_MAX_BYTES / (FINGERPRINT_BYTES + FINGERPRINTS_ENTRY_BYTES));
    const keys = Array.from({ length: count + 1 }, (_, i) => keyOfBytes(Buffer.from(String(i))));
    for (const key of keys) {
      copies.of(key, copy)?.note(pieces);
      copies.of(keys[0] as typeof KEY, copy)?.known();
    }
    expect(keys.filter((key) => copies.of(key, copy)?.known() === null)).toEqual([keys[1]]);
    copies.of(KEY, copy)?.note(Buffer.alloc(FINGERPRINTS_MAX_BYTES));
    expect(copies.of(KEY, copy)?.known()).toBeNull();
  });
});

describe("a copy with fingerprints", () => {
  let told: string[];
  let noted: Buffer | null;
  beforeEach(() => {
    told = [];
    noted = null;
  });

  function bodyOf(bytes: Uint8Array, sizes: readonly number[] = PIECE_SIZES): BlobBody {
    const fingerprints: BodyFingerprints = {
      known: () => noted,
      note: (pieces) => {
        noted = pieces;
      },
      forget: () => {
        noted = null;
      },
    };
    async function* chunks() {
      yield* cut(bytes, sizes);
    }
    const hashed = async (result: string) => void told.push(result);
    return { sizeBytes: bytes.length, chunks: chunks(), close: () => undefined, hashed, fingerprints };
  }

  test("is hashed the first time, and compared the next: nobody is told then that it was hashed", async () => {
    expect((await collect(verifiedChunks(bodyOf(LARGE), KEY))).equals(LARGE)).toBe(true);
    expect(told).toEqual(["verified"]);
    expect(noted?.equals(fingerprintsOf(LARGE, PIECE_SIZES))).toBe(true);
    expect((await collect(verifiedChunks(bodyOf(LARGE), KEY))).equals(LARGE)).toBe(true);
    expect((await collect(verifiedChunks(bodyOf(LARGE, [READ_CHUNK_BYTES]), KEY))).equals(LARGE)).toBe(true);
    expect(told).toEqual(["verified"]);
    expect((await collect(verifiedChunks(bodyOf(LARGE), OTHER_KEY))).equals(LARGE)).toBe(true); // it was not hashed
  });

  test("that is read whole, too", async () => {
    const bytes = LARGE.subarray(0, 400_000);
    expect((await readVerified(bodyOf(bytes), keyOfBytes(bytes))).equals(bytes)).toBe(true);
    expect((await readVerified(bodyOf(bytes, [1_000]), keyOfBytes(bytes))).equals(bytes)).toBe(true);
    expect(told).toEqual(["verified"]);
    const changed = Buffer.from(bytes).fill(0, 399_999);
    await expect(readVerified(bodyOf(changed), keyOfBytes(bytes))).rejects.toMatchObject({ code: "CORRUPT" });
    expect([told, noted]).toEqual([["verified", "corrupt"], null]);
  });

  test.each([0, 1, 2, 3])("whose piece %i has changed: no byte of that leaves, and it is corrupt", async (changed) => {
    await collect(verifiedChunks(bodyOf(LARGE), KEY));
    const before = PIECE_SIZES.slice(0, changed).reduce((sum, size) => sum + size, 0);
    const bytes = Buffer.from(LARGE);
    bytes[before + 100] = (bytes[before + 100] as number) ^ 0x80;
    let left = 0;
    const fetching = (async () => {
      for await (const chunk of verifiedChunks(bodyOf(bytes), KEY)) left += chunk.length;
    })();
    await expect(fetching).rejects.toMatchObject({ code: "CORRUPT" });
    expect(left).toBe(before);
    expect([told, noted]).toEqual([["verified", "corrupt"], null]);
  });

  test("in small chunks: the last one never leaves when something has changed", async () => {
    await collect(verifiedChunks(bodyOf(LARGE), KEY));
    const bytes = Buffer.from(LARGE);
    bytes[LARGE.length - 12_345] = (bytes[LARGE.length - 12_345] as number) ^ 1;
    let left = 0;
    const fetching = (async () => {
      for await (const chunk of verifiedChunks(bodyOf(bytes, [5_000]), KEY)) left += chunk.length;
    })();
    await expect(fetching).rejects.toMatchObject({ code: "CORRUPT" });
    expect(left).toBeLessThan(LARGE.length);
  });

  test("chunks of no bytes say nothing, wherever they come", async () => {
    const empty = new Uint8Array(0);
    for (const bytes of [empty, LARGE.subarray(0, 400_000)]) {
      noted = null;
      async function* chunks() {
        yield* [empty, bytes, empty, empty];
      }
      const body = { ...bodyOf(bytes), chunks: chunks() };
      expect((await readVerified(body, keyOfBytes(bytes))).equals(bytes)).toBe(true);
    }
  });

  test("that goes on after its size is corrupt, though all before is right", async () => {
    const bytes = LARGE.subarray(0, 400_000);
    const longer = { ...bodyOf(LARGE.subarray(0, 400_001), [400_000]), sizeBytes: 400_000 };
    await expect(readVerified(longer, keyOfBytes(bytes))).rejects.toMatchObject({ code: "CORRUPT" });
    const streamed = { ...bodyOf(LARGE.subarray(0, 400_001), [400_000]), sizeBytes: 400_000 };
    await expect(collect(verifiedChunks(streamed, keyOfBytes(bytes)))).rejects.toMatchObject({ code: "CORRUPT" });
    expect(noted).toBeNull();
  });

  test("of other bytes than its key says is not remembered", async () => {
    await expect(collect(verifiedChunks(bodyOf(LARGE), OTHER_KEY))).rejects.toMatchObject({ code: "CORRUPT" });
    expect([told, noted]).toEqual([["corrupt"], null]);
  });

  test("is hashed by scrub and for vouches, whatever is remembered", async () => {
    noted = fingerprintsOf(LARGE, PIECE_SIZES);
    expect(await verify(bodyOf(LARGE), KEY)).toBe(true);
    expect(await verify(bodyOf(LARGE), OTHER_KEY)).toBe(false);
    expect(told).toEqual(["verified", "corrupt"]);
  });
});
