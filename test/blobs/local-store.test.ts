import { randomBytes } from "node:crypto";
import { LocalStore } from "../../src/blobs/local-store.ts";
import { verifiedChunks } from "../../src/blobs/verified.ts";
import { VerifiedTimes } from "../../src/blobs/verified-times.ts";
import { FINGERPRINT_BYTES } from "../../src/core/fingerprint.ts";
import { type Key, keyOfBytes } from "../../src/core/key.ts";
import { LOCAL_READ_TIMEOUT_MS, VERIFIED_TRUST_MS } from "../../src/core/limits.ts";
import { silentLogger } from "../../src/core/log.ts";
import { SeededRandom } from "../../src/core/random.ts";
import { sourceOfBytes } from "../../src/peer/bytes-source.ts";
import type { BlobBody, BlobSource } from "../../src/peer/peer.ts";
import type { Seen, StoredBlob } from "../../src/storage/backend.ts";
import { Inventory } from "../../src/storage/inventory.ts";
import { MemoryBackend } from "../../src/storage/memory.ts";
import { FakePeer } from "../support/fake-peer.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { collect } from "../support/store-blob.ts";
import { viewOf } from "../support/views.ts";

const SMALL = Buffer.from("kept on this node");
const KEY = keyOfBytes(SMALL);
const LARGE = randomBytes(1_500_000);
const LARGE_KEY = keyOfBytes(LARGE);

/** A backend that can be told to fail or to hang, and whose copies can rot. */
class FaultyBackend extends MemoryBackend {
  trouble: "none" | "failing" | "hanging" = "none";
  reads = 0;

  override async stat(key: Key) {
    return this.unlessTrouble(() => super.stat(key));
  }

  override async get(key: Key): Promise<StoredBlob | null> {
    const blob = await this.unlessTrouble(() => super.get(key));
    if (!blob) return null;
    return {
      ...blob,
      chunks: (start, end) => {
        this.reads++;
        return blob.chunks(start, end);
      },
    };
  }

  /** Without a new `seen`, as a disk rots. */
  rot(key: Key): void {
    const copy = this.copies.get(key);
    if (copy) copy.bytes[copy.bytes.length >> 1] = (copy.bytes[copy.bytes.length >> 1] as number) ^ 1;
  }

  /** As a disk that was closed: at once, without a promise. */
  readAtOnce(): null {
    if (this.trouble === "failing") throw new Error("closed");
    return null;
  }

  vanish(key: Key): void {
    this.copies.delete(key);
  }

  overwrite(key: Key, bytes: Buffer): void {
    this.write(key, bytes);
  }

  private async unlessTrouble<T>(work: () => Promise<T>): Promise<T> {
    if (this.trouble === "failing") throw new Error("EIO");
    if (this.trouble === "hanging") return new Promise<never>(() => undefined);
    return work();
  }
}

function setUp({ writeable = true, incomplete = false, draining = false } = {}) {
  const backend = new FaultyBackend(new SeededRandom(1));
  const clock = new ManualClock();
  const diskAnswers: boolean[] = [];
  const quarantined: Key[] = [];
  const store: LocalStore = new LocalStore({
    uuid: "this-node",
    backend: new Inventory({ inner: backend }),
    verifiedTimes: new VerifiedTimes(),
    isWriteable: () => writeable,
    isIncomplete: () => incomplete,
    isDraining: () => draining,
    onDiskAnswer: (answered) => void diskAnswers.push(answered),
    onQuarantined: (key) => void quarantined.push(key),
    view: () => viewOf({ peers: [store, new FakePeer("b"), new FakePeer("c")] }),
    vouchRefusal: () => null,
    trimGraceMs: 1_000,
    clock,
    log: silentLogger(),
  });
  return { backend, clock, store, diskAnswers, quarantined };
}

function sourceOf(bytes: Buffer): BlobSource {
  return {
    sizeBytes: bytes.length,
    async *read() {
      yield bytes;
    },
  };
}

async function bytesAt(store: LocalStore, key: Key, start: number, end: number): Promise<Buffer> {
  const body = await store.get(key, { start, end });
  if (!body) throw new Error("absent");
  return collect(body.chunks);
}

