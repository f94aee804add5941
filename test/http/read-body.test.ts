import { once } from "node:events";
import { createServer, type IncomingMessage, type Server } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { CaskError } from "../../src/core/errors.ts";
import { gatherBody, type ReadTiming, readBytes } from "../../src/http/read-body.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { until } from "../support/processes.ts";

const MAX_BYTES = 200_000;
const TIMEOUT_MS = 10_000;

let server: Server;
let clock: ManualClock;
let client: Socket;
let asked: IncomingMessage;
let read: (req: IncomingMessage, timing: ReadTiming) => Promise<Buffer>;
const results: Array<Promise<string>> = [];

beforeEach(async () => {
  clock = new ManualClock();
  results.length = 0;
  read = (req, timing) => readBytes(req, MAX_BYTES, timing);
  server = createServer((req, res) => {
    asked = req;
    const result = read(req, { readTimeoutMs: TIMEOUT_MS, clock }).then((bytes) => bytes.toString());
    results.push(result);
    result.then(
      () => res.end("ok"),
      () => undefined,
    );
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  client = connect((server.address() as AddressInfo).port, "127.0.0.1").on("error", () => undefined);
});
afterEach(() => {
  client.destroy();
  server.closeAllConnections();
  server.close();
});

async function send(...parts: string[]): Promise<Promise<string>[]> {
  for (const part of parts) {
    client.write(part);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  await until("it was read", async () => results.length > 0);
  return results;
}

const head = (length: number) => `POST / HTTP/1.1\r\nhost: a\r\ncontent-length: ${length}\r\n\r\n`;

test.each([
  ["nothing", [head(0)], ""],
  ["all at once", [`${head(3)}abc`], "abc"],
  ["in parts", [head(6), "ab", "cd", "ef"], "abcdef"],
  ["in chunks", ["POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n", "2\r\nab\r\n", "0\r\n\r\n"], "ab"],
  ["as much as may be", [head(MAX_BYTES), "x".repeat(MAX_BYTES)], "x".repeat(MAX_BYTES)],
])("%s", async (_name, parts, expected) => {
  const [result] = await send(...parts);
  expect(await result).toBe(expected);
  expect(clock.pendingTimers).toBe(0);
});

test("a large one, in parts of which each is freed once it was copied", async () => {
  const body = "0123456789abcdef".repeat(10_000);
  const parts = [0, 50_000, 100_000].map((at, i) => body.slice(at, i === 2 ? undefined : at + 50_000));
  const [result] = await send(head(body.length), ...parts);
  const text = await result;
  await send(head(body.length), "x".repeat(body.length)); // into memory that was freed
  expect(text).toBe(body);
});

test("one that comes into memory that was given for it", async () => {
  const into = Buffer.alloc(MAX_BYTES, "-");
  const chunks: Buffer[] = [];
  read = (req, { readTimeoutMs: stallMs, clock }) => {
    req.on("data", (chunk: Buffer) => chunks.push(chunk));
    return gatherBody(req, {
      name: "test",
      maxBytes: 100_001,
      stallMs,
      stalled: () => new CaskError("STALLED", ""),
      clock,
      into,
    });
  };
  const body = "0123456789".repeat(10_000);
  const [result] = await send(head(body.length + 1), body.slice(0, 50_000), body.slice(50_000), "!");
  expect(await result).toBe(`${body}!`);
  expect(into.subarray(0, 100_002).toString()).toBe(`${body}!-`);
  expect(chunks.map(({ buffer }) => buffer.byteLength)).toContain(0); // those that had their memory to themselves are free
  results.length = 0;
  const [tooLarge] = await send(head(100_002), "x".repeat(100_002));
  await expect(tooLarge).rejects.toMatchObject({ code: "TOO_LARGE" });
  expect(into.subarray(100_001).every((byte) => byte === "-".charCodeAt(0))).toBe(true);
});

test("one request after the other", async () => {
  await send(`${head(2)}ab${head(2)}cd`);
  await until("both were read", async () => results.length === 2);
  expect(await Promise.all(results)).toEqual(["ab", "cd"]);
});

test("more than may be is refused as soon as it is seen", async () => {
  const [result] = await send(`${head(2 * MAX_BYTES)}${"x".repeat(MAX_BYTES + 1)}`);
  await expect(result).rejects.toMatchObject({ code: "TOO_LARGE" });
  expect(asked.isPaused()).toBe(true); // the rest is for whoever answers
  expect(clock.pendingTimers).toBe(0);
});

test("one that stands still is given up; bytes that come begin its time anew", async () => {
  const [result] = (await send(head(10), "ab")) as [Promise<string>];
  let isOver = false;
  result.catch(() => {
    isOver = true;
  });
  await clock.advance(TIMEOUT_MS - 1);
  await send("cd");
  await clock.advance(TIMEOUT_MS - 1);
  expect(isOver).toBe(false);
  const late = expect(result).rejects.toMatchObject({ code: "STALLED" });
  await clock.advance(1);
  await late;
});

test("one that breaks off is no body", async () => {
  const [result] = await send(head(10), "abcde");
  client.destroy();
  await expect(result).rejects.toMatchObject({ code: "BAD_REQUEST", message: "the request broke off: aborted" });
  expect(clock.pendingTimers).toBe(0);
});

test("one that this node cuts off itself is no body", async () => {
  const [result] = await send(head(10), "abcde");
  asked.destroy();
  await expect(result).rejects.toMatchObject({ code: "BAD_REQUEST" });
});

test("one that has broken off before it was read is no body", async () => {
  read = async (req, timing) => {
    await once(req, "close").catch(() => undefined);
    return readBytes(req, MAX_BYTES, timing);
  };
  const [result] = await send(head(10), "abcde");
  client.destroy();
  await expect(result).rejects.toMatchObject({
    code: "BAD_REQUEST",
    message: "the request broke off: the connection was closed",
  });
  expect(clock.pendingTimers).toBe(0);
});
