import { BlobService } from "../../src/blobs/blob-service.ts";
import type { RepairOutcome } from "../../src/blobs/repair.ts";
import { SpaceWatch } from "../../src/blobs/space-watch.ts";
import { keyOfBytes } from "../../src/core/key.ts";
import { createLogger, LogRing } from "../../src/core/log.ts";
import { SeededRandom } from "../../src/core/random.ts";
import { Inventory } from "../../src/storage/inventory.ts";
import { FakePeer } from "../support/fake-peer.ts";
import { FaultyBackend } from "../support/faulty-backend.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { storeBlob } from "../support/store-blob.ts";
import { viewOf } from "../support/views.ts";

const BYTES = Buffer.from("a blob of this node");
const KEY = keyOfBytes(BYTES);
const made: BlobService[] = [];
afterEach(async () => {
  await Promise.all(made.splice(0).map((service) => service.stop()));
});

async function setUp() {
  const clock = new ManualClock();
  const random = new SeededRandom(1);
  const ring = new LogRing();
  const log = createLogger({ level: "info", ring, output: { write: () => undefined } });
  const inner = new FaultyBackend(random);
  const backend = new Inventory({ inner });
  await storeBlob(backend, BYTES);
  const other = new FakePeer("b");
  const outcomes: RepairOutcome[] = [];
  const counted = { quarantined: 0 };
  const service: BlobService = new BlobService({
    meet: async () => undefined,
    backend,
    identity: {
      uuid: "self",
      incomplete: false,
      drainingSinceMs: null,
      markComplete: async () => undefined,
      markDraining: async () => undefined,
    },
    cluster: () => ({
      view: () => viewOf({ peers: [service.localStore, other], replication: 2, segments: [] }),
      isWriteable: true,
      inConflict: false,
    }),
    space: new SpaceWatch({ backend, keepFreeBytes: 0, writeable: true, clock, log }),
    settings: {
      reconcileIntervalMs: 60_000,
      repairBytesPerSecond: 1e9,
      scrubBytesPerSecond: 1e9,
      scrubIntervalMs: 0,
      trimGraceMs: 1_000,
      trimDryRun: false,
      maxUploadBytes: 1e9,
      cacheBytes: 0,
    },
    scrubPlace: { load: async () => null, save: async () => undefined },
    counters: {
      rebalanced: (outcome) => void outcomes.push(outcome),
      deleted: () => undefined,
      quarantined: () => {
        counted.quarantined++;
      },
    },
    clock,
    random,
    log,
  });
  made.push(service);
  return { clock, ring, inner, backend, other, outcomes, counted, service };
}

test("a copy that the scrub finds corrupt is counted in quarantine, and a good one is fetched", async () => {
  const { service, inner, other, clock, counted } = await setUp();
  other.blobs.set(KEY, BYTES);
  inner.rot(KEY);
  service.start();
  await clock.advance(10);
  await clock.advance(10);
  expect(service.status()).toMatchObject({ quarantined: 1, quarantined_since_start: 1, scrub: { corrupt: 1 } });
  expect(counted.quarantined).toBe(1);
  expect((await service.localStore.has([KEY]))[0]?.state).toBe("present");
});

test("a repair that fails is tried again, less and less often, and not for ever", async () => {
  const { service, other, clock, outcomes, ring } = await setUp();
  other.onPut = "failing";
  service.start();
  service.queue.add(KEY, 1);
  await clock.advance(10);
  expect(outcomes.map(({ result }) => result)).toEqual(["failed"]);
  expect(service.status().repair).toMatchObject({ waiting: 0, retries: 1 });
  await clock.advance(4_000);
  expect(outcomes).toHaveLength(1);
  await clock.advance(600_000);
  expect(outcomes).toHaveLength(6);
  expect(service.status().repair).toMatchObject({ waiting: 0, retries: 0 });
  expect(ring.lines().some(({ message }) => message.includes("could not be repaired"))).toBe(true);
});

test("one that succeeds at last begins anew with its count", async () => {
  const { service, other, clock, outcomes } = await setUp();
  other.onPut = "failing";
  service.start();
  service.queue.add(KEY, 1);
  await clock.advance(20_000);
  other.onPut = "good";
  await clock.advance(120_000);
  expect(outcomes.at(-1)).toMatchObject({ result: "repaired", sentBytes: BYTES.length });
  expect([service.status().repair, other.blobs.has(KEY)]).toMatchObject([
    { retries: 0, sent_bytes: BYTES.length },
    true,
  ]);
});

test("what a Go owner holds is asked at the pace of the scrub: it has no digests", async () => {
  const { service, other, clock } = await setUp();
  other.isGo = true;
  service.start();
  await clock.advance(100);
  expect(other.blobs.get(KEY)?.equals(BYTES)).toBe(true);
});

test("a worker that is paused does nothing, the others go on", async () => {
  const { service, other, clock, outcomes } = await setUp();
  service.worker("repair")?.pause();
  service.start();
  service.queue.add(KEY, 1);
  await clock.advance(120_000);
  expect([outcomes, other.blobs.size, service.status().scrub.passes > 0]).toEqual([[], 0, true]);
  service.worker("repair")?.resume();
  await clock.advance(100);
  expect(other.blobs.size).toBe(1);
});

test("a quarantine that can't be looked into is not known, and the worker says why", async () => {
  const { service, inner, clock } = await setUp();
  inner.quarantinedCount = () => Promise.reject(new Error("EIO"));
  service.start();
  await clock.advance(10);
  expect(service.status().quarantined).toBeNull();
  expect(service.worker("inventory")?.status()).toMatchObject({ state: "failing", lastError: "EIO" });
  expect((await service.localStore.has([KEY]))[0]?.state).toBe("present");
});