describe("put", () => {
  test("makes a copy, counted by store, and verified at that time", async () => {
    const { backend, clock, store } = setUp();
    expect(await store.put(KEY, sourceOf(SMALL))).toEqual({ store: backend.store, outcome: "stored" });
    expect(await store.put(KEY, sourceOf(SMALL))).toEqual({ store: backend.store, outcome: "known" });
    expect(await store.has([KEY])).toEqual([
      { state: "present", sizeBytes: SMALL.length, verifiedAtMs: clock.wallMs(), store: backend.store },
    ]);
  });

  test("C7: bytes that do not hash to the named key are refused, and filed under no key at all", async () => {
    const { store } = setUp();
    const rotten = Buffer.from("rotten on this node");
    await expect(store.put(KEY, sourceOf(rotten))).rejects.toMatchObject({ code: "KEY_MISMATCH" });
    expect(await store.has([KEY, keyOfBytes(rotten)])).toMatchObject([{ state: "absent" }, { state: "absent" }]);
  });

  test("C6: a source that breaks off stores nothing, not the hash of its beginning", async () => {
    const { store } = setUp();
    const broken: BlobSource = {
      sizeBytes: 100,
      async *read() {
        yield SMALL;
        throw new Error("EIO");
      },
    };
    await expect(store.put(KEY, broken)).rejects.toBeDefined();
    expect(await store.has([KEY])).toMatchObject([{ state: "absent" }]);
  });

  test("a read-only node refuses", async () => {
    const { store } = setUp({ writeable: false });
    await expect(store.put(KEY, sourceOf(SMALL))).rejects.toMatchObject({ code: "READ_ONLY" });
  });

  test("what is being stored is counted until it ends, well or not", async () => {
    const { store } = setUp();
    for (const end of ["resolve", "reject"] as const) {
      const { promise, ...ends } = Promise.withResolvers<"stored">();
      const committing = store.commitStage(KEY, { commit: () => promise });
      await new Promise((later) => setImmediate(later));
      expect(store.commitsUnderWay).toBe(1);
      if (end === "resolve") ends.resolve("stored");
      else ends.reject(new Error("EIO"));
      await Promise.allSettled([committing]);
      expect(store.commitsUnderWay).toBe(0);
    }
  });

  test("a node that began to be emptied while the blob was on its way takes it no more", async () => {
    const { backend, store } = setUp({ draining: true });
    await expect(store.put(KEY, sourceOf(SMALL))).rejects.toMatchObject({ code: "READ_ONLY" });
    expect([await backend.stat(KEY), store.commitsUnderWay]).toEqual([null, 0]);
  });
});

describe("three answers", () => {
  test("C10: an error of the disk is neither present nor absent", async () => {
    const { backend, store } = setUp();
    backend.trouble = "failing";
    await expect(store.get(KEY)).rejects.toMatchObject({ code: "STORAGE_FAILED" });
    expect(await store.has([KEY])).toMatchObject([{ state: "unknown" }]);
  });

  test("C9, C32: a disk that hangs is don't know after its time, and told to the space watch", async () => {
    const { backend, clock, store, diskAnswers } = setUp();
    backend.trouble = "hanging";
    const expectation = expect(store.get(KEY)).rejects.toMatchObject({ code: "STORAGE_FAILED" });
    const asked = store.has([KEY]);
    await clock.advance(LOCAL_READ_TIMEOUT_MS);
    await expectation;
    expect(await asked).toMatchObject([{ state: "unknown" }]);
    expect(diskAnswers).toEqual([false, false]);
  });

  test("C9: a disk that hangs while a copy is given up is told to the space watch after its time", async () => {
    const { backend, clock, store, diskAnswers } = setUp();
    const { done, value } = { done: false as const, value: LARGE };
    const chunks = { next: async () => ({ done, value }), return: () => new Promise<never>(() => undefined) };
    const blob = { sizeBytes: 2 * LARGE.length, seen: "1" as Seen, close: async () => undefined };
    backend.get = async () => ({ ...blob, chunks: () => ({ [Symbol.asyncIterator]: () => chunks }) });
    const reader = (await store.get(KEY))?.chunks[Symbol.asyncIterator]();
    await reader?.next();
    const expectation = expect(reader?.return?.()).rejects.toMatchObject({ code: "STORAGE_FAILED" });
    await clock.advance(LOCAL_READ_TIMEOUT_MS);
    await expectation;
    expect(diskAnswers.at(-1)).toBe(false);
  });

  test("a large copy that was hashed is known again, until it is another one; one that rots meanwhile is cut, and quarantined", async () => {
    const { backend, store } = setUp();
    await store.put(LARGE_KEY, sourceOf(LARGE));
    const known = async () => {
      const body = await store.get(LARGE_KEY);
      body?.close();
      return body?.fingerprints?.known();
    };
    const fetched = async () => collect(verifiedChunks((await store.get(LARGE_KEY)) as BlobBody, LARGE_KEY));
    expect(await known()).toBeNull();
    expect((await fetched()).equals(LARGE)).toBe(true);
    expect(await known()).toHaveLength(3 * FINGERPRINT_BYTES);
    expect((await fetched()).equals(LARGE)).toBe(true);
    backend.overwrite(LARGE_KEY, Buffer.from(LARGE));
    expect(await known()).toBeNull();
    expect((await fetched()).equals(LARGE)).toBe(true);
    backend.rot(LARGE_KEY);
    await expect(fetched()).rejects.toMatchObject({ code: "CORRUPT" });
    expect(await backend.isQuarantined(LARGE_KEY)).toBe(true);
  });

  test("a copy in quarantine only is don't know", async () => {
    const { backend, store } = setUp();
    await store.put(KEY, sourceOf(SMALL));
    backend.rot(KEY);
    const body = await store.get(KEY);
    if (!body) throw new Error("absent");
    await expect(collect(verifiedChunks(body, KEY))).rejects.toMatchObject({ code: "CORRUPT" });
    await expect(store.get(KEY)).rejects.toMatchObject({ code: "DONT_KNOW" });
    expect(await store.has([KEY])).toMatchObject([{ state: "unknown", lacking: true, wasStored: true }]);
  });

  test("a copy that vanished from the disk is don't know, and so is one that can't be read: it was stored", async () => {
    const { backend, store } = setUp();
    await store.put(KEY, sourceOf(SMALL));
    backend.trouble = "failing";
    expect(await store.has([KEY])).toMatchObject([{ state: "unknown", wasStored: true }]);
    backend.trouble = "none";
    backend.vanish(KEY);
    for (let i = 0; i < 2; i++) {
      await expect(store.get(KEY)).rejects.toMatchObject({
        code: "DONT_KNOW",
        message: expect.stringContaining("has vanished from the disk"),
      });
      expect(await store.has([KEY])).toMatchObject([{ state: "unknown", lacking: true, wasStored: true }]);
    }
    expect(await store.has([LARGE_KEY])).toMatchObject([{ state: "absent" }]);
  });

  test("absence on a node with a new data folder is don't know", async () => {
    const { store } = setUp({ incomplete: true });
    await expect(store.get(KEY)).rejects.toMatchObject({ code: "DONT_KNOW" });
    expect(await store.has([KEY])).toEqual([{ state: "unknown", reason: expect.any(String), lacking: true }]);
    await store.put(KEY, sourceOf(SMALL));
    expect(await store.has([KEY])).toMatchObject([{ state: "present" }]);
  });
});

