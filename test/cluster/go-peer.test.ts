import type { IncomingMessage, ServerResponse } from "node:http";
import { GoPeer } from "../../src/cluster/go-peer.ts";
import { type Clock, SystemClock } from "../../src/core/clock.ts";
import { type Key, keyOfBytes } from "../../src/core/key.ts";
import { GO_HEADS_AT_ONCE_COUNT, HAS_KEYS_MAX_COUNT } from "../../src/core/limits.ts";
import { SeededRandom } from "../../src/core/random.ts";
import type { BlobBody, BlobSource, ByteRange } from "../../src/peer/peer.ts";
import { FakeGoNode } from "../support/fake-go-node.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { bytesOf, collect } from "../support/store-blob.ts";

const SECRET = "known to all of them";
const SMALL = Buffer.from("what a Go node holds");
const MIDDLE = bytesOf(100_000, 2); // comes in chunks, without a length
const LARGE = bytesOf(2_500_000, 3);

let go: FakeGoNode;
const open: GoPeer[] = [];
beforeEach(async () => {
  go = await FakeGoNode.start(SECRET);
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((peer) => peer.close()));
  await go.stop();
});

function peer(clock: Clock = new SystemClock(), secret: string | undefined = SECRET): GoPeer {
  const options = { uuid: "go-1", baseUrl: go.url, secret, authorities: undefined, clock, random: new SeededRandom(1) };
  const made = new GoPeer(options);
  open.push(made);
  return made;
}

function sourceOf(bytes: Buffer, sizeBytes = bytes.length): BlobSource {
  return {
    sizeBytes,
    async *read() {
      for (let at = 0; at < bytes.length; at += 60_000) yield bytes.subarray(at, at + 60_000);
    },
  };
}

async function bodyOf(from: GoPeer, key: Key, range?: ByteRange): Promise<BlobBody> {
  const body = await from.get(key, range);
  if (!body) throw new Error("absent");
  return body;
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise(setImmediate);
}

describe("put", () => {
  test.each([
    ["empty", Buffer.alloc(0)],
    ["small", SMALL],
    [
      "that looks like a multipart body",
      Buffer.from('\r\n--cask--\r\nContent-Disposition: form-data; name="file"\r\n\r\n'),
    ],
    ["large", LARGE],
  ])("a blob, %s, arrives as it is, with the secret itself; its store is the node's name", async (_name, bytes) => {
    const key = keyOfBytes(bytes);
    expect(await peer().put(key, sourceOf(bytes))).toEqual({ store: "go:go-1", outcome: "stored" });
    expect(go.blobs.get(key)?.equals(bytes)).toBe(true);
    expect(go.requests[0]).toMatchObject({ method: "POST", path: "/local/" });
    expect(go.requests[0]?.headers["x-cask-cluster-secret"]).toBe(SECRET);
    expect(go.requests[0]?.headers["x-cask-node"]).toBeUndefined();
  });

  const wrong: Array<[string, BlobSource]> = [
    ["that has other bytes", sourceOf(Buffer.from("what a Go node h0lds"))],
    ["that ends early", sourceOf(SMALL.subarray(0, 7), SMALL.length)],
    ["that goes on for longer", sourceOf(Buffer.concat([SMALL, SMALL]), SMALL.length)],
    [
      "that fails in the middle",
      {
        sizeBytes: SMALL.length,
        async *read() {
          yield SMALL.subarray(0, 5);
          throw new Error("the stage is gone");
        },
      },
    ],
  ];
  test.each(wrong)("C7: a source %s is no finished upload: nothing is filed under any key", async (_name, source) => {
    await expect(peer().put(keyOfBytes(SMALL), source)).rejects.toMatchObject({
      code: expect.stringMatching(/KEY_MISMATCH|PEER_FAILED/),
    });
    await until(() => go.brokenUploads === 1);
    expect([...go.blobs.keys()]).toEqual([]);
  });

  const answers: Array<[string, number, string, string]> = [
    ["another key", 200, keyOfBytes(LARGE), "KEY_MISMATCH"],
    ["no key", 200, "show form/handle post\n", "KEY_MISMATCH"],
    ["that it is read-only", 503, "this node is read-only\n", "READ_ONLY"],
    ["that the secret is wrong", 403, "sorry, need the secret knock\n", "FORBIDDEN"],
    ["that the file is too large", 413, "file too large\n", "PEER_FAILED"],
    ["that it could not write", 500, "could not write file\n", "PEER_FAILED"],
    ["a redirect", 307, "", "PEER_FAILED"],
  ];
  test.each(answers)("the answer %s is no copy", async (_name, status, text, code) => {
    go.override = (req, res) =>
      void collect(req).then(() => res.writeHead(status, { location: `${go.url}/elsewhere/` }).end(text));
    await expect(peer().put(keyOfBytes(SMALL), sourceOf(SMALL))).rejects.toMatchObject({ code });
    expect(go.requests).toHaveLength(1);
  });

  test("C40: without a secret to tell, none is sent, and the node refuses", async () => {
    const made = new GoPeer({
      uuid: "go-1",
      baseUrl: go.url,
      secret: undefined,
      authorities: undefined,
      clock: new SystemClock(),
      random: new SeededRandom(1),
    });
    open.push(made);
    await expect(made.put(keyOfBytes(SMALL), sourceOf(SMALL))).rejects.toMatchObject({ code: "FORBIDDEN" });
    expect(go.requests[0]?.headers["x-cask-cluster-secret"]).toBeUndefined();
  });
});

