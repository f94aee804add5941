import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import * as tls from "node:tls";
import { type Key, keyOfBytes } from "../../src/core/key.ts";
import { PiecePool } from "../../src/core/piece-pool.ts";
import { Authority } from "../support/certificates.ts";
import { fetchOf, LaneServer, type LaneServerOptions } from "../support/lane-server.ts";
import { until } from "../support/processes.ts";
import { RawClient } from "../support/raw-client.ts";
import { TemporaryFolders } from "../support/temporary-folder.ts";

const ABSENT = keyOfBytes(Buffer.from("nobody has this"));
const folders = new TemporaryFolders();
let lane: LaneServer;
const started: LaneServer[] = [];

async function serving(options?: LaneServerOptions): Promise<LaneServer> {
  const server = await new LaneServer(options).start();
  started.push(server);
  return server;
}

beforeEach(async () => {
  lane = await serving();
});
afterEach(async () => {
  for (const server of started.splice(0)) await server.stop();
});
afterAll(() => folders.removeAll());

/** Reads that wait until they are answered. */
function slowReads(): { readonly answers: Array<(bytes: Buffer | null) => void> } {
  const answers: Array<(bytes: Buffer | null) => void> = [];
  lane.read = () => new Promise((resolve) => answers.push(resolve));
  return { answers };
}

/** The lane's own reading of a connection, in a client that waits for a read. */
async function waitingClient(): Promise<{
  client: RawClient;
  key: Key;
  bytes: Buffer;
  answer: (bytes: Buffer | null) => void;
}> {
  const { answers } = slowReads();
  const client = await lane.activeClient();
  const bytes = randomBytes(1_000);
  const key = keyOfBytes(bytes);
  await lane.sendPiece(client, fetchOf(key));
  expect(answers).toHaveLength(1);
  return { client, key, bytes, answer: answers[0] as (bytes: Buffer | null) => void };
}

