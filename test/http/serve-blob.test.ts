import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { keyOfBytes } from "../../src/core/key.ts";
import { PiecePool } from "../../src/core/piece-pool.ts";
import { type BlobDoor, serveBlob } from "../../src/http/serve-blob.ts";
import { until } from "../support/processes.ts";

/** Far more than the system takes at once. */
const BYTES = randomBytes(16 * 2 ** 20);
const KEY = keyOfBytes(BYTES);

async function serving(before: (req: IncomingMessage, res: ServerResponse) => Promise<void> = async () => undefined) {
  const pool = new PiecePool(BYTES.length, 1);
  let served = 0;
  const open: BlobDoor["open"] = async () => {
    const bytes = pool.take() as Buffer;
    BYTES.copy(bytes);
    return { kind: "whole", sizeBytes: bytes.length, bytes };
  };
  const door = { open, openRange: open, size: async () => BYTES.length } as unknown as BlobDoor;
  const server = createServer((req, res) => {
    before(req, res)
      .then(() => serveBlob(req, res, { key: KEY, door, stallMs: 1_000 }))
      .then(
        () => served++,
        () => served++,
      );
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const { port } = server.address() as AddressInfo;
  return { pool, port, server, served: () => served };
}

/** Free: it is handed out, and then there is no other one. */
async function expectFreeOnce(pool: PiecePool): Promise<void> {
  await until("the piece is free", async () => pool.take() !== null);
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(pool.take()).toBeNull();
}

function request(port: number) {
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => undefined);
  socket.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
  return socket;
}

describe("a whole blob in a piece of a pool", () => {
  test("is taken back when the client has it all, not before", async () => {
    const { pool, port, server, served } = await serving();
    const socket = request(port).pause();
    await until("it is being sent", async () => served() === 1);
    expect(pool.take()).toBeNull();
    const hash = createHash("sha1");
    let received = -1;
    socket.on("data", (chunk) => {
      const begin = received < 0 ? chunk.indexOf("\r\n\r\n") + 4 : 0;
      hash.update(chunk.subarray(begin));
      received = Math.max(0, received) + chunk.length - begin;
    });
    socket.resume();
    await until("it is there", async () => received === BYTES.length);
    expect(`sha1:${hash.digest("hex")}`).toBe(KEY);
    await expectFreeOnce(pool);
    socket.destroy();
    server.close();
  });

  test("is taken back once when the client goes away, or takes nothing any more", async () => {
    for (const goes of [true, false]) {
      const { pool, port, server, served } = await serving();
      const socket = request(port).pause();
      await until("it is being sent", async () => served() === 1);
      if (goes) socket.destroy();
      await expectFreeOnce(pool);
      socket.destroy();
      server.close();
    }
  });

  test("is taken back when the client went away before it was opened", async () => {
    const { pool, port, server, served } = await serving(async (_req, res) => void (await once(res, "close")));
    const socket = request(port);
    await new Promise((resolve) => setTimeout(resolve, 50));
    socket.destroy();
    await until("it was answered", async () => served() === 1);
    await expectFreeOnce(pool);
    server.close();
  });
});
