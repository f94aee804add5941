import { ForegroundLoad } from "../../src/blobs/foreground-load.ts";
import { LocalStore } from "../../src/blobs/local-store.ts";
import { parseScrubPlace, Scrub, type ScrubOptions, type ScrubPlace } from "../../src/blobs/scrub.ts";
import { VerifiedTimes } from "../../src/blobs/verified-times.ts";
import { CaskError } from "../../src/core/errors.ts";
import type { Key } from "../../src/core/key.ts";
import { LOCAL_READ_TIMEOUT_MS, SCRUB_SAVE_EVERY_MS } from "../../src/core/limits.ts";
import { silentLogger } from "../../src/core/log.ts";
import { SeededRandom } from "../../src/core/random.ts";
import { RateLimit } from "../../src/core/rate-limit.ts";
import type { StepResult } from "../../src/core/worker.ts";
import { Inventory } from "../../src/storage/inventory.ts";
import { FakePeer } from "../support/fake-peer.ts";
import { FaultyBackend } from "../support/faulty-backend.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { bytesOf, storeBlob } from "../support/store-blob.ts";
import { viewOf } from "../support/views.ts";

const never = new AbortController().signal;
const SIZE_BYTES = 1_000;

async function setUp(count = 10) {
  const clock = new ManualClock();
  const backend = new FaultyBackend(new SeededRandom(1));
  const inventory = new Inventory({ inner: backend });
  const quarantined: Key[] = [];
  const verified: Key[] = [];
  const disk: { place: ScrubPlace | null } = { place: null };
  for (let i = 0; i < count; i++) await storeBlob(inventory, bytesOf(SIZE_BYTES, i + 1));
  await inventory.load();
  const own: LocalStore = new LocalStore({
    uuid: "self",
    backend: inventory,
    verifiedTimes: new VerifiedTimes(),
    isWriteable: () => true,
    isIncomplete: () => false,
    isDraining: () => false,
    onDiskAnswer: () => undefined,
    onQuarantined: (key) => void quarantined.push(key),
    view: () => viewOf({ peers: [own, new FakePeer("b")] }),
    vouchRefusal: () => null,
    trimGraceMs: 0,
    clock,
    log: silentLogger(),
  });
  const scrub = (options: Partial<ScrubOptions> = {}) =>
    new Scrub({
      backend: inventory,
      audit: async () => undefined,
      own,
      count: () => inventory.count,
      rate: { take: async () => undefined },
      foreground: new ForegroundLoad(clock),
      intervalMs: 0,
      load: async () => disk.place,
      save: async (place: ScrubPlace) => {
        disk.place = place;
      },
      onVerified: (key: Key) => void verified.push(key),
      clock,
      log: silentLogger(),
      ...options,
    } as ScrubOptions);
  const keys: Key[] = [];
  for await (const key of inventory.keys()) keys.push(key);
  return { clock, backend, inventory, quarantined, verified, disk, scrub, keys };
}

/** Steps until the pass has ended. Answers what the last step said. */
async function pass(scrub: Scrub): Promise<StepResult> {
  const { passes } = scrub.status();
  for (let i = 0; i < 1_000; i++) {
    const result = await scrub.step(never);
    if (scrub.status().passes > passes) return result;
  }
  throw new Error("the pass does not end");
}

test("a pass visits every copy once, in the order of the keys, and the next one begins after a pause", async () => {
  const { scrub, backend, keys, verified, clock } = await setUp();
  const made = scrub();
  expect(await pass(made)).toEqual({ afterMs: expect.any(Number) });
  expect([backend.read, verified]).toEqual([keys, keys]);
  await clock.advance(1_000);
  await pass(made);
  expect(backend.read).toEqual([...keys, ...keys]);
  expect(made.status()).toMatchObject({ passes: 2, visited: 0, corrupt: 0, unreadable: 0, bytes: 20 * SIZE_BYTES });
});

test("after a restart it goes on behind the key where it stopped, and tells the same progress", async () => {
  const { scrub, backend, keys, disk } = await setUp();
  const before = scrub();
  await before.step(never);
  await before.step(never);
  await before.save();
  expect(parseScrubPlace(JSON.parse(JSON.stringify(disk.place)))).toEqual(disk.place);
  const after = scrub();
  await after.step(never);
  expect(after.status()).toMatchObject({ passes: 0, visited: 6 });
  await pass(after);
  expect(backend.read).toEqual(keys);
});

test("its place is kept on disk every few seconds; a disk that can't keep it does not hold up the pass", async () => {
  const { scrub, disk, clock, backend, keys } = await setUp();
  const made = scrub();
  await made.step(never);
  expect(disk.place).toBeNull();
  await clock.advance(SCRUB_SAVE_EVERY_MS + 1);
  await made.step(never);
  expect(disk.place).toMatchObject({ visited: 4 });
  const full = scrub({ load: async () => null, save: () => Promise.reject(new Error("no space")) });
  backend.read.length = 0;
  for (let i = 0; i < 5; i++) {
    await clock.advance(SCRUB_SAVE_EVERY_MS + 1);
    await full.step(never).catch(() => undefined); // the worker waits a little, and calls again
  }
  expect(backend.read).toEqual(keys);
});

