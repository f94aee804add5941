import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { type AddressInfo, createServer as createTcpServer, type Socket } from "node:net";
import { HttpPeer } from "../../src/cluster/http-peer.ts";
import { type Clock, SystemClock } from "../../src/core/clock.ts";
import { type Key, keyOfBytes } from "../../src/core/key.ts";
import {
  BATCH_MAX_COUNT,
  BATCH_OFFER_AGAIN_MS,
  BATCHES_AT_ONCE_COUNT,
  GETS_ALONE_COUNT,
  GETS_WAITING_MAX_COUNT,
  PEER_CONNECTIONS_MAX_COUNT,
  PEER_QUEUE_MAX_COUNT,
  PEER_STALL_TIMEOUT_MS,
  PUTS_ALONE_COUNT,
  SMALL_BODY_MAX_BYTES,
} from "../../src/core/limits.ts";
import {
  type BatchItem,
  COPIES_MAX_BYTES,
  decodeAsked,
  decodeBatch,
  encodeCopies,
} from "../../src/peer/batch-protocol.ts";
import { sourceOfBytes } from "../../src/peer/bytes-source.ts";
import type { BlobBody, BlobSource, ByteRange } from "../../src/peer/peer.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { collect } from "../support/store-blob.ts";

const BYTES = Buffer.from("what the other node has");
const KEY = keyOfBytes(BYTES);
const UUID = "the-other-node";

type Handler = (req: IncomingMessage, res: ServerResponse) => void;

let server: Server;
let handler: Handler;
const requests: IncomingMessage[] = [];
const open: HttpPeer[] = [];

