import { randomBytes } from "node:crypto";
import type { ServerResponse } from "node:http";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { type Key, keyOfBytes } from "../../src/core/key.ts";
import { STOP_TIMEOUT_MS } from "../../src/core/limits.ts";
import { PiecePool } from "../../src/core/piece-pool.ts";
import { fetchOf, LaneServer, type LaneServerOptions } from "../support/lane-server.ts";
import { until } from "../support/processes.ts";
import { RawClient } from "../support/raw-client.ts";

/** How connections of the lane end, and how they don't. */

const STALL_MS = 120;
/** Less than the time that an idle connection has. */
const PATIENCE_MS = 5_000;
/** Far more than the system takes at once. */
const LARGE_BYTES = 16 * 2 ** 20;
const started: LaneServer[] = [];
afterEach(async () => {
  for (const server of started.splice(0)) await server.stop();
});

async function serving(options?: LaneServerOptions): Promise<LaneServer> {
  const lane = await new LaneServer(options).start();
  started.push(lane);
  return lane;
}

/** In a piece of a pool, which is free again when the lane is done with it. */
function pooled(lane: LaneServer, sizeBytes = LARGE_BYTES): { pool: PiecePool; key: Key; bytes: Buffer } {
  const pool = new PiecePool(sizeBytes, 1);
  const bytes = pool.take() as Buffer;
  randomBytes(sizeBytes).copy(bytes);
  return { pool, key: lane.add(bytes), bytes };
}

/** A client that takes nothing of a large answer of the lane, for now. */
async function stalledClient(lane: LaneServer) {
  const large = pooled(lane);
  const client = await lane.activeClient();
  client.socket.pause();
  await lane.sendPiece(client, fetchOf(large.key));
  expect([lane.looked, lane.answered, lane.handled]).toEqual([1, [], []]);
  expect(lane.endOf(client).writableLength).toBeGreaterThan(0);
  return { client, ...large };
}

/** One that takes nothing of a large answer, whoever gives it, and asks for something else behind it. */
async function stalledAndAsking(hasLane: boolean, text: string) {
  const lane = await serving({
    hasLane,
    stallMs: STALL_MS,
    handler: (req, res) => (req.url === "/small" ? void res.end("small") : lane.answer(req, res)),
  });
  const { key } = pooled(lane);
  const client = await lane.activeClient();
  client.socket.pause();
  await lane.sendPiece(client, fetchOf(key));
  await until("it is being sent", async () => lane.endOf(client).writableLength > 0);
  await lane.sendPiece(client, text);
  return { lane, client, key };
}

/** A MiB at a time: the system tells the server of much less. */
function readSlowly({ socket }: RawClient, everyMs: number): () => void {
  let allowed = 0;
  const onData = () => void (socket.bytesRead >= allowed && socket.pause());
  const timer = setInterval(() => {
    allowed = socket.bytesRead + 2 ** 20;
    socket.resume();
  }, everyMs);
  socket.on("data", onData);
  return () => {
    clearInterval(timer);
    socket.off("data", onData).resume();
  };
}

describe("a client that leaves while its fetch waits for a read", () => {
  test.each([
    ["at once", (client: RawClient) => void client.socket.destroy()],
    ["with a reset", (client: RawClient) => void client.socket.resetAndDestroy()],
    // As with node:http, whose server ends its side when the client does.
    ["by its own half of the connection", (client: RawClient) => void client.socket.end()],
  ])("%s is told as cut, and the bytes are given back", async (_name, leave) => {
    const lane = await serving();
    let answer: (bytes: Buffer | null) => void = () => undefined;
    lane.read = () => new Promise((resolve) => (answer = resolve));
    const client = await lane.activeClient();
    const { pool, bytes } = pooled(lane, 1_000);
    await lane.sendPiece(client, fetchOf(keyOfBytes(Buffer.from("elsewhere"))));
    const end = lane.endOf(client);
    leave(client);
    await until("the server knows", async () => !end.writable);
    answer(bytes);
    await until("it is told", async () => lane.answered.length > 0);
    expect([lane.answered, lane.handled, client.received.length]).toEqual([["cut"], [], 0]);
    expect([pool.take(), pool.take()]).toEqual([bytes, null]);
    await client.closed;
  });

  test("is told as cut when nothing was found, too", async () => {
    const lane = await serving();
    let answer: (bytes: Buffer | null) => void = () => undefined;
    lane.read = () => new Promise((resolve) => (answer = resolve));
    const client = await lane.activeClient();
    await lane.sendPiece(client, fetchOf(keyOfBytes(Buffer.from("elsewhere"))));
    const end = lane.endOf(client);
    client.socket.destroy();
    await until("the server knows", async () => !end.writable);
    answer(null);
    await until("it is told", async () => lane.answered.length > 0);
    expect([lane.answered, lane.handled]).toEqual([["cut"], []]);
  });

  test("as with node:http alone, who has ended their half of the connection get no answer", async () => {
    const lane = await serving({ hasLane: false, handler: (_req, res) => void setImmediate(() => res.end("late")) });
    const client = await RawClient.at(lane.port);
    await lane.sendPiece(client, fetchOf(keyOfBytes(Buffer.alloc(0))));
    client.socket.end();
    await client.closed;
    expect(client.received.toString()).not.toContain("late\r\n0");
  });
});