describe("C8: one bad file does not end a pass", () => {
  test.each(["unopenable", "unreadable"] as const)("%s: it is parked, told, and looked at again", async (fault) => {
    const { scrub, backend, keys, verified, quarantined } = await setUp();
    const bad = keys[3] as Key;
    backend.faults.set(bad, fault);
    const made = scrub();
    await pass(made);
    expect(verified).toEqual(keys.filter((key) => key !== bad));
    expect(made.status()).toMatchObject({ unreadable: 1, lastUnreadable: expect.stringContaining(bad), corrupt: 0 });
    expect(quarantined).toEqual([]);
    backend.faults.clear();
    await pass(made);
    await pass(made);
    expect(made.status()).toMatchObject({ unreadable: 0 });
  });

  test("C9: one that hangs whoever reads it is given up after its time", async () => {
    const { scrub, backend, keys, verified, clock } = await setUp();
    backend.faults.set(keys[3] as Key, "hanging");
    const made = scrub();
    const ended = pass(made);
    await clock.advance(LOCAL_READ_TIMEOUT_MS);
    await ended;
    expect(verified).toHaveLength(keys.length - 1);
    expect(made.status()).toMatchObject({ unreadable: 1 });
  });

  test("a listing that ends with an error has its pass, and the next one begins at the first key again", async () => {
    const { scrub, backend, keys } = await setUp();
    backend.listingFails = true;
    const made = scrub();
    await pass(made);
    await pass(made);
    expect(backend.read).toEqual([...keys, ...keys]);
    expect(made.status().lastUnreadable).toContain("folder 7f");
  });
});

test("corrupt copies are counted, go to quarantine, and are not seen again", async () => {
  const { scrub, backend, keys, quarantined, verified } = await setUp();
  const bad = [keys[0], keys[9]] as Key[];
  for (const key of bad) backend.rot(key);
  const made = scrub();
  await pass(made);
  expect([made.status().corrupt, quarantined, verified.length]).toEqual([2, bad, 8]);
  await pass(made);
  expect(made.status()).toMatchObject({ corrupt: 2, unreadable: 0 });
});

test("C18: an upload that is under way is never looked at", async () => {
  const { scrub, inventory, backend, keys } = await setUp();
  const stage = await inventory.stage();
  await stage.write(Buffer.from("half of "));
  await pass(scrub());
  expect(backend.read).toEqual(keys);
  await stage.write(Buffer.from("it"));
  await stage.abort();
});

test("reads at most so many bytes a second", async () => {
  const { scrub, clock, verified } = await setUp();
  const made = scrub({ rate: new RateLimit(SIZE_BYTES, clock) });
  const ended = pass(made);
  await clock.advance(4_900);
  expect(verified.length).toBeGreaterThanOrEqual(4);
  expect(verified.length).toBeLessThanOrEqual(6);
  await clock.advance(6_000);
  await ended;
  expect(verified).toHaveLength(10);
});

test("CASK_AAE_INTERVAL: one copy, then a pause", async () => {
  const { scrub, backend, keys } = await setUp();
  const made = scrub({ intervalMs: 7_000 });
  expect(await made.step(never)).toEqual({ afterMs: 7_000 });
  expect(backend.read).toEqual(keys.slice(0, 1));
});

test("estimates its end from what it did since the start of the process, not from what it did before", async () => {
  const { scrub, clock, disk, keys } = await setUp();
  disk.place = { next: keys[4] as Key, passBegunMs: 0, visited: 4, passes: 7 };
  const made = scrub();
  expect(made.status().secondsLeft).toBeNull();
  await made.step(never);
  await clock.advance(2_000);
  expect(made.status()).toMatchObject({ passes: 7, visited: 6, of: 10, secondsLeft: 4 }); // 2 in 2 s, 4 are left
});

test("stops at once when told to", async () => {
  const { scrub, clock } = await setUp();
  const controller = new AbortController();
  const made = scrub({ rate: new RateLimit(1, clock) });
  const step = expect(made.step(controller.signal)).rejects.toThrow("stopped");
  await clock.advance(1);
  controller.abort(new Error("stopped"));
  await step;
});

test.each([{}, { next: 7 }, { next: null, passBegunMs: -1, visited: 0, passes: 0 }])(
  "a damaged place is refused: %j",
  (value) => {
    expect(() => parseScrubPlace(value)).toThrow(expect.objectContaining({ code: "BAD_ROOT" }));
  },
);

test("a listing that breaks off is no end of a pass: it is begun again where it was", async () => {
  const { scrub, backend, keys } = await setUp();
  const made = scrub();
  await made.step(never);
  const listed = backend.keys.bind(backend);
  let breaks = true;
  backend.keys = async function* (from?: Key, to?: Key) {
    if (breaks) {
      breaks = false;
      throw new CaskError("STORAGE_FAILED", "the store does not answer");
    }
    yield* listed(from, to);
  };
  const again = scrub();
  await expect(again.step(never)).rejects.toMatchObject({ code: "STORAGE_FAILED" });
  backend.read.length = 0;
  await pass(again);
  expect(backend.read).toEqual(keys);
  expect(again.status().passes).toBe(1);
});

async function restAfterTwo(): Promise<number | undefined> {
  const { scrub, clock } = await setUp();
  const made = scrub();
  await pass(made);
  await clock.advance(50_000);
  const result = await pass(made);
  return typeof result === "object" ? result.afterMs : undefined;
}

test("a pass is followed by a rest of three times its length, ten seconds to an hour; a pace that is set stands", async () => {
  const rest = async (passMs: number, intervalMs = 0) => {
    const { scrub, clock } = await setUp();
    const made = scrub({ intervalMs });
    await made.step(never);
    await clock.advance(passMs);
    for (;;) {
      const result = await made.step(never);
      if (typeof result === "object" && made.status().passes === 1) return result.afterMs;
    }
  };
  expect(await rest(1_000)).toBe(10_000);
  expect(await restAfterTwo()).toBe(10_000); // the first rest is no part of the second pass
  expect(await rest(60_000)).toBe(180_000);
  expect(await rest(36_000_000)).toBe(3_600_000);
  expect(await rest(60_000, 500)).toBe(10_000);
});
