import { getEventListeners, once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { Pool } from "undici";
import { type WholeAnswer, wholeAnswer } from "../../src/cluster/whole-answer.ts";
import { until } from "../support/processes.ts";

const MAX_BYTES = 1_000;
const HEAD = "HTTP/1.1 200 OK\r\nx-a: b\r\n";

let server: Server;
let pool: Pool;
let serve: (socket: Socket, request: string) => void;
const sockets = new Set<Socket>();
let closedCount: number;
const requests: string[] = [];

beforeEach(async () => {
  requests.length = 0;
  closedCount = 0;
  server = createServer((socket) => {
    sockets.add(socket);
    socket
      .on("error", () => undefined)
      .on("close", () => {
        sockets.delete(socket);
        closedCount++;
      });
    socket.on("data", (chunk) => {
      requests.push(chunk.toString());
      serve(socket, chunk.toString());
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  pool = new Pool(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, { connections: 1 });
});
afterEach(async () => {
  await pool.destroy();
  for (const socket of sockets) socket.destroy();
  server.close();
});

function ask(signal = new AbortController().signal, onProgress: () => void = () => undefined): Promise<WholeAnswer> {
  const tooLong = () => new Error("too long");
  return wholeAnswer(pool, { method: "GET", path: "/" }, { signal, onProgress, maxBytes: MAX_BYTES, tooLong });
}

test.each([0, 1, 999, MAX_BYTES])("a body of %i bytes, in one part", async (size) => {
  const body = Buffer.alloc(size, "x");
  serve = (socket) => socket.write(Buffer.concat([Buffer.from(`${HEAD}content-length: ${size}\r\n\r\n`), body]));
  const { signal } = new AbortController();
  const answer = await ask(signal);
  expect(getEventListeners(signal, "abort")).toEqual([]);
  expect(answer).toMatchObject({ statusCode: 200, headers: { "x-a": "b" } });
  expect(answer.body.equals(body)).toBe(true);
});

test("in several parts, each of which is progress, on a connection that is used again", async () => {
  serve = async (socket) => {
    for (const part of [HEAD, "transfer-encoding: chunked\r\n\r\n", "3\r\nabc\r\n", "2\r\nde\r\n", "0\r\n\r\n"]) {
      socket.write(part);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  for (let i = 0; i < 3; i++) {
    let progress = 0;
    const answer = await ask(undefined, () => void progress++);
    expect(answer.body.toString()).toBe("abcde");
    expect(progress).toBe(3);
  }
  expect(sockets.size).toBe(1);
});

test("what only announces the answer is none", async () => {
  serve = (socket) => socket.write(`HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n${HEAD}content-length: 2\r\n\r\nok`);
  const answer = await ask();
  expect([answer.statusCode, answer.headers["link"], answer.body.toString()]).toEqual([200, undefined, "ok"]);
});

test("one that is too long is not taken in, and ends its connection", async () => {
  serve = (socket) => {
    socket.write(`${HEAD}transfer-encoding: chunked\r\n\r\n`);
    const part = `100\r\n${"x".repeat(256)}\r\n`;
    for (let i = 0; i < 10; i++) socket.write(part);
  };
  await expect(ask()).rejects.toThrow("too long");
  await until("the connection has ended", async () => closedCount === 1);
});

test.each([
  ["in its head", "HTTP/1.1 200 O"],
  ["in its body", `${HEAD}content-length: 10\r\n\r\nhalf`],
  ["in a chunk", `${HEAD}transfer-encoding: chunked\r\n\r\n5\r\nab`],
])("one that breaks off %s is an error", async (_name, text) => {
  serve = (socket) => socket.end(text);
  await expect(ask()).rejects.toMatchObject({ code: expect.stringContaining("UND_ERR_SOCKET") });
});

test("one that is no HTTP is an error", async () => {
  serve = (socket) => socket.write("SSH-2.0-OpenSSH_9.9\r\n");
  await expect(ask()).rejects.toThrow(/Expected HTTP/);
});

test.each([
  ["before its head has come", ""],
  ["in the middle of its body", `${HEAD}content-length: 10\r\n\r\nhalf`],
])("given up %s: rejected at once with the reason, and the connection ends", async (_name, begin) => {
  serve = (socket) => socket.write(begin);
  const controller = new AbortController();
  const answer = ask(controller.signal);
  await until("it was asked", async () => requests.length === 1);
  if (begin) await new Promise((resolve) => setTimeout(resolve, 20));
  controller.abort(new Error("no longer"));
  await expect(answer).rejects.toThrow("no longer");
  await until("the connection has ended", async () => closedCount === 1);
});

test("given up before it was asked, or while it waited for a connection: it is never sent", async () => {
  serve = () => undefined;
  await expect(ask(AbortSignal.abort(new Error("too late")))).rejects.toThrow("too late");
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect([sockets.size, closedCount]).toEqual([0, 0]);
  const first = new AbortController();
  const answers = [ask(first.signal).catch(() => "given up")];
  await until("the first was asked", async () => requests.length === 1);
  const second = new AbortController();
  const waiting = ask(second.signal);
  second.abort(new Error("no longer"));
  await expect(waiting).rejects.toThrow("no longer");
  serve = (socket) => socket.write(`${HEAD}content-length: 2\r\n\r\nok`);
  first.abort(new Error("no longer"));
  await Promise.all(answers);
  expect((await ask()).body.toString()).toBe("ok"); // behind the one that was given up
  expect(requests.length).toBe(2);
});