describe("a fetch", () => {
  test.each([0, 1, 4096, 65_536, 2 ** 20])(
    "of %i bytes is answered as node:http does it, byte for byte",
    async (size) => {
      const bytes = randomBytes(size);
      const key = lane.add(bytes);
      const client = await RawClient.at(lane.port);
      const first = await client.ask(fetchOf(key));
      await client.ask(fetchOf(key));
      expect(lane.answered).toEqual([]);
      const later = [await client.ask(fetchOf(key)), await client.ask(fetchOf(key))];
      expect(lane.handled).toHaveLength(2);
      expect(lane.answered).toEqual(["200", "200"]);
      expect(first).toMatchObject({ status: 200, head: expect.stringMatching(/^HTTP\/1.1 200 OK\r\netag: /) });
      for (const answer of later) {
        expect(answer?.head).toBe(first?.head);
        expect(answer?.body.equals(bytes)).toBe(true);
      }
    },
  );

  test("has a date as node:http writes it", async () => {
    const client = await lane.activeClient();
    const key = lane.add(Buffer.from("dated"));
    client.send(fetchOf(key));
    await until("it is there", async () => client.received.includes("dated"));
    const [, date] = /\r\nDate: (.*)\r\n/.exec(client.received.toString()) as unknown as [string, string];
    expect(new Date(date).toUTCString()).toBe(date);
    expect(Math.abs(Date.parse(date) - Date.now())).toBeLessThan(5_000);
  });

  test("which takes a read is answered when the bytes are there", async () => {
    const { client, bytes, answer } = await waitingClient();
    expect(lane.answered).toEqual([]);
    answer(bytes);
    expect((await client.answer())?.body.equals(bytes)).toBe(true);
    expect([lane.handled, lane.answered]).toEqual([[], ["200"]]);
    expect((await client.ask(fetchOf(lane.add(Buffer.from("next")))))?.body.toString()).toBe("next");
    expect([lane.handled, lane.answered]).toEqual([[], ["200", "200"]]);
  });

  test("whose bytes can't be read that way is the handler's, once, and the next is the lane's again", async () => {
    const { client, answer, key } = await waitingClient();
    answer(null);
    expect(await client.answer()).toMatchObject({ status: 404 });
    expect([lane.handled, lane.answered]).toEqual([[`GET /file/${key}/`], []]);
    expect((await client.ask(fetchOf(lane.add(Buffer.from("next")))))?.body.toString()).toBe("next");
    expect([lane.handled.length, lane.answered]).toEqual([1, ["200"]]);
  });

  test("gives its memory back once the system has the bytes", async () => {
    const { client, bytes, answer } = await waitingClient();
    const pool = new PiecePool(bytes.length, 1);
    const piece = pool.take() as Buffer;
    bytes.copy(piece);
    answer(piece);
    expect((await client.answer())?.body.equals(bytes)).toBe(true);
    expect([pool.take(), pool.take()]).toEqual([piece, null]);
  });

  test("on a connection that began with something else is the lane's as well", async () => {
    const client = await RawClient.at(lane.port);
    await client.ask("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc");
    const key = lane.add(Buffer.from("it"));
    for (let i = 0; i < 4; i++) expect((await client.ask(fetchOf(key)))?.body.toString()).toBe("it");
    expect(lane.answered.length).toBeGreaterThanOrEqual(2);
  });

  test("many connections at once get their own answers", async () => {
    lane.read = async (key) => {
      for (let turns = 0; turns < key.charCodeAt(6) % 5; turns++) await new Promise((resolve) => setImmediate(resolve));
      return disk.get(key) ?? null;
    };
    const disk = new Map<Key, Buffer>();
    const askAll = async (index: number) => {
      const client = await lane.activeClient();
      for (let i = 0; i < 20; i++) {
        const bytes = Buffer.from(`${index}, ${i}`.padEnd(1 + ((index * i * 997) % 30_000), "."));
        if (i % 2) disk.set(keyOfBytes(bytes), bytes);
        const key = i % 2 ? keyOfBytes(bytes) : lane.add(bytes);
        expect((await client.ask(fetchOf(key)))?.body.equals(bytes)).toBe(true);
      }
    };
    await Promise.all(Array.from({ length: 12 }, (_, index) => askAll(index)));
    expect(lane.answered.length).toBeGreaterThan(200);
  });
});

describe("with the lane active, the handler gets", () => {
  const KEY = keyOfBytes(Buffer.from("the first"));
  const CASES: Record<string, [text: string, answer: object]> = {
    HEAD: [`HEAD /file/${KEY}/ HTTP/1.1\r\nhost: x\r\n\r\n`, { status: 200, body: Buffer.alloc(0) }],
    "a range": [fetchOf(KEY, "range: bytes=4-8\r\n"), { status: 206, body: Buffer.from("first") }],
    "an entity tag": [fetchOf(KEY, `if-none-match: "${KEY}"\r\n`), { status: 304, body: Buffer.alloc(0) }],
    "a POST with a body": [
      `POST /file/${KEY}/ HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nabcd`,
      { status: 200, body: Buffer.from("took 4\n") },
    ],
    "a POST in chunks": [
      "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
      { status: 200, body: Buffer.from("took 3\n") },
    ],
    "a fetch with a body": [fetchOf(KEY, "content-length: 2\r\n").concat("ab"), { status: 200 }],
    "a header that nobody knows": [fetchOf(KEY, "x-unknown: a\r\n"), { status: 200, body: Buffer.from("the first") }],
    "a wish for another protocol": [
      fetchOf(KEY, "connection: keep-alive, upgrade\r\nupgrade: h2c\r\n"),
      { status: 200, body: Buffer.from("the first") },
    ],
    "a query": [`GET /file/${KEY}?a HTTP/1.1\r\nhost: x\r\n\r\n`, { status: 404 }],
  };

  test.each(Object.entries(CASES))("%s, and the connection goes on", async (name, [text, answer]) => {
    const client = await lane.activeClient();
    expect(await client.ask(text, { isHead: name === "HEAD" })).toMatchObject(answer);
    expect([lane.handled.length, lane.answered, lane.looked]).toEqual([1, [], 0]);
    const key = lane.add(Buffer.from("next"));
    for (let i = 0; i < 3; i++) expect((await client.ask(fetchOf(key)))?.body.toString()).toBe("next");
    expect(lane.answered.length).toBeGreaterThanOrEqual(1);
  });

  test("a fetch that closes the connection, and closes it", async () => {
    const client = await lane.activeClient();
    const answer = await client.ask(fetchOf(KEY, "connection: close\r\n"));
    expect(answer).toMatchObject({ status: 200, head: expect.stringContaining("Connection: close") });
    await client.closed;
    expect([lane.handled.length, lane.answered]).toEqual([1, []]);
  });

  test("what is no HTTP, and refuses it", async () => {
    const client = await lane.activeClient();
    expect(await client.ask("nonsense\r\n\r\n")).toMatchObject({ status: 400 });
    await client.closed;
    expect([lane.handled, lane.answered]).toEqual([[], []]);
  });

  test("what comes behind something that is no HTTP: nothing", async () => {
    const client = await lane.activeClient();
    await lane.sendPiece(client, "nonsense\r\n\r\n");
    await lane.sendPiece(client, fetchOf(KEY));
    expect(await client.answer()).toMatchObject({ status: 400 });
    await client.closed;
    expect([lane.handled, lane.answered, client.received.length]).toEqual([[], [], 0]);
  });
});

