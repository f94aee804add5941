import { keyOfBytes } from "../../src/core/key.ts";
import { SeededRandom } from "../../src/core/random.ts";
import type { Stat } from "../../src/storage/backend.ts";
import { RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES } from "../../src/storage/segment-record.ts";
import type { TieredBackend } from "../../src/storage/tiered.ts";
import { recordAt } from "../support/segment-records.ts";
import { SimDisk } from "../support/sim/sim-disk.ts";
import { simError } from "../support/sim/sim-errors.ts";
import { SIM_LAYOUT, SIM_ROOT } from "../support/sim/sim-root.ts";
import { openSimTiers, type SimTiersOptions } from "../support/sim/sim-tiers.ts";
import { bytesOf, fetchBlob, listKeys, storeBlob } from "../support/store-blob.ts";

const FOLDER = `${SIM_ROOT}/segments`;
const FIRST = `${FOLDER}/00000001.seg`;

function open(disk: SimDisk, options: Partial<SimTiersOptions> = {}): Promise<TieredBackend> {
  return openSimTiers(disk, { random: new SeededRandom(1), ...options });
}

/** As after kill -9: no checkpoint is written at the end. */
async function killed(disk: SimDisk, options: Partial<SimTiersOptions> = {}): Promise<TieredBackend> {
  return open(disk.crash(new SeededRandom(1)), options);
}

const segmentsIn = (disk: SimDisk) => disk.namesIn(FOLDER).filter((name) => name.endsWith(".seg"));
const statOf = async (backend: TieredBackend, bytes: Buffer) => (await backend.stat(keyOfBytes(bytes))) as Stat;

async function remove(backend: TieredBackend, bytes: Buffer): Promise<void> {
  expect(await backend.delete(keyOfBytes(bytes), (await statOf(backend, bytes)).seen)).toBe(true);
}

const compact = (backend: TieredBackend) => backend.compact(new AbortController().signal);