describe("get", () => {
  test.each([
    ["empty", Buffer.alloc(0)],
    ["with a length", SMALL],
    ["in chunks", MIDDLE],
    ["in chunks, and too large for memory", LARGE],
  ])("a blob %s comes whole, and its size is known before its bytes", async (_name, bytes) => {
    const body = await bodyOf(peer(), go.store(bytes) as Key);
    expect(body.sizeBytes).toBe(bytes.length);
    expect((await collect(body.chunks)).equals(bytes)).toBe(true);
  });

  test("a large one is measured once", async () => {
    const key = go.store(LARGE) as Key;
    const asking = peer();
    for (const requests of [2, 3]) {
      (await bodyOf(asking, key)).close();
      expect(go.requests).toHaveLength(requests);
    }
    expect(await asking.has([key])).toMatchObject([{ state: "present", sizeBytes: LARGE.length }]);
  });

  test.each([
    ["a small", SMALL, { start: 2, end: 5 }],
    ["a chunked", MIDDLE, { start: 65_000, end: 70_000 }],
    ["a large", LARGE, { start: 1_999_990, end: 2_400_000 }],
    ["the last byte of a large", LARGE, { start: LARGE.length - 1, end: LARGE.length - 1 }],
  ])("a range of %s blob", async (_name, bytes, range) => {
    const body = await bodyOf(peer(), go.store(bytes) as Key, range);
    expect(body.sizeBytes).toBe(bytes.length);
    expect((await collect(body.chunks)).equals(bytes.subarray(range.start, range.end + 1))).toBe(true);
  });

  test("C5: a range of a copy that is corrupt anywhere is none", async () => {
    const key = keyOfBytes(LARGE);
    const rotten = Buffer.from(LARGE);
    rotten[5] = (rotten[5] as number) ^ 1;
    go.blobs.set(key, rotten);
    await expect(peer().get(key, { start: 2_000_000, end: 2_000_005 })).rejects.toMatchObject({ code: "CORRUPT" });
  });

  test("a range behind the end is refused", async () => {
    const key = go.store(SMALL) as Key;
    await expect(peer().get(key, { start: 0, end: SMALL.length })).rejects.toMatchObject({ code: "BAD_RANGE" });
  });

  test("C5: one that ends early, or has another length than it had, is an error and no short blob", async () => {
    const key = go.store(LARGE) as Key;
    const asking = peer();
    (await bodyOf(asking, key)).close();
    go.blobs.set(key, LARGE.subarray(0, 2_000_000));
    await expect(collect((await bodyOf(asking, key)).chunks)).rejects.toMatchObject({ code: "PEER_FAILED" });
    go.override = (_req, res) => {
      res.writeHead(200, { "content-length": SMALL.length });
      res.write(SMALL.subarray(0, 4), () => res.destroy());
    };
    const cut = await bodyOf(asking, keyOfBytes(SMALL));
    await expect(collect(cut.chunks)).rejects.toMatchObject({ code: "PEER_FAILED" });
  });

  test("C10: absent is 404 alone", async () => {
    expect(await peer().get(keyOfBytes(SMALL))).toBeNull();
    for (const status of [204, 301, 302, 400, 403, 405, 500, 503]) {
      go.override = (_req, res) => void res.writeHead(status, { location: go.url }).end();
      await expect(peer().get(keyOfBytes(SMALL))).rejects.toMatchObject({
        code: status === 403 ? "FORBIDDEN" : "PEER_FAILED",
      });
    }
  });

  test("bodies that are not read, or small ones that are here already, keep no place", async () => {
    const [large, small] = [go.store(LARGE), go.store(MIDDLE)] as [Key, Key];
    const asking = peer();
    for (let i = 0; i < 100; i++) {
      (await bodyOf(asking, large)).close();
      await bodyOf(asking, small);
    }
    expect(await asking.get(keyOfBytes(SMALL))).toBeNull();
  });
});

