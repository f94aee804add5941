import { replicate } from "../../src/blobs/replicate.ts";
import { StagedUpload } from "../../src/blobs/staged-upload.ts";
import { keyOfBytes } from "../../src/core/key.ts";
import { SeededRandom } from "../../src/core/random.ts";
import { MemoryBackend } from "../../src/storage/memory.ts";
import { FakePeer } from "../support/fake-peer.ts";
import { ManualClock, settle } from "../support/manual-clock.ts";
import { type ViewOptions, viewOf } from "../support/views.ts";

const BYTES = Buffer.from("bytes to be kept three times");
const KEY = keyOfBytes(BYTES);

async function setUp(count = 5, options: Partial<ViewOptions> = {}) {
  const peers = Array.from({ length: count }, (_, i) => new FakePeer(`n${i}`));
  const clock = new ManualClock();
  const backend = new MemoryBackend(new SeededRandom(1));
  const stage = await backend.stage();
  await stage.write(BYTES);
  const upload = new StagedUpload(KEY, stage, backend);
  const view = viewOf({ peers, replication: 3, ...options });
  const run = (signal?: AbortSignal) => replicate({ upload, view, clock, signal });
  const holders = () => peers.filter((peer) => peer.blobs.get(KEY)?.equals(BYTES)).map((peer) => peer.uuid);
  return { peers, clock, run, holders };
}

describe("C20: the promise of CASK_REPLICATION", () => {
  test("that many copies, on the first nodes in order, and no more", async () => {
    const { peers, run, holders } = await setUp();
    const result = await run();
    expect(result).toMatchObject({ success: true, wanted: 3, isNew: true, failures: [] });
    expect(result.copies).toHaveLength(3);
    expect(holders()).toEqual(["n0", "n1", "n2"]);
    expect(peers.map((peer) => peer.puts)).toEqual([1, 1, 1, 0, 0]);
  });

  test("fewer nodes than copies wanted: no success, and the counts", async () => {
    const { run } = await setUp(2);
    const result = await run();
    expect(result).toMatchObject({ success: false, wanted: 3 });
    expect(result.copies).toHaveLength(2);
  });

  test("two nodes on one store are one copy", async () => {
    const { peers, run } = await setUp(3);
    (peers[1] as FakePeer).store = (peers[0] as FakePeer).store;
    const result = await run();
    expect(result.success).toBe(false);
    expect(result.copies).toHaveLength(2);
  });

  test("a known copy counts, and makes the upload not new", async () => {
    const { peers, run } = await setUp();
    peers[1]?.blobs.set(KEY, BYTES);
    expect(await run()).toMatchObject({ success: true, isNew: false });
  });
});

test("C19: all copies are sent at the same time", async () => {
  const { peers, run } = await setUp(3);
  for (const peer of peers) peer.onPut = "hanging";
  const controller = new AbortController();
  const result = run(controller.signal);
  await settle();
  expect(peers.map((peer) => peer.puts)).toEqual([1, 1, 1]);
  controller.abort(new Error("the client went away"));
  await expect(result).rejects.toThrow("the client went away");
});

test("a failing node is replaced by the next one", async () => {
  const { peers, run, holders } = await setUp();
  (peers[1] as FakePeer).onPut = "failing";
  (peers[2] as FakePeer).onPut = "no-space";
  const result = await run();
  expect(result.success).toBe(true);
  expect(holders()).toEqual(["n0", "n3", "n4"]);
  expect(result.failures).toEqual(["http://n1: n1 is broken", "http://n2: n2 is full"]);
});

test("all fail: the copies that were made are told, each failure with its reason", async () => {
  const { peers, run } = await setUp(3);
  for (const peer of peers.slice(1)) peer.onPut = "failing";
  const result = await run();
  expect(result).toMatchObject({ success: false, wanted: 3, noSpace: false });
  expect(result.copies.map((copy) => copy.node)).toEqual(["n0"]);
  expect(result.failures).toHaveLength(2);
});

test("every node full is told apart from other failures", async () => {
  const { peers, run } = await setUp(3);
  for (const peer of peers) peer.onPut = "no-space";
  expect(await run()).toMatchObject({ success: false, noSpace: true, copies: [] });
});

test("C32: a hanging node gets the next one beside it, and holds nobody up", async () => {
  const { peers, clock, run, holders } = await setUp(4);
  (peers[0] as FakePeer).onPut = "hanging";
  const result = run();
  await clock.advance(1_499);
  expect(peers.map((peer) => peer.puts)).toEqual([1, 1, 1, 0]);
  await clock.advance(1);
  expect(await result).toMatchObject({ success: true });
  expect(holders()).toEqual(["n1", "n2", "n3"]);
  expect(clock.pendingTimers).toBe(0);
});

test("other bytes under the same key anywhere refuse the upload", async () => {
  const { peers, run } = await setUp();
  (peers[2] as FakePeer).onPut = "collision";
  await expect(run()).rejects.toMatchObject({ code: "KEY_COLLISION" });
});

test("read-only and dead nodes are not tried, suspects last", async () => {
  const { peers, run, holders } = await setUp(6, { readOnly: ["n1"], dead: ["n2"], suspect: ["n0"] });
  expect((await run()).success).toBe(true);
  expect(holders()).toEqual(["n3", "n4", "n5"]);
  expect(peers.map((peer) => peer.puts)).toEqual([0, 0, 0, 1, 1, 1]);
});

test("C30: one failed PUT says nothing about the node: the next upload tries it again", async () => {
  const { peers, run } = await setUp(3);
  (peers[1] as FakePeer).onPut = "failing";
  expect((await run()).success).toBe(false);
  (peers[1] as FakePeer).onPut = "good";
  expect((await run()).success).toBe(true);
});