describe("what looks like a fetch but is none is not answered as one:", () => {
  const FETCH = fetchOf(ABSENT);
  const LENGTH = FETCH.length;
  const CASES: Record<string, string[]> = {
    "a body": [`POST / HTTP/1.1\r\nhost: x\r\ncontent-length: ${LENGTH}\r\n\r\n`, FETCH],
    "the end of a body": [`POST / HTTP/1.1\r\nhost: x\r\ncontent-length: ${LENGTH + 3}\r\n\r\nabc`, FETCH],
    "each piece of a body": [`POST / HTTP/1.1\r\nhost: x\r\ncontent-length: ${2 * LENGTH}\r\n\r\n`, FETCH, FETCH],
    "a body of a fetch": [fetchOf(keyOfBytes(Buffer.from("the first")), `content-length: ${LENGTH}\r\n`), FETCH],
    "the begin of a body": [`POST / HTTP/1.1\r\nhost: x\r\ncontent-length: ${LENGTH + 3}\r\n\r\n`, FETCH, "abc"],
    "a chunk": [
      `POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n${LENGTH.toString(16)}\r\n`,
      FETCH,
      "\r\n0\r\n\r\n",
    ],
    "a chunk, when its size comes late": [
      "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n",
      `${LENGTH.toString(16)}\r\n`,
      FETCH,
      "\r\n0\r\n\r\n",
    ],
    "the rest of a head": ["POST / HTTP/1.1\r\nhost: x\r\nx-a: ", FETCH],
    "the rest of a request line": ["POST /", FETCH.replace("GET ", "").replace("host", "GET /a HTTP/1.1\r\nhost")],
    "lines of a head": ["POST / HTTP/1.1\r\nx-a: a\r\nx-b: ", FETCH],
  };

  test.each(Object.entries(CASES))("%s", async (_name, [first, ...pieces]) => {
    const client = await lane.activeClient();
    await lane.sendPiece(client, first as string);
    for (const piece of pieces) await lane.sendPiece(client, piece);
    const answer = await client.answer();
    expect([200, 400]).toContain(answer?.status);
    expect([lane.looked, lane.answered]).toEqual([0, []]);
    expect(lane.handled.filter((request) => request.includes(ABSENT))).toEqual([]);
  });

  test("a body that the handler does not wait for", async () => {
    lane = await serving({ handler: (req, res) => (req.method === "POST" ? res.end("early") : lane.answer(req, res)) });
    const client = await lane.activeClient();
    expect(
      (await client.ask(`POST / HTTP/1.1\r\nhost: x\r\ncontent-length: ${2 * LENGTH}\r\n\r\n`))?.body.toString(),
    ).toBe("early");
    await lane.sendPiece(client, FETCH);
    await lane.sendPiece(client, FETCH);
    const key = lane.add(Buffer.from("next"));
    expect((await client.ask(fetchOf(key)))?.body.toString()).toBe("next");
    expect([lane.looked, lane.handled]).toEqual([0, ["POST /", `GET /file/${key}/`]]);
  });

  test("what stands where the size of a chunk must be", async () => {
    const client = await lane.activeClient();
    const first = fetchOf(keyOfBytes(Buffer.from("the first")), "transfer-encoding: chunked\r\n");
    expect(await client.ask(first)).toMatchObject({ status: 200 });
    await lane.sendPiece(client, FETCH);
    expect(await client.answer()).toMatchObject({ status: 400 });
    expect([lane.looked, lane.handled.length]).toEqual([0, 1]);
  });

  // node:http tells of no error there, nor of anything that comes later.
  test("what comes behind a request which node:http did not understand", async () => {
    const client = await lane.activeClient();
    const first = fetchOf(keyOfBytes(Buffer.from("the first")), "connection: upgrade\r\nupgrade: h2c\r\n");
    expect(await client.ask(first)).toMatchObject({ status: 200 });
    await lane.sendPiece(client, "GET / HTTP/9.9\r\nhost: x\r\n\r\n");
    await lane.sendPiece(client, FETCH);
    await lane.sendPiece(client, FETCH);
    expect([lane.looked, lane.handled.length]).toEqual([0, 1]);
  });

  // Of an error in the next request node:http tells nothing, until it has read one that is right: the same with the lane.
  test("nothing comes between a wish for another protocol and what node:http reads next", async () => {
    const client = await lane.activeClient();
    const key = keyOfBytes(Buffer.from("the first"));
    await client.ask(fetchOf(key, "connection: upgrade\r\nupgrade: h2c\r\n"));
    expect(await client.ask(fetchOf(key))).toMatchObject({ status: 200 });
    expect([lane.looked, lane.handled.length]).toEqual([0, 2]);
    await lane.sendPiece(client, "GET / HTTP/9.9\r\nhost: x\r\n\r\n");
    expect(await client.answer()).toMatchObject({ status: 400 });
  });

  test("the body of the connection's first request", async () => {
    const client = await RawClient.at(lane.port);
    const key = lane.add(Buffer.from("first"));
    client.send(fetchOf(key, `content-length: ${2 * LENGTH}\r\n`));
    await client.answer();
    await lane.sendPiece(client, FETCH);
    await lane.sendPiece(client, FETCH);
    expect((await client.ask(fetchOf(key)))?.body.toString()).toBe("first");
    expect([lane.looked, lane.handled.length]).toEqual([0, 2]);
  });
});

