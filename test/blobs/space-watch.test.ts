import { SpaceWatch } from "../../src/blobs/space-watch.ts";
import { STAGE_RESERVE_BYTES, WHOLE_BLOB_MAX_BYTES } from "../../src/core/limits.ts";
import { silentLogger } from "../../src/core/log.ts";
import { ManualClock } from "../support/manual-clock.ts";

const KEEP = 1_000_000_000;

function setUp({ writeable = true, freeBytes = (10 * KEEP) as number | null } = {}) {
  const clock = new ManualClock();
  const disk = { freeBytes, fails: false, looks: 0 };
  const backend = {
    space: async () => {
      disk.looks++;
      if (disk.fails) throw new Error("the disk is gone");
      return { freeBytes: disk.freeBytes, totalBytes: null };
    },
  };
  const log = silentLogger();
  const warnings: string[] = [];
  const watch = new SpaceWatch({
    backend,
    keepFreeBytes: KEEP,
    writeable,
    clock,
    log: {
      ...log,
      info: () => undefined,
      warn: (_fields: object, message: string) => void warnings.push(message),
      error: () => undefined,
    } as never,
  });
  const look = async (bytes: number | null) => {
    disk.freeBytes = bytes;
    await watch.look(0);
    return watch.isWriteable;
  };
  return { clock, disk, watch, look, warnings };
}

describe("C11: free space", () => {
  test("makes the node read-only below CASK_KEEP_FREE, and says what to do", async () => {
    const { watch, look, warnings } = setUp();
    expect(await look(KEEP)).toBe(true);
    expect(await look(KEEP - 1)).toBe(false);
    expect(watch.isLow).toBe(true);
    expect(watch.reason).toContain("CASK_KEEP_FREE");
    expect(warnings.join()).toContain("set CASK_KEEP_FREE lower");
  });

  test("has hysteresis: a little more than the bound is not enough to go back", async () => {
    const { look } = setUp();
    await look(KEEP - 1);
    expect(await look(KEEP + 1)).toBe(false);
    expect(await look(1.1 * KEEP)).toBe(true);
    expect(await look(KEEP + 1)).toBe(true);
  });

  test("is looked at before each body, but not for every one of many at once", async () => {
    const { clock, disk, watch } = setUp();
    await watch.admit(10);
    await watch.admit(10);
    expect(disk.looks).toBe(1);
    await clock.advance(1_000);
    await watch.admit(10);
    expect(disk.looks).toBe(2);
  });

  test("a look that fails changes nothing, and the next one counts", async () => {
    const { disk, watch, look, warnings } = setUp();
    await look(KEEP - 1);
    disk.fails = true;
    await look(10 * KEEP);
    expect(watch.isWriteable).toBe(false);
    expect(warnings).toHaveLength(2);
    disk.fails = false;
    expect(await look(10 * KEEP)).toBe(true);
  });

  test("a body that does not fit is refused before it is taken; a small one can still be passed on", async () => {
    const { watch, look } = setUp();
    await look(STAGE_RESERVE_BYTES + 5_000_000);
    await expect(watch.admit(6_000_000)).rejects.toMatchObject({ code: "NO_SPACE" });
    await watch.admit(4_000_000);
    await look(STAGE_RESERVE_BYTES - 1);
    await expect(watch.admit(undefined)).rejects.toMatchObject({ code: "NO_SPACE" });
    await watch.admit(WHOLE_BLOB_MAX_BYTES);
  });
});

test("C12: CASK_WRITEABLE=false stands, however much space there is", async () => {
  const { watch, look } = setUp({ writeable: false });
  expect(await look(100 * KEEP)).toBe(false);
  expect(watch.reason).toBe("CASK_WRITEABLE is false");
});

test("C13: unknown space is not zero space", async () => {
  const { watch, look } = setUp();
  expect(await look(null)).toBe(true);
  expect(watch.freeBytes).toBeNull();
  await watch.admit(undefined);
});

test("a disk that hangs makes the node read-only until it answers", async () => {
  const { watch, look } = setUp();
  await look(10 * KEEP);
  watch.noteDiskAnswer(false);
  expect(watch.isWriteable).toBe(false);
  expect(watch.reason).toBe("the disk does not answer");
  watch.noteDiskAnswer(true);
  expect(watch.isWriteable).toBe(true);
});