describe("a client that does not take its answer", () => {
  test("is cut off after a while, and told as that", async () => {
    const lane = await serving({ stallMs: STALL_MS });
    const { client, pool, bytes } = await stalledClient(lane);
    const begunMs = performance.now();
    expect(pool.take()).toBeNull();
    await until("it is cut off", async () => lane.endOf(client).destroyed, PATIENCE_MS);
    expect(performance.now() - begunMs).toBeGreaterThan(STALL_MS / 2);
    await until("it is told", async () => lane.answered.length > 0);
    expect([lane.answered, lane.handled]).toEqual([["cut"], []]);
    expect([pool.take(), pool.take()]).toEqual([bytes, null]);
    client.socket.destroy();
  });

  test.each([
    ["with node:http alone", false],
    ["with the lane", true],
  ])("is cut off also when it goes on asking: %s", async (_name, hasLane) => {
    const { client, lane } = await stalledAndAsking(hasLane, "GET /small HTTP/1.1\r\nhost: x\r\n\r\n");
    await until("it is cut off", async () => lane.endOf(client).destroyed, PATIENCE_MS);
    client.socket.destroy();
  });

  test.each([
    ["with node:http alone", false],
    ["with the lane", true],
  ])("is cut off also when it takes the first of two, and nothing of the second: %s", async (_name, hasLane) => {
    const { client, lane, key } = await stalledAndAsking(hasLane, "");
    await lane.sendPiece(client, fetchOf(key));
    // It reads on until the first answer is there, and a little more, which says so.
    const onData = () => void (client.socket.bytesRead > LARGE_BYTES + 2 ** 20 && client.socket.pause());
    client.socket.on("data", onData).resume();
    await until("it has the first", async () => client.socket.isPaused());
    await until("it is cut off", async () => lane.endOf(client).destroyed, PATIENCE_MS);
    client.socket.destroy();
  });

  test("has one such answer made for it, not as many as it asks for", async () => {
    const lane = await serving();
    const { client, key } = await stalledClient(lane);
    for (let i = 0; i < 20; i++) client.send(fetchOf(key));
    await sleep(50); // whatever the server takes of them
    expect(lane.looked).toBe(1);
    expect(lane.endOf(client).writableLength).toBeLessThan(3 * LARGE_BYTES);
    client.socket.destroy();
    await until("it is told", async () => lane.answered.length > 0);
    expect(lane.answered).toEqual(["cut"]);
  });

  test("gets it all when it takes it slowly but steadily, and is kept", async () => {
    const stallMs = 2 * STALL_MS;
    const lane = await serving({ stallMs });
    const { client, bytes } = await stalledClient(lane);
    const begunMs = performance.now();
    const cancel = readSlowly(client, stallMs / 6);
    const answer = await client.answer();
    cancel();
    expect(answer?.body.equals(bytes)).toBe(true);
    expect(performance.now() - begunMs).toBeGreaterThan(2 * stallMs);
    await sleep(2 * stallMs); // being idle is no stall
    const key = lane.add(Buffer.from("next"));
    expect((await client.ask(fetchOf(key)))?.body.toString()).toBe("next");
    expect([lane.answered, lane.handled]).toEqual([["200", "200"], []]);
  });

  test("and what it asks meanwhile is answered behind it", async () => {
    const lane = await serving();
    const { client, key, bytes } = await stalledClient(lane);
    const small = lane.add(Buffer.from("small"));
    await lane.sendPiece(client, fetchOf(small));
    await lane.sendPiece(client, fetchOf(key));
    client.socket.resume();
    expect((await client.answer())?.body.equals(bytes)).toBe(true);
    expect((await client.answer())?.body.toString()).toBe("small");
    expect((await client.answer())?.body.equals(bytes)).toBe(true);
    expect(lane.handled.length + lane.answered.length).toBe(3);
  });
});

describe("the time that a handler sets for its answer counts, when one of the lane was being sent before it:", () => {
  test.each([
    ["with node:http alone", false],
    ["with the lane", true],
  ])("%s", async (_name, hasLane) => {
    const { end } = await stalledAndHeld(hasLane, (res) => void res.setTimeout(50, () => res.destroy()));
    await until("it is cut off", async () => end.destroyed, PATIENCE_MS);
  });

  async function stalledAndHeld(hasLane: boolean, onHeld: (res: ServerResponse) => void) {
    const lane = await serving({
      hasLane,
      handler: (req, res) => (req.url === "/held" ? onHeld(res) : lane.answer(req, res)),
    });
    const { key } = pooled(lane);
    const client = await lane.activeClient();
    client.socket.pause();
    const end = lane.endOf(client);
    await lane.sendPiece(client, fetchOf(key));
    await until("it is being sent", async () => end.writableLength > 0);
    const held = lane.sendPiece(client, "GET /held HTTP/1.1\r\nhost: x\r\n\r\n");
    await new Promise((resolve) => setImmediate(resolve)); // so that it comes before the first answer has gone
    client.socket.resume();
    expect((await client.answer())?.body).toHaveLength(LARGE_BYTES);
    await held;
    await until("the request is there", async () => lane.handled.includes("GET /held"));
    return { end };
  }
});

