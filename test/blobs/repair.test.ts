import { ForegroundLoad } from "../../src/blobs/foreground-load.ts";
import { Repair } from "../../src/blobs/repair.ts";
import { CaskError } from "../../src/core/errors.ts";
import { type Key, keyOfBytes } from "../../src/core/key.ts";
import { silentLogger } from "../../src/core/log.ts";
import { RateLimit } from "../../src/core/rate-limit.ts";
import type { BlobBody, BlobSource, ByteRange } from "../../src/peer/peer.ts";
import { FakePeer } from "../support/fake-peer.ts";
import { ManualClock, settle } from "../support/manual-clock.ts";
import { bytesOf } from "../support/store-blob.ts";
import { type ViewOptions, viewOf } from "../support/views.ts";

const never = new AbortController().signal;
const SMALL = bytesOf(1_000, 1);
const LARGE = bytesOf(1_500_000, 2);
const KEY = keyOfBytes(SMALL);
const LARGE_KEY = keyOfBytes(LARGE);

/** Counts bodies that nobody has closed or read to their end. */
class CountingPeer extends FakePeer {
  openBodies = 0;

  override async get(key: Key, range?: ByteRange, signal?: AbortSignal): Promise<BlobBody | null> {
    const body = await super.get(key, range, signal);
    if (!body) return null;
    this.openBodies++;
    let open = true;
    const close = () => {
      if (open) this.openBodies--;
      open = false;
    };
    async function* chunks(inner: AsyncIterable<Uint8Array>) {
      try {
        yield* inner;
      } finally {
        close();
      }
    }
    return { ...body, chunks: chunks(body.chunks), close };
  }
}

function setUp(options: Partial<ViewOptions> & { bytesPerSecond?: number } = {}) {
  const { bytesPerSecond = 1e12, ...view } = options;
  const peers = ["self", "b", "c", "d"].map((name) => new CountingPeer(name)) as [
    CountingPeer,
    CountingPeer,
    CountingPeer,
    CountingPeer,
  ];
  const clock = new ManualClock();
  const surplus: Key[] = [];
  const repair = new Repair({
    view: () => viewOf({ peers, replication: 3, ...view }),
    rate: new RateLimit(bytesPerSecond, clock),
    foreground: new ForegroundLoad(clock),
    onSurplus: (key) => void surplus.push(key),
    clock,
    log: silentLogger(),
  });
  const one = async (key = KEY) => (await repair.repair([key], never))[0];
  const hold = (key: Key, bytes: Buffer, ...holders: FakePeer[]) => {
    for (const peer of holders) peer.blobs.set(key, bytes);
  };
  return { peers, clock, surplus, repair, one, hold };
}

test.each([
  ["small", SMALL, KEY],
  ["large", LARGE, LARGE_KEY],
])("a %s blob is sent to the owners that lack it, and to no others", async (_name, bytes, key) => {
  const { peers, one, hold } = setUp();
  hold(key, bytes, peers[0]);
  expect(await one(key)).toMatchObject({ result: "repaired", copies: 3, sentBytes: 2 * bytes.length, error: null });
  expect(peers.map((peer) => peer.blobs.get(key)?.equals(bytes))).toEqual([true, true, true, undefined]);
});

test("where every owner has one, there is nothing to do", async () => {
  const { peers, one, hold } = setUp();
  hold(KEY, SMALL, ...peers);
  expect(await one()).toMatchObject({ result: "whole", copies: 3, sentBytes: 0 });
  expect(peers.map(({ gets, puts }) => gets + puts)).toEqual([0, 0, 0, 0]);
});

test("an own copy that is missing is fetched, then sent on", async () => {
  const { peers, one, hold } = setUp();
  hold(KEY, SMALL, peers[1]);
  expect(await one()).toMatchObject({ result: "repaired", copies: 3 });
  expect(peers.map((peer) => peer.blobs.has(KEY))).toEqual([true, true, true, false]);
});

test("from the next holder when one sends a corrupt copy, or none", async () => {
  const { peers, one, hold } = setUp();
  hold(KEY, SMALL, peers[1], peers[2]);
  for (const trouble of ["corrupt", "absent", "failing"] as const) {
    peers[0].blobs.clear();
    peers[1].onGet = trouble;
    expect(await one()).toMatchObject({ result: "repaired" });
    expect(peers[0].blobs.get(KEY)?.equals(SMALL)).toBe(true);
  }
});

