import { BlobCache } from "../../src/blobs/blob-cache.ts";
import { Put, type Upload } from "../../src/blobs/put.ts";
import { CaskError } from "../../src/core/errors.ts";
import { keyOfBytes } from "../../src/core/key.ts";
import { SeededRandom } from "../../src/core/random.ts";
import { MemoryBackend } from "../../src/storage/memory.ts";
import { FakePeer } from "../support/fake-peer.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { type ViewOptions, viewOf } from "../support/views.ts";

const MAX_BYTES = 100;
const BYTES = Buffer.from("an upload");
const KEY = keyOfBytes(BYTES);

function setUp({
  isLow = false,
  noRoom = false,
  ...options
}: Partial<ViewOptions> & { isLow?: boolean; noRoom?: boolean } = {}) {
  const peers = [new FakePeer("n0"), new FakePeer("n1"), new FakePeer("n2")];
  const backend = new MemoryBackend(new SeededRandom(1));
  const stages = { open: 0 };
  const cache = new BlobCache(2 ** 20);
  const put = new Put({
    view: () => viewOf({ peers, replication: 2, ...options }),
    backend: {
      store: backend.store,
      stage: async () => {
        stages.open++;
        const stage = await backend.stage();
        const abort = stage.abort.bind(stage);
        stage.abort = () => {
          stages.open--;
          return abort();
        };
        return stage;
      },
    },
    space: {
      isLow,
      admit: async () => {
        if (noRoom) throw new CaskError("NO_SPACE", "no room");
      },
    },
    cache,
    maxUploadBytes: MAX_BYTES,
    clock: new ManualClock(),
  });
  return { peers, put, stages, cache };
}

function upload(bytes: Buffer, more: Partial<Upload> = {}): Upload & { readonly taken: () => number } {
  let taken = 0;
  const chunks = (async function* () {
    for (let at = 0; at < bytes.length; at += 10) {
      taken++;
      yield bytes.subarray(at, at + 10);
    }
  })();
  const complete = async () => undefined;
  return { chunks, sizeBytes: bytes.length, expected: undefined, complete, taken: () => taken, ...more };
}

test("answers the key and the copies, and lets go of the stage", async () => {
  const { put, peers, stages } = setUp();
  expect(await put.put(upload(BYTES))).toMatchObject({ key: KEY, success: true, wanted: 2, isNew: true });
  expect(peers.map((peer) => peer.blobs.has(KEY))).toEqual([true, true, false]);
  expect(stages.open).toBe(0);
});

describe("refused before a byte of the body is taken", () => {
  test.each([
    ["announced as too large", {}, MAX_BYTES + 1, "TOO_LARGE"],
    ["no room for it here (C11)", { noRoom: true }, 10, "NO_SPACE"],
    ["nobody takes new blobs", { readOnly: ["n0", "n1", "n2"] }, 10, "READ_ONLY"],
    ["nobody takes new blobs, for want of space", { readOnly: ["n0", "n1", "n2"], isLow: true }, 10, "NO_SPACE"],
  ])("%s", async (_name, options, sizeBytes, code) => {
    const { put, stages } = setUp(options);
    const given = upload(Buffer.alloc(10), { sizeBytes });
    await expect(put.put(given)).rejects.toMatchObject({ code });
    expect([given.taken(), stages.open]).toEqual([0, 0]);
  });
});

describe("refused with nothing stored and no stage left", () => {
  const broken = async function* () {
    yield BYTES;
    throw new CaskError("STALLED", "slow");
  };
  const cases: Array<[string, Upload, string]> = [
    ["C44: one that turns out too large", upload(Buffer.alloc(MAX_BYTES + 1), { sizeBytes: undefined }), "TOO_LARGE"],
    ["C7: other bytes than named", upload(BYTES, { expected: keyOfBytes(Buffer.from("x")) }), "KEY_MISMATCH"],
    ["C6: one that breaks off", upload(BYTES, { chunks: broken() }), "STALLED"],
    [
      "C43: one whose request turns out malformed after the file",
      upload(BYTES, { complete: () => Promise.reject(new CaskError("BAD_REQUEST", "rubbish")) }),
      "BAD_REQUEST",
    ],
  ];
  test.each(cases)("%s", async (_name, given, code) => {
    const { put, peers, stages } = setUp();
    await expect(put.put(given)).rejects.toMatchObject({ code });
    expect(peers.map((peer) => peer.puts)).toEqual([0, 0, 0]);
    expect(stages.open).toBe(0);
  });
});

test("C20: too few copies is an answer with counts, not an acknowledgement", async () => {
  const { put, peers } = setUp();
  for (const peer of peers.slice(1)) peer.onPut = "failing";
  const result = await put.put(upload(BYTES));
  expect(result).toMatchObject({ key: KEY, success: false, wanted: 2 });
  expect(result.copies).toHaveLength(1);
});

describe("the cache", () => {
  test("has what was stored with success, and not what was refused or has too few copies", async () => {
    const { put, cache, peers } = setUp();
    await put.put(upload(BYTES));
    expect(cache.get(KEY)).toEqual(BYTES);
    const other = Buffer.from("another upload");
    for (const peer of peers) peer.onPut = "failing";
    expect(await put.put(upload(other))).toMatchObject({ success: false });
    expect(cache.get(keyOfBytes(other))).toBeUndefined();
  });
});
