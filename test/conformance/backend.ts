import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Key, keyOfBytes, keyOfHex } from "../../src/core/key.ts";
import { WHOLE_BLOB_MAX_BYTES } from "../../src/core/limits.ts";
import { PiecePool, recycle } from "../../src/core/piece-pool.ts";
import type { Backend, Stat } from "../../src/storage/backend.ts";
import { bytesOf, collect, fetchBlob, listKeys, readAndClose, storeBlob } from "../support/store-blob.ts";

export interface BackendUnderTest {
  readonly backend: Backend;
  /** Puts other bytes in the place of a copy, or of none, behind the backend's back. Missing where a test can't do that. */
  readonly damage?: (key: Key, bytes: Uint8Array) => Promise<void>;
  /** Nothing but the bytes themselves tells that a copy was damaged: it looks as it did until it is read. */
  readonly damageIsHidden?: boolean;
}

const ABSENT = keyOfHex("0123456789abcdef0123456789abcdef01234567");
const COLLIDING = ["good.pdf", "bad.pdf"].map((name) =>
  readFileSync(join(__dirname, "../fixtures/sha1-collision", name)),
) as [Buffer, Buffer];
const SIZES = [
  0,
  1,
  2,
  4095,
  4096,
  65_537,
  WHOLE_BLOB_MAX_BYTES - 1,
  WHOLE_BLOB_MAX_BYTES,
  WHOLE_BLOB_MAX_BYTES + 1,
  3 * WHOLE_BLOB_MAX_BYTES + 17,
];