test.each([
  ["small", SMALL, KEY],
  ["large", LARGE, LARGE_KEY],
])("C7: a %s own copy that is corrupt is sent to nobody", async (_name, bytes, key) => {
  const { peers, one, hold } = setUp();
  hold(key, bytes, peers[0]);
  peers[0].onGet = "corrupt";
  expect(await one(key)).toMatchObject({ result: "failed" });
  expect(peers.slice(1).map((peer) => peer.blobs.has(key))).toEqual([false, false, false]);
  expect(peers[0].hashResults[0]).toBe("corrupt");
});

describe("what is not done is told", () => {
  test("an owner that takes nothing", async () => {
    const { peers, one, hold } = setUp();
    hold(KEY, SMALL, peers[0]);
    peers[2].onPut = "no-space";
    expect(await one()).toMatchObject({ result: "failed", copies: 2, error: expect.stringContaining("is full") });
  });

  test("an owner that does not answer: it may have one, so none is made for it elsewhere", async () => {
    const { peers, one, hold } = setUp();
    hold(KEY, SMALL, peers[0], peers[1]);
    peers[2].onHas = "failing";
    expect(await one()).toMatchObject({ result: "failed", copies: 2, error: "not every owner answered" });
    expect(peers[3].blobs.size).toBe(0);
  });

  test("nobody has it", async () => {
    const { peers, one } = setUp();
    expect(await one()).toMatchObject({ result: "gone", copies: 0 });
    peers[1].onHas = "unknown";
    expect(await one()).toMatchObject({ result: "failed", copies: 0 });
  });

  test("a node that has nothing to send, and should not have it, leaves it to the holders", async () => {
    const { peers, one, hold } = setUp({ readOnly: ["self"] });
    hold(KEY, SMALL, peers[1]);
    expect(await one()).toMatchObject({ result: "failed" });
    expect(peers.map(({ gets, puts }) => gets + puts)).toEqual([0, 0, 0, 0]);
  });

  test("each of many keys has its own outcome, in their order, and each node is asked once about all", async () => {
    const { peers, repair, hold } = setUp();
    hold(KEY, SMALL, peers[0]);
    hold(LARGE_KEY, LARGE, peers[0], peers[1], peers[2]);
    const outcomes = await repair.repair([LARGE_KEY, keyOfBytes(Buffer.from("gone")), KEY], never);
    expect(outcomes.map(({ result }) => result)).toEqual(["whole", "gone", "repaired"]);
    expect(peers.map(({ asks }) => asks)).toEqual([1, 1, 1, 0]);
  });
});

test("surplus is offered to be trimmed, not deleted here", async () => {
  const { peers, repair, hold, surplus } = setUp({ replication: 2, maxReplication: 2 });
  hold(KEY, SMALL, ...peers);
  const view = viewOf({ peers, replication: 2, maxReplication: 2 });
  jest.spyOn(view, "repairOrder").mockReturnValue([...view.nodes.slice(1), ...view.nodes.slice(0, 1)]);
  const last = new Repair({
    ...(repair as unknown as { options: ConstructorParameters<typeof Repair>[0] }).options,
    view: () => view,
  });
  expect(await last.repair([KEY], never)).toMatchObject([{ result: "whole" }]);
  expect([surplus, peers[0].blobs.has(KEY)]).toEqual([[KEY], true]);
});

describe("bodies", () => {
  test.each(["READ_ONLY", "NO_SPACE"] as const)(
    "that this node does not take (%s) are closed: each holds a connection",
    async (code) => {
      const { peers, one, hold } = setUp();
      hold(KEY, SMALL, peers[1], peers[2]);
      peers[0].put = async (_key: Key, _source: BlobSource) => {
        throw new CaskError(code, "before it has read anything");
      };
      expect(await one()).toMatchObject({ result: "failed" });
      expect(peers.map(({ openBodies }) => openBodies)).toEqual([0, 0, 0, 0]);
    },
  );

  test("that wait for their turn are closed when this node stops", async () => {
    const { peers, repair, hold } = setUp({ bytesPerSecond: 1 });
    hold(KEY, SMALL, peers[1]);
    hold(LARGE_KEY, LARGE, peers[1]);
    const controller = new AbortController();
    const ended = expect(repair.repair([KEY, LARGE_KEY], controller.signal)).rejects.toThrow("stopped");
    await settle();
    controller.abort(new Error("stopped"));
    await ended;
    await settle();
    expect(peers[1].openBodies).toBe(0);
  });
});

test("so many bytes a second, whoever they go to", async () => {
  const { peers, repair, hold, clock } = setUp({ bytesPerSecond: 1_000 });
  hold(KEY, SMALL, peers[0]);
  let ended = false;
  const work = repair.repair([KEY], never).then(() => {
    ended = true;
  });
  await clock.advance(800);
  expect(ended).toBe(false);
  await clock.advance(200);
  await work;
  expect(peers[2].blobs.has(KEY)).toBe(true);
});