describe("C4: a range of a large blob", () => {
  test("comes from a verified copy, without reading it again", async () => {
    const { backend, store } = setUp();
    await store.put(LARGE_KEY, sourceOf(LARGE));
    expect((await bytesAt(store, LARGE_KEY, 1_000_000, 1_000_009)).equals(LARGE.subarray(1_000_000, 1_000_010))).toBe(
      true,
    );
    expect(backend.reads).toBe(1);
  });

  test("is verified first when the last verification is too old, once for many at the same time", async () => {
    const { backend, clock, store } = setUp();
    await store.put(LARGE_KEY, sourceOf(LARGE));
    await clock.advance(VERIFIED_TRUST_MS);
    await Promise.all(Array.from({ length: 5 }, () => bytesAt(store, LARGE_KEY, 5, 9)));
    expect(backend.reads).toBe(1 + 5);
  });

  test("of a rotten copy is refused, and the copy quarantined", async () => {
    const { backend, clock, store } = setUp();
    await store.put(LARGE_KEY, sourceOf(LARGE));
    backend.rot(LARGE_KEY);
    await clock.advance(VERIFIED_TRUST_MS);
    await expect(bytesAt(store, LARGE_KEY, 5, 9)).rejects.toMatchObject({ code: "CORRUPT" });
    expect(await backend.isQuarantined(LARGE_KEY)).toBe(true);
  });

  test("of a copy that was overwritten since is verified again", async () => {
    const { backend, store } = setUp();
    await store.put(LARGE_KEY, sourceOf(LARGE));
    backend.overwrite(LARGE_KEY, Buffer.concat([LARGE.subarray(1), Buffer.from("x")]));
    await expect(bytesAt(store, LARGE_KEY, 5, 9)).rejects.toMatchObject({ code: "CORRUPT" });
  });

  test("outside the blob: BAD_RANGE", async () => {
    const { store } = setUp();
    await store.put(LARGE_KEY, sourceOf(LARGE));
    await expect(store.get(LARGE_KEY, { start: 0, end: LARGE.length })).rejects.toMatchObject({ code: "BAD_RANGE" });
  });
});

test("VerifiedTimes forgets the oldest beyond its bound", () => {
  const times = new VerifiedTimes();
  const seen = "1" as never;
  const keys = Array.from({ length: 100_001 }, (_, i) => `sha1:${i.toString(16).padStart(40, "0")}` as Key);
  for (const key of keys) times.note(key, seen, 7);
  expect(times.at(keys[0] as Key, seen)).toBeNull();
  expect(times.at(keys[1] as Key, seen)).toBe(7);
  times.note("sha1:new" as Key, seen, 8); // to have been asked about made that one no younger
  expect(times.at(keys[1] as Key, seen)).toBeNull();
});