describe("what is in segments is found again", () => {
  const blobs = Array.from({ length: 60 }, (_, i) => bytesOf(200 + 37 * i, i + 1));

  /** Stores all, deletes every third, stores every sixth anew. */
  async function filled(backend: TieredBackend) {
    for (const blob of blobs) await storeBlob(backend, blob);
    for (const [i, blob] of blobs.entries()) if (i % 3 === 0) await remove(backend, blob);
    for (const [i, blob] of blobs.entries()) if (i % 6 === 0) await storeBlob(backend, blob);
    return blobs.filter((_, i) => i % 3 !== 0 || i % 6 === 0);
  }

  async function expectOnly(backend: TieredBackend, held: readonly Buffer[]): Promise<void> {
    expect(await listKeys(backend)).toEqual(held.map(keyOfBytes).sort());
    for (const blob of held) expect((await fetchBlob(backend, keyOfBytes(blob)))?.equals(blob)).toBe(true);
    expect(backend.hasLost).toBe(false);
  }

  test.each([
    ["one segment", {}],
    ["many segments", { maxSegmentBytes: 5_000 }],
  ])("after a kill, without a checkpoint, from %s", async (_, options) => {
    const disk = new SimDisk();
    const held = await filled(await open(disk, options));
    await expectOnly(await killed(disk, options), held);
  });

  test("after a stop, from the checkpoint: the segments are not read again", async () => {
    const disk = new SimDisk();
    const backend = await open(disk, { maxSegmentBytes: 5_000 });
    const held = await filled(backend);
    await backend.close();
    let readBytes = 0;
    disk.beforeCall = ({ name, path, bytes = 0 }) => {
      if (name === "read" && path.endsWith(".seg")) readBytes += bytes;
      return undefined;
    };
    const again = await open(disk, { maxSegmentBytes: 5_000 });
    expect(readBytes).toBe(segmentsIn(disk).length * SEGMENT_HEADER_BYTES);
    await expectOnly(again, held);
  });

  test("a checkpoint that is damaged, or of another store, is not believed", async () => {
    const disk = new SimDisk();
    const backend = await open(disk);
    const held = await filled(backend);
    await backend.close();
    const size = disk.bytesOf(`${FOLDER}/checkpoint`).length;
    for (const at of [0, size >> 1, size - 1]) {
      disk.flip(`${FOLDER}/checkpoint`, at);
      const again = await open(disk);
      await expectOnly(again, held);
      await again.close();
    }
    const other = new SimDisk();
    const stranger = await open(other, { random: new SeededRandom(2) });
    await storeBlob(stranger, bytesOf(5_000, 99));
    await stranger.close();
    disk.put(`${FOLDER}/checkpoint`, other.bytesOf(`${FOLDER}/checkpoint`));
    await expectOnly(await open(disk), held);
  });

  test("after compaction, and after a kill behind it", async () => {
    const disk = new SimDisk();
    const backend = await open(disk, { maxSegmentBytes: 5_000 });
    for (const blob of blobs) await storeBlob(backend, blob);
    const before = segmentsIn(disk).length;
    for (const [i, blob] of blobs.entries()) if (i % 4 !== 0) await remove(backend, blob);
    let steps = 0;
    while ((await compact(backend)).segment !== null) expect(++steps).toBeLessThan(100);
    const held = blobs.filter((_, i) => i % 4 === 0);
    await expectOnly(backend, held);
    expect(segmentsIn(disk).length).toBeLessThan(before / 2);
    await expectOnly(await killed(disk, { maxSegmentBytes: 5_000 }), held);
  });

  test("a copy that is moved while it is being opened is read where it is now", async () => {
    const disk = new SimDisk();
    const backend = await open(disk, { maxSegmentBytes: 1_000 });
    const few = blobs.slice(0, 6);
    for (const blob of few) await storeBlob(backend, blob);
    const again = await killed(disk, { maxSegmentBytes: 1_000 }); // no segment is open to be read
    for (const blob of few.slice(1)) await remove(again, blob);
    const reading = fetchBlob(again, keyOfBytes(few[0] as Buffer));
    const moving = (async () => {
      while ((await compact(again)).segment !== null);
    })();
    expect((await reading)?.equals(few[0] as Buffer)).toBe(true);
    await moving;
    expect((await fetchBlob(again, keyOfBytes(few[0] as Buffer)))?.equals(few[0] as Buffer)).toBe(true);
  });

  test("with the setting at 0 new blobs become files, old ones are served", async () => {
    const disk = new SimDisk();
    const backend = await open(disk);
    const held = await filled(backend);
    await backend.close();
    const again = await open(disk, { segmentBlobMaxBytes: 0 });
    const more = bytesOf(300, 777);
    await storeBlob(again, more);
    expect(disk.has(SIM_LAYOUT.blob(keyOfBytes(more)))).toBe(true);
    await expectOnly(again, [...held, more]);
  });
});

test("a cask that knows no segments refuses the folder: it would take what is in them for absent", async () => {
  const disk = new SimDisk();
  await (await open(disk, { segmentBlobMaxBytes: 0 })).close();
  expect(JSON.parse(disk.bytesOf(SIM_LAYOUT.settings).toString())).toMatchObject({ format: 1 });
  await (await open(disk)).close();
  expect(JSON.parse(disk.bytesOf(SIM_LAYOUT.settings).toString())).toMatchObject({ format: 2 });
  disk.put(SIM_LAYOUT.settings, Buffer.from('{"format":3,"store":"0123456789abcdef"}'));
  await expect(open(disk)).rejects.toMatchObject({ code: "BAD_ROOT" });
});

