import { keyOfBytes } from "../../src/core/key.ts";
import { readKey, writeKey } from "../../src/core/key-bytes.ts";
import { CHECKPOINT_PIECE_ENTRIES } from "../../src/core/limits.ts";
import { CopyIndex } from "../../src/storage/copy-index.ts";
import { readCheckpoint, writeCheckpoint } from "../../src/storage/segment-checkpoint.ts";
import type { RecordPlace } from "../../src/storage/segment-record.ts";
import { SimDisk } from "../support/sim/sim-disk.ts";
import { SimProcess } from "../support/sim/sim-process.ts";

const [FOLDER, PATH] = ["/segments", "/segments/checkpoint"];

async function written(count: number, segmentCount: number) {
  const disk = new SimDisk();
  const { files } = new SimProcess(disk);
  await files.mkdir(FOLDER);
  const index = new CopyIndex();
  const places = new Map<string, RecordPlace>();
  for (let i = 0; i < count; i++) {
    const key = keyOfBytes(Buffer.from(String(i)));
    const place = { segment: 1 + (i % segmentCount), offset: 64 + 8 * i, sizeBytes: i };
    index.setPlace(key, place);
    index.noteFile(keyOfBytes(Buffer.from(`file ${i}`)));
    places.set(key, place);
  }
  const segments = Array.from({ length: segmentCount }, (_, i) => ({
    id: i + 1,
    salt: "ab".repeat(16),
    endBytes: 1_000,
    deletions: [[i, 2]] as const,
  }));
  const entries = index.walkRecords.bind(index);
  await writeCheckpoint({ files, folder: FOLDER, path: PATH }, { segments, entries });
  return { disk, files, places, segments };
}

// In pieces of 8,192 entries, and of 4 KiB, twice as much each time, of the head.
test.each([
  [0, 0],
  [1, 1],
  [CHECKPOINT_PIECE_ENTRIES, 30],
  [CHECKPOINT_PIECE_ENTRIES + 1, 31],
  [2 * CHECKPOINT_PIECE_ENTRIES - 1, 300],
])("%i copies in %i segments come back, in the order of their keys, and files do not", async (count, segmentCount) => {
  const { files, places, segments } = await written(count, segmentCount);
  const checkpoint = await readCheckpoint(files, PATH);
  expect(checkpoint?.segments).toEqual(segments);
  expect(checkpoint?.entryCount).toBe(count);
  const found: Array<readonly [string, RecordPlace]> = [];
  await checkpoint?.walk((key, place) => found.push([readKey(key), place]));
  expect(found).toEqual([...places].sort(([a], [b]) => (a < b ? -1 : 1)));
});

test("one that is cut anywhere, or has more bytes, is not believed", async () => {
  const { disk, files } = await written(10, 2);
  const whole = disk.bytesOf(PATH);
  for (let end = 0; end < whole.length; end++) {
    disk.put(PATH, whole.subarray(0, end));
    expect(await readCheckpoint(files, PATH)).toBeNull();
  }
  disk.put(PATH, Buffer.concat([whole, Buffer.alloc(32)]));
  expect(await readCheckpoint(files, PATH)).toBeNull();
});

test("one that changes after it was found whole is no checkpoint: nobody may go on with what it says", async () => {
  const { disk, files } = await written(10, 2);
  const checkpoint = await readCheckpoint(files, PATH);
  disk.flip(PATH, disk.bytesOf(PATH).length - 10);
  await expect(checkpoint?.walk(() => undefined)).rejects.toMatchObject({ code: "STORAGE_FAILED" });
});

test("room that was made at once for copies that come in the order of their keys is enough for them", () => {
  const count = 100_000;
  const keys = Array.from({ length: count }, (_, i) => keyOfBytes(Buffer.from(String(i)))).sort();
  const index = new CopyIndex();
  index.expect(count);
  const { sizeBytes } = index;
  const bytes = Buffer.alloc(20);
  for (const [i, key] of keys.entries()) {
    writeKey(key, bytes);
    index.setPlaceOf(bytes, { segment: 1, offset: 64, sizeBytes: i });
  }
  expect(index.sizeBytes).toBe(sizeBytes);
  expect(sizeBytes / count).toBeLessThan(64);
});