describe("a copy that comes from a slow node", () => {
  const slowly = (clock: ManualClock, pauseMs: number): BlobSource => ({
    sizeBytes: LARGE.length,
    async *read() {
      for (let at = 0; at < LARGE.length; at += 100_000) {
        await clock.sleep(pauseMs);
        yield LARGE.subarray(at, at + 100_000);
      }
    },
  });

  test("is stored, and is not the own disk's fault: the source has deadlines of its own", async () => {
    const { store, clock, diskAnswers } = setUp();
    const storing = store.put(LARGE_KEY, slowly(clock, 2_000));
    storing.catch(() => undefined);
    for (let i = 0; i < 20; i++) await clock.advance(2_000);
    expect(await storing).toMatchObject({ outcome: "stored" });
    expect(diskAnswers).not.toContain(false);
  });

  test("C9: a disk that hangs while it is written is still given up after its time", async () => {
    const { store, clock, backend, diskAnswers } = setUp();
    backend.stage = async () => {
      const stage = await MemoryBackend.prototype.stage.call(backend);
      stage.write = () => new Promise(() => undefined);
      return stage;
    };
    const storing = expect(store.put(LARGE_KEY, slowly(clock, 10))).rejects.toMatchObject({ code: "STORAGE_FAILED" });
    for (let i = 0; i < 10; i++) await clock.advance(1_000);
    await storing;
    expect(diskAnswers).toContain(false);
  });
});

describe("a copy that comes in memory", () => {
  test("is stored, with bytes of its own", async () => {
    const { store, backend } = setUp();
    const bytes = Buffer.from(SMALL);
    const given: unknown[] = [];
    backend.stage = async () => {
      const stage = await MemoryBackend.prototype.stage.call(backend);
      const write = stage.write.bind(stage);
      stage.write = async (chunk, isGiven) => {
        given.push(isGiven);
        return write(chunk, isGiven);
      };
      return stage;
    };
    expect(await store.put(KEY, sourceOfBytes(bytes))).toMatchObject({ outcome: "stored" });
    bytes.fill(0);
    const stored = await backend.get(KEY);
    expect(stored && (await collect(stored.chunks())).equals(SMALL)).toBe(true);
    expect(given).toEqual([false]); // a backend that keeps what is given to it would see the zeros
  });

  test("C7: is hashed; what is not its key's leaves nothing behind", async () => {
    const { store, backend } = setUp();
    let stagedCount = 0;
    backend.stage = async () => {
      stagedCount++;
      return MemoryBackend.prototype.stage.call(backend);
    };
    await expect(store.put(LARGE_KEY, sourceOfBytes(SMALL))).rejects.toMatchObject({ code: "KEY_MISMATCH" });
    expect(stagedCount).toBe(0);
  });

  test.each(["stage", "write"])(
    "C9: a disk that hangs in %s is given up after its time, and so is the stage, once there is one",
    async (call) => {
      const { store, clock, backend, diskAnswers } = setUp();
      const hanging = Promise.withResolvers<void>();
      const aborted: string[] = [];
      backend.stage = async () => {
        const stage = await MemoryBackend.prototype.stage.call(backend);
        if (call === "stage") await hanging.promise;
        if (call === "write") stage.write = () => hanging.promise;
        stage.abort = async () => void aborted.push("stage");
        return stage;
      };
      const storing = expect(store.put(KEY, sourceOfBytes(SMALL))).rejects.toMatchObject({ code: "STORAGE_FAILED" });
      for (let i = 0; i < 10; i++) await clock.advance(1_000);
      await storing;
      expect(diskAnswers).toContain(false);
      hanging.resolve();
      await new Promise((later) => setImmediate(later));
      expect(aborted).toEqual(["stage"]);
      expect(await backend.stat(KEY)).toBeNull();
    },
  );

  test("a write that fails gives up the stage", async () => {
    const { store, backend } = setUp();
    const aborted: string[] = [];
    backend.stage = async () => {
      const stage = await MemoryBackend.prototype.stage.call(backend);
      stage.write = () => Promise.reject(new Error("EIO"));
      stage.abort = async () => void aborted.push("stage");
      return stage;
    };
    await expect(store.put(KEY, sourceOfBytes(SMALL))).rejects.toMatchObject({ code: "STORAGE_FAILED" });
    expect(aborted).toEqual(["stage"]);
  });
});

test("a disk that refuses a read at once says nothing about the copy", async () => {
  const { backend, store } = setUp();
  backend.trouble = "failing";
  expect(await store.readAtOnce(KEY, 1)).toBeNull();
});