describe("group commit", () => {
  test("many that store at once share a few syncs", async () => {
    const disk = new SimDisk();
    const backend = await open(disk);
    await listKeys(backend);
    let syncs = 0;
    disk.beforeCall = ({ name }) => {
      if (name === "datasync" || name === "sync") syncs++;
      return undefined;
    };
    const blobs = Array.from({ length: 200 }, (_, i) => bytesOf(500, i + 1));
    await Promise.all(blobs.map((blob) => storeBlob(backend, blob)));
    expect(syncs).toBeLessThan(20);
    for (const blob of blobs) expect((await fetchBlob(backend, keyOfBytes(blob)))?.equals(blob)).toBe(true);
  });

  test.each([
    ["a write that fails", "write", "EIO"],
    ["a sync that fails", "datasync", "EIO"],
    ["a full disk", "write", "ENOSPC"],
  ] as const)("%s is an error for all of the batch, and for nobody after it", async (_, call, code) => {
    const disk = new SimDisk();
    const backend = await open(disk);
    const first = bytesOf(500, 1);
    await storeBlob(backend, first);
    let failing = true;
    disk.beforeCall = ({ name, path }) =>
      failing && name === call && path.endsWith(".seg") ? simError(code, name, path) : undefined;
    const lost = Array.from({ length: 5 }, (_, i) => bytesOf(500, i + 10));
    const results = await Promise.allSettled(lost.map((blob) => storeBlob(backend, blob)));
    expect(results.map(({ status }) => status)).toEqual(Array(5).fill("rejected"));
    for (const blob of lost) expect(await backend.stat(keyOfBytes(blob))).toBeNull();
    failing = false;
    const next = bytesOf(500, 2);
    await storeBlob(backend, next);
    const again = await killed(disk);
    for (const blob of [first, next]) expect((await fetchBlob(again, keyOfBytes(blob)))?.equals(blob)).toBe(true);
  });

  test("a segment that could be neither begun nor tidied up ends nothing", async () => {
    const disk = new SimDisk();
    const backend = await open(disk);
    disk.beforeCall = ({ name, path }) =>
      ["sync", "unlink", "close"].includes(name) && path.endsWith(".seg") ? simError("EIO", name, path) : undefined;
    for (let i = 0; i < 3; i++) {
      const why = { code: "STORAGE_FAILED", message: expect.stringContaining("sync") }; // not that it could not be tidied up
      await expect(storeBlob(backend, bytesOf(500, i))).rejects.toMatchObject(why);
    }
    disk.beforeCall = () => undefined;
    const blob = bytesOf(500, 9);
    await storeBlob(backend, blob);
    const again = await killed(disk);
    expect((await fetchBlob(again, keyOfBytes(blob)))?.equals(blob)).toBe(true);
    expect(again.hasLost).toBe(false);
  });

  test("a full disk does not fill up with segments either", async () => {
    const disk = new SimDisk();
    const backend = await open(disk);
    await storeBlob(backend, bytesOf(500, 1));
    disk.freeBytes = 600;
    for (let i = 0; i < 20; i++) {
      await expect(storeBlob(backend, bytesOf(5_000, 10 + i))).rejects.toMatchObject({ code: "NO_SPACE" });
    }
    expect(segmentsIn(disk)).toHaveLength(1);
    disk.freeBytes = 100_000;
    expect((await storeBlob(backend, bytesOf(5_000, 50))).outcome).toBe("stored");
  });

  test("a delete of which nobody knows whether it is on the disk: the copy counts no more", async () => {
    const disk = new SimDisk();
    const backend = await open(disk);
    const blob = bytesOf(500, 1);
    await storeBlob(backend, blob);
    const { seen } = await statOf(backend, blob);
    disk.beforeCall = ({ name, path }) =>
      ["datasync", "truncate"].includes(name) ? simError("EIO", name, path) : undefined;
    await expect(backend.delete(keyOfBytes(blob), seen)).rejects.toMatchObject({ code: "STORAGE_FAILED" });
    expect(await backend.stat(keyOfBytes(blob))).toBeNull();
    // It is tried again until it is known: else the copy would be back at the next start.
    await expect(compact(backend)).rejects.toMatchObject({ code: "STORAGE_FAILED" });
    disk.beforeCall = () => undefined;
    await compact(backend);
    expect(await listKeys(await killed(disk))).toEqual([]);
  });

  test("a copy that is moved, and nobody knows whether it is on the disk: it stays where it was", async () => {
    const disk = new SimDisk();
    const backend = await open(disk, { maxSegmentBytes: 1_000 });
    const blobs = Array.from({ length: 8 }, (_, i) => bytesOf(200, i + 1));
    for (const blob of blobs) await storeBlob(backend, blob);
    for (const blob of blobs.slice(1, 4)) await remove(backend, blob);
    disk.beforeCall = ({ name, path }) =>
      ["datasync", "truncate"].includes(name) ? simError("EIO", name, path) : undefined;
    await expect(compact(backend)).rejects.toMatchObject({ code: "STORAGE_FAILED" });
    disk.beforeCall = () => undefined;
    const held = [...blobs.slice(0, 1), ...blobs.slice(4)].map(keyOfBytes).sort();
    expect(await listKeys(backend)).toEqual(held);
    await compact(backend);
    expect(segmentsIn(disk)).not.toContain("00000001.seg");
    expect(await listKeys(await killed(disk))).toEqual(held);
  });

  test("what a start finds to be superseded and can't delete is deleted later", async () => {
    const disk = new SimDisk();
    const backend = await open(disk);
    const blob = bytesOf(500, 1);
    await storeBlob(backend, blob);
    disk.flip(FIRST, SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES);
    await storeBlob(backend, blob);
    const deletionAt = disk.bytesOf(FIRST).length - RECORD_HEADER_BYTES;
    const torn = disk.crash(new SeededRandom(1));
    torn.rot(FIRST, (bytes) => bytes.subarray(0, deletionAt));
    torn.beforeCall = ({ name, path }) => (name === "datasync" ? simError("EIO", name, path) : undefined);
    const notices: string[] = [];
    const again = await open(torn, { onNotice: (message) => void notices.push(message) });
    expect(notices.join()).toMatch(/superseded copies could not be deleted.*will try again/);
    torn.beforeCall = () => undefined;
    await compact(again);
    const second = await statOf(again, blob);
    await remove(again, blob);
    expect(second.seen).toBe(`segment-1-${SEGMENT_HEADER_BYTES + 552}`);
    expect(await listKeys(await killed(torn))).toEqual([]);
  });
});