describe("has", () => {
  test("one HEAD for each key, so many at a time, answered in the order of the keys; it tells no size", async () => {
    const keys = Array.from({ length: HAS_KEYS_MAX_COUNT }, (_, i) => keyOfBytes(Buffer.from(`blob ${i}`)));
    for (let i = 0; i < keys.length; i += 3) go.store(Buffer.from(`blob ${i}`));
    const holdings = await peer().has(keys);
    expect(holdings.map(({ state }) => state)).toEqual(keys.map((_, i) => (i % 3 === 0 ? "present" : "absent")));
    expect(holdings[0]).toEqual({ state: "present", sizeBytes: null, verifiedAtMs: null, store: "go:go-1" });
    expect(go.requests.map(({ method }) => method)).toEqual(keys.map(() => "HEAD"));
    expect(go.headsAtOnce).toBe(GO_HEADS_AT_ONCE_COUNT);
  });

  test.each([400, 403, 405, 500, 503, 302])("C10: %i is don't know", async (status) => {
    go.override = (_req, res) => void res.writeHead(status, { location: go.url }).end();
    expect(await peer().has([keyOfBytes(SMALL)])).toMatchObject([{ state: "unknown" }]);
    expect(go.requests).toHaveLength(1);
  });

  test("of some keys it can be unknown", async () => {
    const key = go.store(SMALL) as Key;
    const other = keyOfBytes(LARGE);
    const usual = answerUsually(go);
    go.override = (req, res) => (req.url?.includes(other) ? void res.destroy() : usual(req, res));
    expect(await peer().has([key, other])).toMatchObject([{ state: "present" }, { state: "unknown" }]);
  });

  test("C32: a node that accepts and says nothing is given up once, not for each key", async () => {
    const clock = new ManualClock();
    go.override = () => undefined;
    const keys = Array.from({ length: 500 }, (_, i) => keyOfBytes(Buffer.from(`${i}`)));
    const expectation = expect(peer(clock).has(keys)).rejects.toMatchObject({ code: "PEER_SLOW" });
    await until(() => go.requests.length > 0);
    await clock.advance(1_500);
    await expectation;
  });

  test("an abort ends it at once", async () => {
    go.override = () => undefined;
    const controller = new AbortController();
    const expectation = expect(peer().has([keyOfBytes(SMALL)], controller.signal)).rejects.toThrow("enough");
    await until(() => go.requests.length > 0);
    controller.abort(new Error("enough"));
    await expectation;
  });
});

test("C21: it has no vouches, no digests and no lists, and is not asked for them", async () => {
  const asked = peer();
  for (const work of [() => asked.vouch(), () => asked.digests(), () => asked.keysIn()]) {
    await expect(work()).rejects.toMatchObject({ code: "NOT_BUILT" });
  }
  expect(go.requests).toEqual([]);
});

function answerUsually(node: FakeGoNode) {
  return (req: IncomingMessage, res: ServerResponse) => {
    const key = /^\/local\/([^/]+)\/$/.exec(req.url ?? "")?.[1];
    res.writeHead(node.blobs.has(key ?? "") ? 200 : 404).end();
  };
}