describe("a server that stops", () => {
  async function stopMs(lane: LaneServer): Promise<number> {
    const begunMs = performance.now();
    await lane.server.stop();
    return performance.now() - begunMs;
  }

  test("sends the rest of an answer, then closes the connection", async () => {
    const lane = await serving();
    const { client, bytes } = await stalledClient(lane);
    const stopped = stopMs(lane);
    await sleep(100); // Node.js has long looked for idle connections
    expect(lane.endOf(client).destroyed).toBe(false);
    client.socket.resume();
    expect((await client.answer())?.body.equals(bytes)).toBe(true);
    await client.closed;
    expect(await stopped).toBeLessThan(STOP_TIMEOUT_MS / 2);
    expect(lane.answered).toEqual(["200"]);
  });

  test("answers what waits for a read, and closes the connection", async () => {
    const lane = await serving();
    const bytes = randomBytes(1_000);
    let answer: (bytes: Buffer | null) => void = () => undefined;
    lane.read = () => new Promise((resolve) => (answer = resolve));
    const client = await lane.activeClient();
    await lane.sendPiece(client, fetchOf(keyOfBytes(bytes)));
    lane.add(bytes);
    const stopped = stopMs(lane);
    expect(await client.answer()).toMatchObject({ status: 200, head: expect.stringContaining("Connection: close") });
    answer(bytes); // late: the handler was asked
    await client.closed;
    expect(client.received).toHaveLength(0);
    expect(await stopped).toBeLessThan(STOP_TIMEOUT_MS / 2);
    expect([lane.answered, lane.handled]).toEqual([[], [`GET /file/${keyOfBytes(bytes)}/`]]);
  });

  test("does both at a time", async () => {
    const lane = await serving();
    const { client, bytes } = await stalledClient(lane);
    lane.read = () => new Promise(() => undefined);
    const other = await RawClient.at(lane.port);
    const key = lane.add(Buffer.from("it"));
    for (let i = 0; i < 2; i++) await other.ask(fetchOf(key));
    lane.blobs.delete(key);
    await lane.sendPiece(other, fetchOf(key));
    lane.blobs.set(key, Buffer.from("it"));
    const stopped = stopMs(lane);
    expect((await other.answer())?.body.toString()).toBe("it");
    await other.closed;
    client.socket.resume();
    expect((await client.answer())?.body.equals(bytes)).toBe(true);
    await client.closed;
    expect(await stopped).toBeLessThan(STOP_TIMEOUT_MS / 2);
  });

  test("takes no new connection while the rest of an answer is sent", async () => {
    const lane = await serving();
    const { client } = await stalledClient(lane);
    const stopped = stopMs(lane);
    const late = new RawClient(connect(lane.port, "127.0.0.1"));
    const taken = new Promise((resolve) => late.socket.once("connect", () => resolve("taken")));
    const outcome = await Promise.race([late.closed.then(() => "refused"), taken]);
    late.socket.destroy();
    client.socket.resume();
    await client.answer();
    await stopped;
    expect(outcome).toBe("refused");
  });

  test("does not answer at the lane any more, and closes a connection that goes on asking", async () => {
    const lane = await serving();
    const { client: stalled } = await stalledClient(lane);
    const client = await RawClient.at(lane.port);
    const key = lane.add(Buffer.from("it"));
    for (let i = 0; i < 2; i++) await client.ask(fetchOf(key));
    const looked = lane.looked;
    const stopped = stopMs(lane);
    expect((await client.ask(fetchOf(key)))?.head).toContain("Connection: close");
    expect(lane.looked).toBe(looked);
    await client.closed;
    stalled.socket.resume();
    await stalled.answer();
    await stopped;
  });
});

test("a connection that the lane alone has used for long is kept", async () => {
  const lane = await serving({ headTimeoutMs: 200 });
  const client = await lane.activeClient();
  const key = lane.add(Buffer.from("it"));
  const begunMs = performance.now();
  while (performance.now() - begunMs < 600) {
    expect((await client.ask(fetchOf(key)))?.body.toString()).toBe("it");
    await sleep(50);
  }
  expect(lane.handled).toEqual([]);
});

test("half a head takes so long and no longer, also on a connection that the lane has used", async () => {
  const lane = await serving({ headTimeoutMs: 200 });
  const client = await lane.activeClient();
  expect((await client.ask(fetchOf(lane.add(Buffer.from("it")))))?.body.toString()).toBe("it");
  expect(await client.ask("GET /file/")).toMatchObject({ status: 408 });
  await client.closed;
});