describe("damage", () => {
  const [one, two, gone, last] = [bytesOf(100, 1), bytesOf(133, 2), bytesOf(90, 3), bytesOf(77, 4)] as const;

  async function written(): Promise<SimDisk> {
    const disk = new SimDisk();
    const backend = await open(disk);
    for (const blob of [one, two, gone]) await storeBlob(backend, blob);
    await remove(backend, gone);
    await storeBlob(backend, last);
    return disk.crash(new SeededRandom(1));
  }

  test("a flip in any byte of a segment costs one blob at most, and serves no wrong one", async () => {
    const whole = await written();
    const size = whole.bytesOf(FIRST).length;
    const ends = new Map<string, number>();
    for (let at = 0; at < size; at++) {
      const disk = whole.crash(new SeededRandom(1));
      disk.flip(FIRST, at, 0x41);
      const backend = await open(disk);
      let missing = 0;
      for (const blob of [one, two, last]) {
        const found = await fetchBlob(backend, keyOfBytes(blob));
        if (!found?.equals(blob)) missing++;
        const end = found === null ? "absent" : found.equals(blob) ? "right" : "wrong hash";
        ends.set(end, (ends.get(end) ?? 0) + 1);
        // Whose record can't be told any more, but was acknowledged, is not called absent with certainty.
        if (found === null && blob !== last) expect(backend.hasLost).toBe(true);
      }
      expect(missing).toBeLessThanOrEqual(1);
      await backend.close();
    }
    expect([...ends.keys()].sort()).toEqual(["absent", "right", "wrong hash"]);
  });

  test("a deleted blob stays deleted when a blob before its deletion is damaged and one stands between", async () => {
    const disk = await written();
    disk.flip(FIRST, SEGMENT_HEADER_BYTES); // the first record's magic
    const backend = await open(disk);
    expect(await backend.stat(keyOfBytes(gone))).toBeNull();
    expect(await listKeys(backend)).toEqual([keyOfBytes(two), keyOfBytes(last)].sort());
  });

  test("right behind damage no deletion is believed", async () => {
    const disk = new SimDisk();
    const backend = await open(disk);
    for (const blob of [one, two]) await storeBlob(backend, blob);
    const at = recordAt(await statOf(backend, two));
    await remove(backend, one);
    await storeBlob(backend, last);
    const after = disk.crash(new SeededRandom(1));
    after.flip(FIRST, at?.offset as number);
    const again = await open(after);
    expect(again.hasLost).toBe(true);
    expect((await fetchBlob(again, keyOfBytes(one)))?.equals(one)).toBe(true); // surplus, at worst: trimmed again
  });

  test("uploaded bytes can't pass for records, not even those of a segment", async () => {
    const disk = new SimDisk();
    const backend = await open(disk);
    for (const blob of [one, gone]) await storeBlob(backend, blob);
    const copy = disk.bytesOf(FIRST);
    await storeBlob(backend, copy);
    await storeBlob(backend, two);
    await remove(backend, gone);
    await storeBlob(backend, last);
    const after = disk.crash(new SeededRandom(1));
    after.flip(FIRST, copy.length + 20); // in the header of the uploaded copy: the search goes through its bytes
    const again = await open(after);
    expect(await listKeys(again)).toEqual([one, two, last].map(keyOfBytes).sort());
  });

  test.each([
    ["read", (backend: TieredBackend) => fetchBlob(backend, keyOfBytes(one))],
    ["uploaded again", (backend: TieredBackend) => storeBlob(backend, one)],
  ])("a damaged header of a copy whose bytes are right is written anew before it is %s", async (_, act) => {
    const disk = new SimDisk();
    const backend = await open(disk);
    await storeBlob(backend, one);
    const { seen } = await statOf(backend, one);
    disk.flip(FIRST, SEGMENT_HEADER_BYTES + 20);
    await act(backend);
    const again = await killed(disk);
    expect((await statOf(again, one)).seen).not.toBe(seen);
    expect((await fetchBlob(again, keyOfBytes(one)))?.equals(one)).toBe(true);
  });

  test("who reads a copy with a damaged header waits until it is written anew: a vouch may follow", async () => {
    const disk = new SimDisk();
    const backend = await open(disk);
    await storeBlob(backend, one);
    disk.flip(FIRST, SEGMENT_HEADER_BYTES + 20);
    const { promise: synced, resolve: sync } = Promise.withResolvers<undefined>();
    disk.beforeCall = ({ name }) => (name === "datasync" ? synced : undefined);
    let isRead = false;
    const reading = fetchBlob(backend, keyOfBytes(one)).finally(() => {
      isRead = true;
    });
    for (let i = 0; i < 20; i++) await new Promise((later) => setImmediate(later));
    expect(isRead).toBe(false);
    sync(undefined);
    expect((await reading)?.equals(one)).toBe(true);
  });

  test("a damaged header that can't be written anew: the copy is served, an upload of it is refused", async () => {
    const disk = new SimDisk();
    const backend = await open(disk);
    await storeBlob(backend, one);
    disk.flip(FIRST, SEGMENT_HEADER_BYTES + 20);
    disk.freeBytes = 0;
    expect((await fetchBlob(backend, keyOfBytes(one)))?.equals(one)).toBe(true);
    await expect(storeBlob(backend, one)).rejects.toMatchObject({ code: "NO_SPACE" });
  });

  test("compaction leaves a corrupt copy where it is, tells whose it is, and ends once that is gone", async () => {
    const disk = new SimDisk();
    const backend = await open(disk, { maxSegmentBytes: 1_000 });
    const blobs = Array.from({ length: 12 }, (_, i) => bytesOf(200, i + 1));
    for (const blob of blobs) await storeBlob(backend, blob);
    for (const blob of blobs.slice(1, 4)) await remove(backend, blob);
    const corrupt = blobs[0] as Buffer;
    disk.flip(FIRST, SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES + 5);
    expect((await compact(backend)).corrupt).toEqual([keyOfBytes(corrupt)]);
    expect(disk.has(FIRST)).toBe(true);
    expect((await compact(backend)).segment).toBeNull(); // not again and again
    await backend.quarantine(keyOfBytes(corrupt), (await statOf(backend, corrupt)).seen);
    expect((await compact(backend)).segment).toBe(1);
    expect(disk.has(FIRST)).toBe(false);
    expect(await backend.quarantinedCount()).toBe(1);
  });

  test.each([
    ["behind a checkpoint", true],
    ["without one", false],
  ])("a segment that vanished, %s, may have held anything", async (_, isStopped) => {
    const disk = new SimDisk();
    const backend = await open(disk, { maxSegmentBytes: 1_000 });
    const blobs = Array.from({ length: 12 }, (_, i) => bytesOf(200, i + 1));
    for (const blob of blobs) await storeBlob(backend, blob);
    if (isStopped) await backend.close();
    const after = disk.crash(new SeededRandom(1));
    after.remove(FIRST);
    const again = await open(after, { maxSegmentBytes: 1_000 });
    expect(again.hasLost).toBe(true);
    expect((await listKeys(again)).length).toBeGreaterThan(5);
  });

  test("a segment that can't be read: its copies are unknown, and the others go on", async () => {
    const disk = new SimDisk();
    const backend = await open(disk, { maxSegmentBytes: 1_000 });
    const blobs = Array.from({ length: 12 }, (_, i) => bytesOf(200, i + 1));
    for (const blob of blobs) await storeBlob(backend, blob);
    await backend.close();
    disk.beforeCall = ({ name, path }) => (path === FIRST ? simError("EIO", name, path) : undefined);
    const again = await open(disk, { maxSegmentBytes: 1_000 });
    expect(again.hasLost).toBe(true);
    await expect(fetchBlob(again, keyOfBytes(blobs[0] as Buffer))).rejects.toMatchObject({ code: "STORAGE_FAILED" });
    expect((await fetchBlob(again, keyOfBytes(blobs[11] as Buffer)))?.equals(blobs[11] as Buffer)).toBe(true);
  });

  test.each([
    ["not even its header", false, 0],
    ["nothing of", false, 1],
    ["all of", false, 2],
    ["the header of, behind a checkpoint,", true, 0],
    ["what is behind a checkpoint in", true, 1],
  ])("a start that can't read %s a segment throws nothing away, and the next one finds all", async (_, stops, read) => {
    const options = { maxSegmentBytes: 2_500_000 };
    const disk = new SimDisk();
    const blobs = Array.from({ length: 40 }, (_, i) => bytesOf(100_000, i + 1));
    let backend = await open(disk, options);
    for (const blob of blobs.slice(0, 3)) await storeBlob(backend, blob);
    if (stops) {
      await backend.close();
      backend = await open(disk, options);
    }
    for (const blob of blobs.slice(3)) await storeBlob(backend, blob);
    await remove(backend, blobs[0] as Buffer);
    await remove(backend, blobs[20] as Buffer);
    const after = disk.crash(new SeededRandom(1));
    let reads = 0;
    after.beforeCall = ({ name, path }) =>
      name === "read" && path === FIRST && ++reads > read ? simError("EIO", name, path) : undefined;
    const unlucky = await open(after, options);
    expect(unlucky.hasLost).toBe(true);
    after.beforeCall = () => undefined;
    while ((await compact(unlucky)).segment !== null);
    await unlucky.close();
    const again = await open(after, options);
    expect(again.hasLost).toBe(false);
    expect(await listKeys(again)).toEqual(
      blobs
        .filter((_, i) => i !== 0 && i !== 20)
        .map(keyOfBytes)
        .sort(),
    );
  });
});

test("large blobs are files, and a small one that is a file already stays one", async () => {
  const disk = new SimDisk();
  const small = bytesOf(500, 1);
  const files = await open(disk, { segmentBlobMaxBytes: 0 });
  await storeBlob(files, small);
  await files.close();
  const backend = await open(disk);
  const large = bytesOf(300_000, 2);
  await storeBlob(backend, large);
  expect(disk.has(SIM_LAYOUT.blob(keyOfBytes(large)))).toBe(true);
  expect((await storeBlob(backend, small)).outcome).toBe("known");
  expect(await listKeys(backend)).toEqual([keyOfBytes(small), keyOfBytes(large)].sort());
  await remove(backend, small);
  expect(await backend.stat(keyOfBytes(small))).toBeNull();
  expect((await storeBlob(backend, small)).outcome).toBe("stored");
  expect(disk.has(SIM_LAYOUT.blob(keyOfBytes(small)))).toBe(false);
});