describe("answers come in the order of the requests:", () => {
  const SLOW = "GET /slow HTTP/1.1\r\nhost: x\r\n\r\n";

  test("a fetch behind a slow one, in a piece of its own", async () => {
    const slow: ServerResponse[] = [];
    lane = await serving({ handler: (req, res) => (req.url === "/slow" ? slow.push(res) : lane.answer(req, res)) });
    const client = await lane.activeClient();
    const key = lane.add(Buffer.from("fast"));
    await lane.sendPiece(client, SLOW);
    await lane.sendPiece(client, fetchOf(key));
    expect([slow.length, lane.looked, lane.handled]).toEqual([1, 0, ["GET /slow", `GET /file/${key}/`]]);
    slow[0]?.end("slow");
    // In chunks, as it says no length.
    await until("both are there", async () => client.received.includes("fast"));
    expect(client.received.indexOf("slow")).toBeLessThan(client.received.indexOf("fast"));
  });

  test("a fetch while one in node:http is half answered", async () => {
    const slow: ServerResponse[] = [];
    lane = await serving({ handler: (req, res) => (req.url === "/slow" ? slow.push(res) : lane.answer(req, res)) });
    const client = await lane.activeClient();
    const key = lane.add(Buffer.from("fast"));
    await lane.sendPiece(client, SLOW);
    slow[0]?.writeHead(200, { "content-length": 8 }).write("half");
    await until("the half is there", async () => client.received.includes("half"));
    await lane.sendPiece(client, fetchOf(key));
    slow[0]?.end("half");
    expect((await client.answer())?.body.toString()).toBe("halfhalf");
    expect((await client.answer())?.body.toString()).toBe("fast");
    expect(lane.looked).toBe(0);
  });

  test.each(["HEAD", "GET"])("%s behind a fetch that waits for its read", async (method) => {
    const { client, key, bytes, answer } = await waitingClient();
    lane.blobs.set(key, bytes); // for the handler, which is asked in place of the read
    await lane.sendPiece(client, fetchOf(lane.add(Buffer.from("second"))).replace("GET", method));
    expect(lane.handled).toHaveLength(2);
    const pool = new PiecePool(bytes.length, 1);
    answer(pool.take());
    expect((await client.answer())?.body.equals(bytes)).toBe(true);
    expect(await client.answer({ isHead: method === "HEAD" })).toMatchObject({ status: 200 });
    expect([lane.answered, client.received.length]).toEqual([[], 0]);
    await until("the late bytes are given back", async () => pool.take() !== null);
  });

  test("half of a request behind a fetch that waits for its read, and the rest later", async () => {
    const { client, key, bytes, answer } = await waitingClient();
    lane.blobs.set(key, bytes);
    const second = fetchOf(lane.add(Buffer.from("second")));
    await lane.sendPiece(client, second.slice(0, 20));
    answer(bytes);
    expect((await client.answer())?.body.equals(bytes)).toBe(true);
    await lane.sendPiece(client, second.slice(20));
    expect((await client.answer())?.body.toString()).toBe("second");
    expect(lane.answered).toEqual([]);
  });

  test("many in one piece, and one more while they are answered", async () => {
    const client = await lane.activeClient();
    const keys = Array.from({ length: 20 }, (_, i) => lane.add(Buffer.from(`number ${i}`)));
    client.send(
      keys
        .slice(0, -1)
        .map((key) => fetchOf(key))
        .join(""),
    );
    client.send(fetchOf(keys.at(-1) as Key));
    for (let i = 0; i < 20; i++) expect((await client.answer())?.body.toString()).toBe(`number ${i}`);
  });
});