beforeAll(async () => {
  server = createServer((req, res) => {
    requests.push(req);
    handler(req, res);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});
beforeEach(() => {
  requests.length = 0;
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((each) => each.close()));
});

function peerAt(port: number, clock: Clock = new SystemClock(), prefix = ""): HttpPeer {
  const baseUrl = `http://127.0.0.1:${port}${prefix}`;
  const made = new HttpPeer({ uuid: UUID, baseUrl, nodeSecret: "derived", authorities: undefined, clock });
  open.push(made);
  return made;
}

function peer(clock?: Clock, prefix?: string): HttpPeer {
  return peerAt((server.address() as AddressInfo).port, clock, prefix);
}

const source: BlobSource = {
  sizeBytes: BYTES.length,
  async *read() {
    yield BYTES.subarray(0, 5);
    yield BYTES.subarray(5);
  },
};

type Headers = Record<string, string>;

function answer(res: ServerResponse, status: number, headers: Headers = {}, body: Buffer | string = ""): void {
  res.writeHead(status, { "content-length": Buffer.byteLength(body), "x-cask-node": UUID, ...headers }).end(body);
}

function error(res: ServerResponse, status: number, code: string): void {
  answer(res, status, { "content-type": "application/json" }, JSON.stringify({ error: { code, message: "told to" } }));
}

async function getBody(from: HttpPeer, range?: ByteRange): Promise<BlobBody> {
  const body = await from.get(KEY, range);
  if (!body) throw new Error("absent");
  return body;
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise(setImmediate);
}

describe("get", () => {
  test("present: the bytes; the request names the node that is meant and carries the derived secret", async () => {
    handler = (_req, res) => answer(res, 200, {}, BYTES);
    const body = await getBody(peer());
    expect(body.sizeBytes).toBe(BYTES.length);
    expect(await collect(body.chunks)).toEqual(BYTES);
    expect(requests[0]).toMatchObject({ method: "GET", url: `/local/${KEY}/` });
    expect(requests[0]?.headers).toMatchObject({ "x-cask-node": UUID, "x-cask-cluster-secret": "derived" });
  });

  test("absent: null, by 404 alone", async () => {
    handler = (_req, res) => error(res, 404, "NOT_FOUND");
    expect(await peer().get(KEY)).toBeNull();
  });

  const troubles: Array<[string, Handler, string]> = [
    ["an error of the node", (_req, res) => error(res, 500, "STORAGE_FAILED"), "PEER_FAILED"],
    ["don't know", (_req, res) => error(res, 503, "DONT_KNOW"), "PEER_FAILED"],
    ["a refused secret", (_req, res) => error(res, 403, "FORBIDDEN"), "FORBIDDEN"],
    ["another node's address by now", (_req, res) => error(res, 421, "WRONG_NODE"), "WRONG_NODE"],
    ["an answer of another node", (_req, res) => answer(res, 200, { "x-cask-node": "somebody" }, BYTES), "WRONG_NODE"],
    ["404 of another node", (_req, res) => answer(res, 404, { "x-cask-node": "somebody" }), "WRONG_NODE"],
    ["no length", (_req, res) => void res.writeHead(200, { "x-cask-node": UUID }).end(BYTES), "PEER_FAILED"],
    ["a redirect", (_req, res) => answer(res, 302, { location: "http://127.0.0.1:1/" }), "PEER_FAILED"],
    ["a connection that is cut", (_req, res) => void res.destroy(), "PEER_FAILED"],
  ];
  test.each(troubles)("C10: %s is neither present nor absent", async (_name, given, code) => {
    handler = given;
    await expect(peer().get(KEY)).rejects.toMatchObject({ code });
  });

  test("C5: a body that ends early is an error, not a short blob", async () => {
    handler = (_req, res) => {
      res.writeHead(200, { "content-length": BYTES.length, "x-cask-node": UUID });
      res.write(BYTES.subarray(0, 4), () => res.destroy());
    };
    const body = await getBody(peer());
    await expect(collect(body.chunks)).rejects.toMatchObject({ code: "PEER_FAILED" });
  });

  test("a range is asked for, and the size of the whole blob is known", async () => {
    handler = (_req, res) => answer(res, 206, { "content-range": `bytes 2-4/${BYTES.length}` }, BYTES.subarray(2, 5));
    const body = await getBody(peer(), { start: 2, end: 4 });
    expect(body.sizeBytes).toBe(BYTES.length);
    expect((await collect(body.chunks)).toString()).toBe("at ");
    expect(requests[0]?.headers.range).toBe("bytes=2-4");
  });

  const otherRanges: Array<[string, Handler]> = [
    ["the whole", (_req, res) => answer(res, 200, {}, BYTES)],
    ["another one", (_req, res) => answer(res, 206, { "content-range": "bytes 0-2/23" }, BYTES.subarray(0, 3))],
    ["one of another length", (_req, res) => answer(res, 206, { "content-range": "bytes 2-4/23" }, BYTES)],
    ["one of unknown size", (_req, res) => answer(res, 206, { "content-range": "bytes 2-4/*" }, BYTES.subarray(2, 5))],
  ];
  test.each(otherRanges)("%s in place of the range that was asked for is an error", async (_name, given) => {
    handler = given;
    await expect(peer().get(KEY, { start: 2, end: 4 })).rejects.toMatchObject({ code: "PEER_FAILED" });
  });

  test("a base URL with a path keeps it", async () => {
    handler = (_req, res) => error(res, 404, "NOT_FOUND");
    await peer(undefined, "/blobs").get(KEY);
    expect(requests[0]?.url).toBe(`/blobs/local/${KEY}/`);
  });

  test("closing a body that was not read frees its place", async () => {
    handler = (_req, res) => answer(res, 200, {}, Buffer.alloc(1_000_000));
    const many = peer();
    for (let i = 0; i < PEER_CONNECTIONS_MAX_COUNT * 2; i++) (await many.get(KEY))?.close();
    expect(requests).toHaveLength(PEER_CONNECTIONS_MAX_COUNT * 2);
  });
});

describe("put", () => {
  test("C7: sends the bytes under the expected key, and answers what became of them", async () => {
    let received: Buffer = Buffer.alloc(0);
    handler = (req, res) => {
      void collect(req).then((bytes) => {
        received = bytes;
        answer(res, 201, { "x-cask-store": "its store", "x-cask-outcome": "replaced" }, "{}");
      });
    };
    expect(await peer().put(KEY, source)).toEqual({ store: "its store", outcome: "replaced" });
    expect(received).toEqual(BYTES);
    expect(requests[0]).toMatchObject({ method: "PUT", url: `/local/${KEY}/` });
    expect(requests[0]?.headers["content-length"]).toBe(String(BYTES.length));
  });

  test.each(["KEY_MISMATCH", "KEY_COLLISION", "READ_ONLY", "NO_SPACE"])(
    "%s of the node keeps its code",
    async (code) => {
      handler = (req, res) => void collect(req).then(() => error(res, 503, code));
      await expect(peer().put(KEY, source)).rejects.toMatchObject({ code });
    },
  );

  test("any other answer is the node's failure, a 404 too", async () => {
    handler = (req, res) => void collect(req).then(() => error(res, 404, "NOT_FOUND"));
    await expect(peer().put(KEY, source)).rejects.toMatchObject({ code: "PEER_FAILED" });
  });

  test("a source that fails in the middle is no finished upload", async () => {
    let whole = false;
    handler = (req, res) => {
      collect(req).then(
        () => {
          whole = true;
          answer(res, 201);
        },
        () => undefined, // cut, as it must be
      );
    };
    const failing: BlobSource = {
      sizeBytes: BYTES.length,
      async *read() {
        yield BYTES.subarray(0, 5);
        throw new Error("the stage is gone");
      },
    };
    await expect(peer().put(KEY, failing)).rejects.toMatchObject({ code: "PEER_FAILED" });
    expect(whole).toBe(false);
  });
});

describe("small blobs that are in memory", () => {
  const blobs = Array.from({ length: 12 }, (_, i) => Buffer.from(`small blob ${i}`));
  const inMemory = (bytes: Buffer): BlobSource => ({
    sizeBytes: bytes.length,
    inMemory: () => bytes,
    async *read() {
      yield bytes;
    },
  });
  const putAll = (at: HttpPeer) => Promise.allSettled(blobs.map((bytes) => at.put(keyOfBytes(bytes), inMemory(bytes))));
  const stored = { "x-cask-store": "s", "x-cask-outcome": "stored" };
  const isBatch = (req: IncomingMessage) => req.url === "/local/batch/";

  /** As a node does, later: until then the others are gathered. */
  function answering(onBatch: (items: readonly BatchItem[], res: ServerResponse) => void): Handler {
    return async (req, res) => {
      const body = await collect(req).catch(() => null);
      if (!body) return;
      await new Promise((later) => setTimeout(later, 30));
      if (isBatch(req)) onBatch(decodeBatch(body), res);
      else answer(res, 201, stored, "{}");
    };
  }

  test("go together, each with an answer of its own", async () => {
    handler = answering((items, res) => {
      const copies = items.map(({ bytes }) =>
        String(bytes) === "small blob 7"
          ? { error: { code: "NO_SPACE", message: "full" } }
          : { store: "s", outcome: "known" },
      );
      answer(res, 200, {}, JSON.stringify({ copies }));
    });
    const ends = await putAll(peer());
    expect(requests.filter(isBatch)).toHaveLength(1);
    expect(requests.filter((req) => req.complete && !isBatch(req))).toHaveLength(PUTS_ALONE_COUNT);
    expect(ends[7]).toMatchObject({ status: "rejected", reason: { code: "NO_SPACE" } });
    const others = ends.filter((_, i) => i !== 7);
    expect(others.map(({ status }) => status)).toEqual(others.map(() => "fulfilled"));
    expect(ends[0]).toMatchObject({ value: { store: "s", outcome: "stored" } });
    expect(ends[11]).toMatchObject({ value: { store: "s", outcome: "known" } });
  });

  test.each([404, 405])(
    "go one by one to a version without batches, which answers %i, and are offered later again",
    async (status) => {
      const clock = new ManualClock();
      handler = answering((_items, res) => answer(res, status));
      const old = peer(clock);
      for (let i = 0; i < 2; i++)
        expect((await putAll(old)).map(({ status: end }) => end)).toEqual(blobs.map(() => "fulfilled"));
      expect(requests.filter(isBatch)).toHaveLength(1);
      await clock.advance(BATCH_OFFER_AGAIN_MS);
      await putAll(old);
      expect(requests.filter(isBatch)).toHaveLength(2);
    },
  );

  test("C32: behind a node that has stopped answering nobody waits longer for his turn than for an answer", async () => {
    const clock = new ManualClock();
    handler = () => undefined;
    const ends = putAll(peer(clock));
    await until(() => requests.length === PUTS_ALONE_COUNT);
    await clock.advance(PEER_STALL_TIMEOUT_MS);
    const given = (await ends).map((end) => end.status === "rejected" && end.reason.code);
    expect(given).toEqual(blobs.map(() => "PEER_SLOW"));
  });

  test.each<[string, Handler, string]>([
    ["is refused as a whole", (_req, res) => error(res, 503, "READ_ONLY"), "READ_ONLY"],
    ["is cut", (_req, res) => void res.destroy(), "PEER_FAILED"],
    ["is answered for fewer", (_req, res) => answer(res, 200, {}, '{"copies":[]}'), "PEER_FAILED"],
    ["is answered by nonsense", (_req, res) => answer(res, 200, {}, "yes"), "PEER_FAILED"],
  ])("a batch that %s fails for all of it", async (_what, given, code) => {
    handler = answering((_items, res) => given(requests[0] as IncomingMessage, res));
    const ends = await putAll(peer());
    for (const end of ends.slice(PUTS_ALONE_COUNT)) expect(end).toMatchObject({ status: "rejected", reason: { code } });
  });
});

describe("fetches from a node that others fetch from", () => {
  const copies = Array.from({ length: 12 }, (_, i) => Buffer.from(`a copy ${i}`));
  const keys = copies.map(keyOfBytes);
  const isFetch = (req: IncomingMessage) => req.url === "/local/fetch/";
  const copyOf = (key: Key) => copies[keys.indexOf(key)] ?? null;
  let held: (() => void)[] = [];

  /** GETs stay unanswered until they are let go, so that the node is crowded. */
  function answering(onFetch: (asked: readonly Key[], res: ServerResponse) => void): Handler {
    return async (req, res) => {
      if (!isFetch(req)) return void held.push(() => answer(res, 200, {}, BYTES));
      const asked = decodeAsked((await collect(req)) as Buffer);
      await new Promise((later) => setTimeout(later, 30));
      onFetch(asked, res);
    };
  }

  async function crowd(at: HttpPeer): Promise<{ leave: () => Promise<void> }> {
    held = [];
    const gets = Array.from({ length: GETS_ALONE_COUNT }, () => at.get(KEY).catch(() => null));
    await until(() => held.length === GETS_ALONE_COUNT);
    return {
      leave: async () => {
        for (const letGo of held) letGo();
        for (const body of await Promise.all(gets)) body?.close();
      },
    };
  }

  test("go together, those that come while some are on their way; one that is not given is told as such", async () => {
    handler = answering((asked, res) => {
      const given = asked.map((key) => (key === keys[7] ? null : copyOf(key)));
      answer(res, 200, {}, encodeCopies(given));
    });
    const at = peer();
    expect(at.getTogether(KEY)).toBeNull();
    const { leave } = await crowd(at);
    const got = await Promise.all(keys.map((key) => at.getTogether(key)));
    expect(got).toEqual(copies.map((bytes, i) => (i === 7 ? null : bytes)));
    expect(requests.filter(isFetch)).toHaveLength(2);
    await leave();
    expect(at.getTogether(KEY)).toBeNull();
  });

  test.each([404, 405])("are alone again for a while with a version that answers %i", async (status) => {
    const clock = new ManualClock();
    handler = answering((_asked, res) => answer(res, status));
    const at = peer(clock);
    await crowd(at);
    expect(await at.getTogether(KEY)).toBeNull();
    expect(at.getTogether(KEY)).toBeNull();
    expect(requests.filter(isFetch)).toHaveLength(1);
    await clock.advance(BATCH_OFFER_AGAIN_MS);
    await crowd(at);
    expect(at.getTogether(KEY)).not.toBeNull();
  });

  test("a version that takes batches, and gives none, goes on to get them", async () => {
    const onFetch = answering((_asked, res) => answer(res, 405));
    const isBatch = (req: IncomingMessage) => req.url === "/local/batch/";
    handler = async (req, res) => {
      if (req.method === "GET" || isFetch(req)) return onFetch(req, res);
      const body = await collect(req);
      await new Promise((later) => setTimeout(later, 30));
      if (!isBatch(req)) return answer(res, 201, {}, "{}");
      const stored = decodeBatch(body as Buffer).map(() => ({ store: "s", outcome: "stored" }));
      answer(res, 200, {}, JSON.stringify({ copies: stored }));
    };
    const at = peer();
    const { leave } = await crowd(at);
    expect(await at.getTogether(KEY)).toBeNull();
    await leave();
    await Promise.all(copies.map((bytes, i) => at.put(keys[i] as Key, sourceOfBytes(bytes))));
    expect(requests.filter(isBatch)).toHaveLength(1);
  });

  test.each<[string, (res: ServerResponse) => void]>([
    ["refused", (res) => error(res, 403, "FORBIDDEN")],
    ["cut", (res) => void res.destroy()],
    ["answered for fewer", (res) => answer(res, 200, {}, encodeCopies([]))],
    ["answered by too much", (res) => answer(res, 200, {}, Buffer.alloc(COPIES_MAX_BYTES + 1))],
    ["answered by another node", (res) => answer(res, 200, { "x-cask-node": "another" }, encodeCopies([BYTES]))],
  ])("that are %s say nothing", async (_what, given) => {
    handler = answering((_asked, res) => given(res));
    const at = peer();
    const { leave } = await crowd(at);
    expect(await at.getTogether(KEY)).toBeNull();
    await leave();
  });

  test("C32: no more wait behind a node that says nothing than there is room for, and for as long as for an answer", async () => {
    const clock = new ManualClock();
    handler = answering(() => undefined);
    const at = peer(clock);
    await crowd(at);
    const first = at.getTogether(KEY);
    const sentCount = (BATCHES_AT_ONCE_COUNT - 1) * BATCH_MAX_COUNT;
    const others = Array.from({ length: sentCount + GETS_WAITING_MAX_COUNT }, () => at.getTogether(KEY));
    expect(at.getTogether(KEY)).toBeNull();
    await until(() => requests.some(isFetch));
    await clock.advance(PEER_STALL_TIMEOUT_MS);
    expect(await first).toBeNull();
    await at.close();
    expect(await Promise.all(others)).toEqual(others.map(() => null));
  });
});

describe("has", () => {
  test("answers in the order of the keys", async () => {
    const holdings = [{ state: "absent" }, { state: "present", sizeBytes: 7, store: "s" }];
    handler = (_req, res) => answer(res, 200, {}, JSON.stringify({ holdings }));
    expect(await peer().has([KEY, KEY])).toEqual([
      { state: "absent" },
      { state: "present", sizeBytes: 7, verifiedAtMs: null, store: "s" },
    ]);
  });

  test("an answer without an end is not taken in", async () => {
    handler = (_req, res) => answer(res, 200, {}, " ".repeat(SMALL_BODY_MAX_BYTES + 1));
    await expect(peer().has([KEY])).rejects.toThrow("answer too long");
  });

  test.each([
    ["too few answers", JSON.stringify({ holdings: [] })],
    ["none", "{}"],
    ["no JSON", "<html>"],
  ])("%s: rejects", async (_name, body) => {
    handler = (_req, res) => answer(res, 200, {}, body);
    await expect(peer().has([KEY])).rejects.toMatchObject({ code: "PEER_FAILED" });
  });
});

describe("C32: every call ends", () => {
  test("a node that accepts and then says nothing is given up after its time", async () => {
    const clock = new ManualClock();
    handler = () => undefined;
    const expectation = expect(peer(clock).has([KEY])).rejects.toMatchObject({ code: "PEER_SLOW" });
    await until(() => requests.length > 0);
    await clock.advance(1_500);
    await expectation;
  });

  test("what comes of an answer begins its time anew", async () => {
    const clock = new ManualClock();
    const body = JSON.stringify({ holdings: [{ state: "absent" }] });
    let send = (_part: string) => undefined as unknown;
    handler = (_req, res) => {
      res.writeHead(200, { "content-length": body.length, "x-cask-node": UUID });
      send = (part) => res.write(part);
    };
    const holdings = peer(clock).has([KEY]);
    await until(() => requests.length > 0);
    for (const part of [body.slice(0, 5), body.slice(5, 10), body.slice(10)]) {
      await clock.advance(1_000);
      send(part);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    expect(await holdings).toEqual([{ state: "absent" }]);
  });

  test("one that stops in the middle of a body too", async () => {
    const clock = new ManualClock();
    handler = (_req, res) => {
      res.writeHead(200, { "content-length": BYTES.length, "x-cask-node": UUID });
      res.write(BYTES.subarray(0, 4));
    };
    const body = await getBody(peer(clock));
    const chunks = body.chunks[Symbol.asyncIterator]();
    expect((await chunks.next()).value.toString()).toBe("what");
    const expectation = expect(chunks.next()).rejects.toMatchObject({ code: "PEER_SLOW" });
    await clock.advance(3_000);
    await expectation;
  });

  test("a slow reader is not the node's fault", async () => {
    const clock = new ManualClock();
    handler = (_req, res) => answer(res, 200, {}, BYTES);
    const body = await getBody(peer(clock));
    await clock.advance(60_000);
    expect(await collect(body.chunks)).toEqual(BYTES);
  });

  test("an abort ends it at once", async () => {
    handler = () => undefined;
    const controller = new AbortController();
    const expectation = expect(peer().has([KEY], controller.signal)).rejects.toThrow("enough");
    await until(() => requests.length > 0);
    controller.abort(new Error("enough"));
    await expectation;
  });

  test("nobody listens: an error at once", async () => {
    const free = createTcpServer().listen(0, "127.0.0.1");
    await once(free, "listening");
    const { port } = free.address() as AddressInfo;
    free.close();
    await once(free, "close");
    await expect(peerAt(port).get(KEY)).rejects.toMatchObject({ code: "PEER_FAILED" });
  });

  test("connections that nobody serves, as those of a stopped process, are given up too", async () => {
    const clock = new ManualClock();
    const sockets: Socket[] = [];
    const silent = createTcpServer((socket) => void sockets.push(socket)).listen(0, "127.0.0.1");
    await once(silent, "listening");
    const asked = peerAt((silent.address() as AddressInfo).port, clock).get(KEY);
    const expectation = expect(asked).rejects.toMatchObject({ code: "PEER_SLOW" });
    await until(() => sockets.length > 0);
    await clock.advance(3_000);
    await expectation;
    for (const socket of sockets) socket.destroy();
    silent.close();
  });

  test("at most so many requests at a time; the others wait their turn", async () => {
    const waiting: ServerResponse[] = [];
    handler = (_req, res) => void waiting.push(res);
    const busy = peer();
    const asked = Array.from({ length: PEER_CONNECTIONS_MAX_COUNT + 5 }, () => busy.get(KEY));
    await until(() => waiting.length >= PEER_CONNECTIONS_MAX_COUNT);
    for (let i = 0; i < 20; i++) await new Promise(setImmediate);
    expect(waiting).toHaveLength(PEER_CONNECTIONS_MAX_COUNT);
    handler = (_req, res) => error(res, 404, "NOT_FOUND");
    for (const res of waiting) error(res, 404, "NOT_FOUND");
    expect(await Promise.all(asked)).toEqual(asked.map(() => null));
  });

  test("and those who wait are bounded too: one more is refused at once", async () => {
    handler = () => undefined;
    const controller = new AbortController();
    const full = PEER_CONNECTIONS_MAX_COUNT + PEER_QUEUE_MAX_COUNT;
    const busy = peer();
    const asked = Array.from({ length: full }, () => busy.has([KEY], controller.signal));
    const ended = Promise.allSettled(asked);
    await expect(busy.has([KEY])).rejects.toMatchObject({ code: "OVERLOADED" });
    controller.abort(new Error("enough"));
    await ended;
  });
});