/** The contract of `Backend`, executable. Every backend, wrapper and fake passes it. */
export function backendConformance(name: string, make: () => Promise<BackendUnderTest>): void {
  describe(`backend contract: ${name}`, () => {
    let backend: Backend;
    let damage: BackendUnderTest["damage"];
    let damageIsHidden: BackendUnderTest["damageIsHidden"];

    beforeEach(async () => {
      const made = await make();
      backend = made.backend;
      damage = made.damage;
      damageIsHidden = made.damageIsHidden;
    });

    afterEach(() => backend.close());

    async function seenOf(key: Key): Promise<Stat> {
      const stat = await backend.stat(key);
      if (!stat) throw new Error(`${key} is absent`);
      return stat;
    }

    describe("an empty store", () => {
      test("has nothing, and says so without an error", async () => {
        expect(await backend.get(ABSENT)).toBeNull();
        expect(await backend.stat(ABSENT)).toBeNull();
        expect(await listKeys(backend)).toEqual([]);
        expect(await backend.isQuarantined(ABSENT)).toBe(false);
        expect(await backend.quarantinedCount()).toBe(0);
        expect(backend.store).toMatch(/^[0-9a-f]{8,}$/);
      });

      test("knows its free space, or says that there is no such figure", async () => {
        const { freeBytes, totalBytes } = await backend.space();
        if (freeBytes !== null) expect(freeBytes).toBeGreaterThanOrEqual(0);
        if (totalBytes !== null) expect(totalBytes).toBeGreaterThan(freeBytes ?? 0);
      });
    });

    describe("put and get", () => {
      test.each(SIZES)("%i bytes come back as they were", async (sizeBytes) => {
        const bytes = bytesOf(sizeBytes, sizeBytes + 1);
        const { key, outcome } = await storeBlob(backend, bytes);
        expect(outcome).toBe("stored");
        expect((await fetchBlob(backend, key))?.equals(bytes)).toBe(true);
        expect(await backend.stat(key)).toMatchObject({ sizeBytes });
        expect(await listKeys(backend)).toEqual([key]);
      });

      test("chunks that are given, which need no copy: one, several, parts of larger memory, an empty one", async () => {
        const bytes = bytesOf(40_000, 4);
        const alone = (from: number, to: number) => Uint8Array.from(bytes.subarray(from, to));
        const ways = [
          [alone(0, 40_000)],
          [alone(0, 10_000), alone(10_000, 40_000)],
          [bytes.subarray(0, 30_000), alone(30_000, 40_000)],
          [new Uint8Array(0), alone(0, 40_000)],
        ];
        const key = keyOfBytes(bytes);
        for (const chunks of ways) {
          const stage = await backend.stage();
          for (const chunk of chunks) await stage.write(chunk, true);
          expect(stage.sizeBytes).toBe(bytes.length);
          await stage.commit(key);
          await stage.abort();
          expect((await fetchBlob(backend, key))?.equals(bytes)).toBe(true);
          await backend.delete(key, ((await backend.stat(key)) as Stat).seen);
        }
      });

      test("pieces of a pool, which are used again when nobody has them: one, more than one, a small one, too many for memory", async () => {
        const pool = new PiecePool(2 ** 20, 2, { aligned: true });
        for (const sizes of [[300_001], [2 ** 20], [300_001, 5_000], [300_001, 2 ** 20], [5_000]]) {
          const bytes = bytesOf(
            sizes.reduce((sum, size) => sum + size),
            5,
          );
          const key = keyOfBytes(bytes);
          const stage = await backend.stage();
          for (const size of sizes) {
            const piece = pool.take() as Buffer;
            piece.set(bytes.subarray(stage.sizeBytes, stage.sizeBytes + size));
            await stage.write(piece.subarray(0, size));
            recycle(piece);
          }
          await stage.commit(key);
          expect((await collect(stage.read())).equals(bytes)).toBe(true);
          await stage.abort();
          const free = [pool.take(), pool.take()];
          for (const piece of free) {
            piece?.fill(0);
            recycle(piece as Buffer);
          }
          expect(free).not.toContain(null);
          expect((await fetchBlob(backend, key))?.equals(bytes)).toBe(true);
          await backend.delete(key, ((await backend.stat(key)) as Stat).seen);
        }
      });

      test("many small chunks, from a buffer that is used again", async () => {
        const bytes = bytesOf(40_000, 3);
        const stage = await backend.stage();
        const reused = Buffer.alloc(37);
        for (let at = 0; at < bytes.length; at += reused.length) {
          const length = bytes.copy(reused, 0, at);
          await stage.write(reused.subarray(0, length));
          reused.fill(0);
        }
        const key = keyOfBytes(bytes);
        expect(await stage.commit(key)).toBe("stored");
        await stage.abort();
        expect((await fetchBlob(backend, key))?.equals(bytes)).toBe(true);
      });

      test.each([10, WHOLE_BLOB_MAX_BYTES + 1000])("ranges of %i bytes", async (sizeBytes) => {
        const bytes = bytesOf(sizeBytes, 5);
        const { key } = await storeBlob(backend, bytes);
        const last = sizeBytes - 1;
        for (const [start, end] of [
          [0, 0],
          [0, last],
          [last, last],
          [3, 7],
          [sizeBytes - 5, last],
        ] as const) {
          const blob = await backend.get(key);
          expect((await readAndClose(blob as never, start, end)).equals(bytes.subarray(start, end + 1))).toBe(true);
        }
      });

      test("an open copy can be read twice, by two at a time, and in part", async () => {
        const bytes = bytesOf(2 * WHOLE_BLOB_MAX_BYTES, 6);
        const { key } = await storeBlob(backend, bytes);
        const blob = await backend.get(key);
        if (!blob) throw new Error("absent");
        for await (const chunk of blob.chunks()) {
          expect(chunk.length).toBeGreaterThan(0);
          break;
        }
        const [one, two] = await Promise.all([collect(blob.chunks()), collect(blob.chunks(5))]);
        expect(one.equals(bytes)).toBe(true);
        expect(two.equals(bytes.subarray(5))).toBe(true);
        expect((await collect(blob.chunks(1, 2))).equals(bytes.subarray(1, 3))).toBe(true);
        await blob.close();
        await blob.close();
      });

      test("a range beyond the end rejects", async () => {
        const { key } = await storeBlob(backend, bytesOf(10));
        const blob = await backend.get(key);
        await expect(collect(blob?.chunks(5, 20) as never)).rejects.toMatchObject({ code: "STORAGE_FAILED" });
        await blob?.close();
      });
    });

    describe("double and parallel puts", () => {
      test.each([100, WHOLE_BLOB_MAX_BYTES + 5])("the second put of %i bytes is known", async (sizeBytes) => {
        const bytes = bytesOf(sizeBytes);
        const { key } = await storeBlob(backend, bytes);
        const before = await seenOf(key);
        expect((await storeBlob(backend, bytes)).outcome).toBe("known");
        expect(await seenOf(key)).toEqual(before);
        expect(await listKeys(backend)).toEqual([key]);
      });

      test("of parallel puts of one key one stores, the others find it known", async () => {
        const bytes = bytesOf(200_000, 8);
        const outcomes = await Promise.all(Array.from({ length: 12 }, () => storeBlob(backend, bytes)));
        expect(outcomes.map((each) => each.outcome).sort()).toEqual([...Array(11).fill("known"), "stored"]);
        expect((await fetchBlob(backend, keyOfBytes(bytes)))?.equals(bytes)).toBe(true);
      });

      test("put, delete and read of one key at the same time: whole bytes or nothing", async () => {
        const bytes = bytesOf(300_000, 9);
        const key = keyOfBytes(bytes);
        const puts = Array.from({ length: 15 }, () => storeBlob(backend, bytes));
        const deletes = Array.from({ length: 15 }, async () => {
          const stat = await backend.stat(key);
          return stat ? backend.delete(key, stat.seen) : false;
        });
        const reads = Array.from({ length: 15 }, () => fetchBlob(backend, key));
        for (const read of await Promise.all(reads)) expect(read === null || read.equals(bytes)).toBe(true);
        await Promise.all([...puts, ...deletes]);
        const last = await fetchBlob(backend, key);
        expect(last === null || last.equals(bytes)).toBe(true);
      });
    });

    describe("stages", () => {
      test("nothing is visible before the commit", async () => {
        const bytes = bytesOf(WHOLE_BLOB_MAX_BYTES * 2);
        const stage = await backend.stage();
        await stage.write(bytes);
        expect(stage.sizeBytes).toBe(bytes.length);
        expect(await listKeys(backend)).toEqual([]);
        expect(await backend.get(keyOfBytes(bytes))).toBeNull();
        await stage.abort();
      });

      test.each([0, 1000, WHOLE_BLOB_MAX_BYTES + 1000])(
        "%i bytes can be read before, during and after the commit",
        async (size) => {
          const bytes = bytesOf(size, 11);
          const stage = await backend.stage(size);
          for (let at = 0; at < size; at += 70_000) await stage.write(bytes.subarray(at, at + 70_000));
          const [one, two] = await Promise.all([collect(stage.read()), collect(stage.read())]);
          expect(one.equals(bytes) && two.equals(bytes)).toBe(true);
          const [during] = await Promise.all([collect(stage.read()), stage.commit(keyOfBytes(bytes))]);
          expect(during.equals(bytes)).toBe(true);
          expect((await collect(stage.read())).equals(bytes)).toBe(true);
          await stage.abort();
        },
      );

      test("a committed stage whose copy was deleted can still be read", async () => {
        const bytes = bytesOf(WHOLE_BLOB_MAX_BYTES + 1000, 12);
        const key = keyOfBytes(bytes);
        const stage = await backend.stage();
        await stage.write(bytes);
        await stage.commit(key);
        await backend.delete(key, (await seenOf(key)).seen);
        expect((await collect(stage.read())).equals(bytes)).toBe(true);
        await stage.abort();
      });

      test("abort: nothing stays, twice is fine, and the stage is of no use afterwards", async () => {
        const bytes = bytesOf(WHOLE_BLOB_MAX_BYTES + 1, 13);
        const stage = await backend.stage(bytes.length);
        await stage.write(bytes);
        await Promise.all([stage.abort(), stage.abort()]);
        await stage.abort();
        await expect(stage.write(bytes)).rejects.toMatchObject({ code: "STORAGE_FAILED" });
        await expect(stage.commit(keyOfBytes(bytes))).rejects.toMatchObject({ code: "STORAGE_FAILED" });
        await expect(collect(stage.read())).rejects.toMatchObject({ code: "STORAGE_FAILED" });
        expect(await backend.get(keyOfBytes(bytes))).toBeNull();
      });

      test("abort after a commit leaves the copy", async () => {
        const bytes = bytesOf(5000, 14);
        const { key } = await storeBlob(backend, bytes);
        expect((await fetchBlob(backend, key))?.equals(bytes)).toBe(true);
      });

      test("abort while the commit runs: the commit ends as it would have", async () => {
        const bytes = bytesOf(WHOLE_BLOB_MAX_BYTES + 7, 15);
        const stage = await backend.stage();
        await stage.write(bytes);
        const [outcome] = await Promise.all([stage.commit(keyOfBytes(bytes)), stage.abort()]);
        expect(outcome).toBe("stored");
        expect((await fetchBlob(backend, keyOfBytes(bytes)))?.equals(bytes)).toBe(true);
      });

      test("a stage is committed once", async () => {
        const bytes = bytesOf(10);
        const stage = await backend.stage();
        await stage.write(bytes);
        await stage.commit(keyOfBytes(bytes));
        await expect(stage.commit(keyOfBytes(bytes))).rejects.toMatchObject({ code: "STORAGE_FAILED" });
        await stage.abort();
      });

      // Go Cask stored the hash of what it had read before the error.
      test("C6: a source that fails half-way leaves nothing", async () => {
        const bytes = bytesOf(WHOLE_BLOB_MAX_BYTES + 1, 16);
        const source = async function* () {
          yield bytes.subarray(0, 1000);
          yield bytes.subarray(1000, WHOLE_BLOB_MAX_BYTES + 1);
          throw new Error("the source failed");
        };
        const stage = await backend.stage(2 * bytes.length);
        const copying = (async () => {
          for await (const chunk of source()) await stage.write(chunk);
        })();
        await expect(copying).rejects.toThrow("the source failed");
        await stage.abort();
        expect(await listKeys(backend)).toEqual([]);
        expect(await backend.get(keyOfBytes(bytes))).toBeNull();
        expect(await backend.get(keyOfBytes(bytes.subarray(0, 1000)))).toBeNull();
      });
    });

    describe("delete and quarantine", () => {
      test("delete: gone, then false, then it can be stored again", async () => {
        const bytes = bytesOf(5000, 20);
        const { key } = await storeBlob(backend, bytes);
        const { seen } = await seenOf(key);
        expect(await backend.delete(key, seen)).toBe(true);
        expect(await backend.get(key)).toBeNull();
        expect(await backend.stat(key)).toBeNull();
        expect(await listKeys(backend)).toEqual([]);
        expect(await backend.delete(key, seen)).toBe(false);
        expect((await storeBlob(backend, bytes)).outcome).toBe("stored");
      });

      test("what was seen before a newer copy neither deletes nor quarantines it", async () => {
        const bytes = bytesOf(5000, 21);
        const { key } = await storeBlob(backend, bytes);
        const first = (await seenOf(key)).seen;
        do {
          // On old kernels file times move every few milliseconds, and inodes are used again at once.
          await backend.delete(key, (await seenOf(key)).seen);
          await storeBlob(backend, bytes);
        } while ((await seenOf(key)).seen === first);
        expect(await backend.delete(key, first)).toBe(false);
        expect(await backend.quarantine(key, first)).toBe(false);
        expect((await fetchBlob(backend, key))?.equals(bytes)).toBe(true);
        expect(await backend.isQuarantined(key)).toBe(false);
      });

      test("quarantine: out of sight, remembered, and it can be stored again", async () => {
        const bytes = bytesOf(5000, 22);
        const { key } = await storeBlob(backend, bytes);
        const { seen } = await seenOf(key);
        expect(await backend.quarantine(key, seen)).toBe(true);
        expect(await backend.get(key)).toBeNull();
        expect(await listKeys(backend)).toEqual([]);
        expect([await backend.isQuarantined(key), await backend.quarantinedCount()]).toEqual([true, 1]);
        expect(await backend.quarantine(key, seen)).toBe(false);
        expect((await storeBlob(backend, bytes)).outcome).toBe("stored");
        await backend.quarantine(key, (await seenOf(key)).seen);
        expect(await backend.get(key)).toBeNull();
        expect(await backend.quarantinedCount()).toBe(2); // both copies are kept
      });

      test("of parallel deletes of one copy one deletes", async () => {
        const { key } = await storeBlob(backend, bytesOf(10, 23));
        const { seen } = await seenOf(key);
        const answers = await Promise.all(Array.from({ length: 5 }, () => backend.delete(key, seen)));
        expect(answers.filter((answer) => answer)).toHaveLength(1);
      });

      test("an open reader of a copy that is deleted gets the right bytes or a rejection", async () => {
        const bytes = bytesOf(3 * WHOLE_BLOB_MAX_BYTES, 24);
        const { key } = await storeBlob(backend, bytes);
        const blob = await backend.get(key);
        if (!blob) throw new Error("absent");
        const chunks = blob.chunks()[Symbol.asyncIterator]();
        const first = await chunks.next();
        expect(await backend.delete(key, blob.seen)).toBe(true);
        expect(await backend.get(key)).toBeNull();
        const rest = collect({ [Symbol.asyncIterator]: () => chunks }).catch((error: { code: string }) => error.code);
        const ended = await rest;
        if (typeof ended === "string") expect(ended).toBe("STORAGE_FAILED");
        else expect(Buffer.concat([first.value, ended]).equals(bytes)).toBe(true);
        await blob.close();
      });
    });

    describe("keys", () => {
      const COUNT = 1100;

      test("more than 1,000: in order, once each, resumed, and between bounds", async () => {
        const stored: Key[] = [];
        for (let i = 0; i < COUNT; i += 50) {
          const batch = Array.from({ length: 50 }, (_, j) => storeBlob(backend, Buffer.from(`blob ${i + j}`)));
          stored.push(...(await Promise.all(batch)).map((each) => each.key));
        }
        stored.sort();
        expect(await listKeys(backend)).toEqual(stored);
        expect(await resumed(backend)).toEqual(stored);
        const [from, to] = [stored[100] as Key, stored[900] as Key];
        expect(await listKeys(backend, from, to)).toEqual(stored.slice(100, 900));
        expect(await listKeys(backend, from)).toEqual(stored.slice(100));
        expect(await listKeys(backend, undefined, to)).toEqual(stored.slice(0, 900));
        expect(await listKeys(backend, from, from)).toEqual([]);
        expect(await listKeys(backend, keyOfHex("0".repeat(40)), keyOfHex("f".repeat(40)))).toEqual(stored);
      }, 60_000);
    });

    // Go Cask's "exists" was a stat, so that a re-upload never mended anything; its repair did not truncate.
    describe("C2, C3: copies that are wrong", () => {
      test.each([
        ["of the same length", (bytes: Buffer) => Buffer.from(bytes).fill(0, 10, 20)],
        ["cut", (bytes: Buffer) => bytes.subarray(0, bytes.length - 1)],
        ["emptied", () => Buffer.alloc(0)],
        ["longer", (bytes: Buffer) => Buffer.concat([bytes, Buffer.from("and more")])],
      ])("a copy that is %s is replaced and kept in quarantine", async (_, wrong) => {
        if (!damage) return;
        for (const sizeBytes of [1000, WHOLE_BLOB_MAX_BYTES + 1000]) {
          const bytes = bytesOf(sizeBytes, sizeBytes);
          const { key } = await storeBlob(backend, bytes);
          await damage(key, wrong(bytes));
          expect((await storeBlob(backend, bytes)).outcome).toBe("replaced");
          expect((await fetchBlob(backend, key))?.equals(bytes)).toBe(true);
          expect(await backend.isQuarantined(key)).toBe(true);
          expect((await storeBlob(backend, bytes)).outcome).toBe("known");
        }
        expect(await backend.quarantinedCount()).toBe(2);
      });

      test("a copy that was damaged is another one than was seen before", async () => {
        if (!damage) return;
        if (damageIsHidden) return;
        const { key } = await storeBlob(backend, bytesOf(1000, 30));
        const { seen } = await seenOf(key);
        await damage(key, bytesOf(1000, 31));
        expect((await seenOf(key)).seen).not.toBe(seen);
        expect(await backend.delete(key, seen)).toBe(false);
      });

      test.each([
        [0, 1],
        [1, 0],
      ] as const)("two files with one key, order %i, %i: the first stays", async (first, second) => {
        const { key } = await storeBlob(backend, COLLIDING[first]);
        expect(keyOfBytes(COLLIDING[second])).toBe(key);
        await expect(storeBlob(backend, COLLIDING[second])).rejects.toMatchObject({ code: "KEY_COLLISION" });
        expect((await fetchBlob(backend, key))?.equals(COLLIDING[first])).toBe(true);
        expect(await backend.isQuarantined(key)).toBe(false);
        expect((await storeBlob(backend, COLLIDING[first])).outcome).toBe("known");
      });

      test("two large files with one key, too", async () => {
        const [first, second] = COLLIDING.map((bytes) => Buffer.concat([bytes, bytesOf(2 * WHOLE_BLOB_MAX_BYTES)]));
        const { key } = await storeBlob(backend, first as Buffer);
        await expect(storeBlob(backend, second as Buffer)).rejects.toMatchObject({ code: "KEY_COLLISION" });
        expect((await fetchBlob(backend, key))?.equals(first as Buffer)).toBe(true);
      });
    });
  });
}

/** A listing that is given up after every 97 keys and resumed from the last one seen. */
async function resumed(backend: Backend): Promise<Key[]> {
  const all: Key[] = [];
  for (let from: Key | undefined, more = true; more; ) {
    more = false;
    let count = 0;
    for await (const key of backend.keys(from)) {
      if (key === from) continue;
      all.push(key);
      from = key;
      more = true;
      if (++count === 97) break;
    }
  }
  return all;
}
