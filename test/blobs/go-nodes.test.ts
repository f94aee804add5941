import { ForegroundLoad } from "../../src/blobs/foreground-load.ts";
import { Repair } from "../../src/blobs/repair.ts";
import { Trim } from "../../src/blobs/trim.ts";
import { GoPeer } from "../../src/cluster/go-peer.ts";
import { SystemClock } from "../../src/core/clock.ts";
import { type Key, keyOfBytes } from "../../src/core/key.ts";
import { silentLogger } from "../../src/core/log.ts";
import { SeededRandom } from "../../src/core/random.ts";
import { RateLimit } from "../../src/core/rate-limit.ts";
import { FakeGoNode } from "../support/fake-go-node.ts";
import { FakePeer } from "../support/fake-peer.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { bytesOf } from "../support/store-blob.ts";
import { type ViewOptions, viewOf } from "../support/views.ts";

const SECRET = "known to all of them";
const BLOB = bytesOf(100_000, 5);
const KEY = keyOfBytes(BLOB);
const never = new AbortController().signal;

describe("repair beside a Go node", () => {
  let go: FakeGoNode;
  let goPeer: GoPeer;
  beforeEach(async () => {
    go = await FakeGoNode.start(SECRET);
    const [clock, random] = [new SystemClock(), new SeededRandom(1)];
    goPeer = new GoPeer({ uuid: "go", baseUrl: go.url, secret: SECRET, authorities: undefined, clock, random });
  });
  afterEach(async () => {
    await goPeer.close();
    await go.stop();
  });

  async function repair(view: ViewOptions) {
    const clock = new SystemClock();
    const surplus: Key[] = [];
    const made = new Repair({
      view: () => viewOf(view),
      rate: new RateLimit(1e9, clock),
      foreground: new ForegroundLoad(clock),
      onSurplus: (key) => void surplus.push(key),
      clock,
      log: silentLogger(),
    });
    const [outcome] = await made.repair([KEY], never);
    return { outcome, surplus };
  }

  test("C7: sends a copy to a Go owner that lacks one", async () => {
    const own = new FakePeer("self");
    own.blobs.set(KEY, BLOB);
    const { outcome } = await repair({ peers: [own, goPeer], replication: 2 });
    expect(outcome).toMatchObject({ result: "repaired", copies: 2, sentBytes: BLOB.length });
    expect(go.blobs.get(KEY)?.equals(BLOB)).toBe(true);
  });

  test("fetches what only a Go node holds", async () => {
    go.blobs.set(KEY, BLOB);
    const own = new FakePeer("self");
    expect((await repair({ peers: [own, goPeer], replication: 2 })).outcome).toMatchObject({ result: "repaired" });
    expect(own.blobs.get(KEY)?.equals(BLOB)).toBe(true);
  });

  test("C5: but not a copy of it that is corrupt", async () => {
    go.blobs.set(KEY, bytesOf(100_000, 6));
    const own = new FakePeer("self");
    expect((await repair({ peers: [own, goPeer], replication: 2 })).outcome).toMatchObject({ result: "failed" });
    expect(own.blobs.size).toBe(0);
  });

  test("one that is read-only, or does not answer, is tried again, and nothing is taken for done", async () => {
    go.writeable = false;
    const own = new FakePeer("self");
    own.blobs.set(KEY, BLOB);
    const view = { peers: [own, goPeer], replication: 2 };
    expect((await repair(view)).outcome).toMatchObject({ result: "failed", copies: 1 });
    go.override = (_req, res) => void res.destroy();
    expect((await repair(view)).outcome).toMatchObject({ result: "failed", copies: 1 });
  });
});

test("C21, C22: what a Go node says is never taken for a vouch: it is not asked, and its copy does not count", async () => {
  const clock = new ManualClock();
  const [own, go, b] = [new FakePeer("self"), new FakePeer("go"), new FakePeer("b")];
  for (const peer of [own, go, b]) peer.blobs.set(KEY, BLOB);
  go.isGo = true;
  const view = viewOf({ peers: [own, go, b], replication: 2, maxReplication: 2 });
  // This node is the last one in the order of the key.
  jest.spyOn(view, "order").mockReturnValue([view.node("go"), view.node("b"), view.ownNode] as never);
  const marked: Key[] = [];
  const trim = new Trim({
    view: () => view,
    localStore: {
      store: own.store,
      has: (keys) => own.has(keys),
      beginTrim: async (key) => {
        marked.push(key);
        return { sizeBytes: BLOB.length, seen: "1" as never };
      },
      cancelTrim: async () => undefined,
      finishTrim: async () => true,
      resolveTrims: async () => undefined,
    },
    graceMs: 1_000,
    dryRun: false,
    onDeleted: () => undefined,
    clock,
    random: new SeededRandom(1),
    log: silentLogger(),
  });
  await clock.advance(2_000);
  trim.add(KEY);
  await trim.step(never);
  expect(trim.status()).toMatchObject({ deleted: 0, blockedBecause: null });
  expect([go.vouchRequests, go.asks, marked]).toEqual([[], 0, []]);
});