const hasOpenssl = spawnSync("openssl", ["version"]).status === 0;
(hasOpenssl ? test : test.skip)("over TLS it is the same", async () => {
  const { cert, key } = new Authority(await folders.make(), "authority").issue("node");
  const pair = { cert: readFileSync(cert, "utf8"), key: readFileSync(key, "utf8") };
  lane = await serving({ tls: pair });
  const socket = tls.connect({ host: "127.0.0.1", port: lane.port, rejectUnauthorized: false });
  await once(socket, "secureConnect");
  const client = new RawClient(socket);
  const bytes = [randomBytes(2 ** 20), randomBytes(70_000)] as const;
  lane.read = async () => bytes[1];
  const first = await client.ask(fetchOf(lane.add(bytes[0])));
  await client.ask(fetchOf(keyOfBytes(bytes[0])));
  for (let i = 0; i < 3; i++) {
    const answer = await client.ask(fetchOf(keyOfBytes(bytes[0])));
    expect(answer?.head).toBe(first?.head);
    expect(answer?.body.equals(bytes[0])).toBe(true);
    expect((await client.ask(fetchOf(keyOfBytes(bytes[1]))))?.body.equals(bytes[1])).toBe(true);
  }
  expect([lane.handled.length, lane.answered]).toEqual([2, Array(6).fill("200")]);
  socket.destroy();
});
