import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import express from "express";
import { LocalStore } from "../../src/blobs/local-store.ts";
import { VerifiedTimes } from "../../src/blobs/verified-times.ts";
import { SystemClock } from "../../src/core/clock.ts";
import { keyOfBytes } from "../../src/core/key.ts";
import { BATCHED_BLOB_MAX_BYTES, GET_HEDGE_MS } from "../../src/core/limits.ts";
import { silentLogger } from "../../src/core/log.ts";
import { SeededRandom } from "../../src/core/random.ts";
import type { HttpContext } from "../../src/http/context.ts";
import { sendError } from "../../src/http/error-answer.ts";
import { localRoutes } from "../../src/http/local.ts";
import { SecretCheck } from "../../src/http/secret-check.ts";
import { decodeCopies, encodeAsked, encodeBatch } from "../../src/peer/batch-protocol.ts";
import { Inventory } from "../../src/storage/inventory.ts";
import { MemoryBackend } from "../../src/storage/memory.ts";
import { viewOf } from "../support/views.ts";

const SECRET = "known to all of them";
const BYTES = Buffer.from("about to be trimmed");
const KEY = keyOfBytes(BYTES);

let server: Server;
let store: LocalStore;

beforeEach(async () => {
  const clock = new SystemClock();
  const backend = new Inventory({ inner: new MemoryBackend(new SeededRandom(1)) });
  store = new LocalStore({
    uuid: "self",
    backend,
    verifiedTimes: new VerifiedTimes(),
    isWriteable: () => true,
    isIncomplete: () => false,
    isDraining: () => false,
    onDiskAnswer: () => undefined,
    onQuarantined: () => undefined,
    view: () => viewOf({ peers: [store] }),
    vouchRefusal: () => null,
    trimGraceMs: 0,
    clock,
    log: silentLogger(),
  });
  await store.put(KEY, {
    sizeBytes: BYTES.length,
    async *read() {
      yield BYTES;
    },
  });
  const context: Partial<HttpContext> = {
    localStore: store,
    backend,
    cluster: { uuid: "self", isWriteable: true } as never,
    secrets: new SecretCheck([SECRET]),
    readTimeoutMs: 1_000,
    writeTimeoutMs: 1_000,
    clock,
    log: silentLogger(),
  };
  const app = express().use(localRoutes(context as HttpContext));
  app.use(((error, req, res, _next) =>
    sendError(req, res, error, { log: silentLogger(), clock })) as express.ErrorRequestHandler);
  server = createServer(app).listen(0, "127.0.0.1");
  await once(server, "listening");
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((done) => server.close(done));
});

function local(path: string, init: RequestInit = {}): Promise<Response> {
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/local/${path}`;
  return fetch(url, { ...init, headers: { "x-cask-cluster-secret": SECRET } });
}

const bulk = async () =>
  (await (await local("has/", { method: "POST", body: JSON.stringify({ keys: [KEY] }) })).json()) as object;

test("C22: HEAD of a key that is being trimmed is 404, so that no Go node counts on it; GET serves it, and in bulk it is here", async () => {
  expect((await local(`${KEY}/`, { method: "HEAD" })).status).toBe(200);
  await store.beginTrim(KEY, "mark");
  expect((await local(`${KEY}/`, { method: "HEAD" })).status).toBe(404);
  const served = await local(`${KEY}/`);
  expect([served.status, Buffer.from(await served.arrayBuffer()).equals(BYTES)]).toEqual([200, true]);
  expect(await bulk()).toMatchObject({ holdings: [{ state: "present", sizeBytes: BYTES.length }] });
  await store.cancelTrim(KEY, "mark");
  expect((await local(`${KEY}/`, { method: "HEAD" })).status).toBe(200);
});

test("until the keys are known, digests and lists of them are don't know, not empty", async () => {
  const range = [`sha1:${"0".repeat(40)}`, null];
  for (const [path, body] of [
    ["digests/", { ranges: [range] }],
    ["keys/", { range }],
  ] as const) {
    expect((await local(path, { method: "POST", body: JSON.stringify(body) })).status).toBe(503);
  }
});

test("a batch: each blob by itself, C7: one whose bytes don't hash to its key is refused, the others are stored", async () => {
  const [good, bad] = [Buffer.from("right"), Buffer.from("other bytes than the key's")];
  const items = [
    { key: keyOfBytes(good), bytes: good },
    { key: keyOfBytes(Buffer.from("right, too")), bytes: bad },
    { key: KEY, bytes: BYTES },
  ];
  const answer = await local("batch/", { method: "POST", body: encodeBatch(items) as Uint8Array<ArrayBuffer> });
  expect([answer.status, await answer.json()]).toMatchObject([
    200,
    { copies: [{ outcome: "stored" }, { error: { code: "KEY_MISMATCH" } }, { outcome: "known" }] },
  ]);
  const states = (await store.has(items.map(({ key }) => key))).map(({ state }) => state);
  expect(states).toEqual(["present", "absent", "present"]);
});

test.each([
  ["nonsense", Buffer.from("nonsense"), 400],
  ["nothing", Buffer.alloc(0), 400],
  ["too much", Buffer.alloc(600_000), 413],
])("a batch of %s is refused", async (_what, body, status) => {
  expect((await local("batch/", { method: "POST", body: body as Uint8Array<ArrayBuffer> })).status).toBe(status);
});

test("fetches together: what this disk does not give at once is to be asked for alone", async () => {
  const body = encodeAsked([KEY, keyOfBytes(Buffer.from("absent"))]) as Uint8Array<ArrayBuffer>;
  const read = jest.spyOn(store, "readAtOnce");
  const answer = await local("fetch/", { method: "POST", body });
  expect(read).toHaveBeenCalledWith(KEY, GET_HEDGE_MS, BATCHED_BLOB_MAX_BYTES);
  expect(decodeCopies(Buffer.from(await answer.arrayBuffer()), 2)).toEqual([null, null]);
});

test.each([
  ["nonsense", Buffer.from("nonsense"), 400],
  ["nothing", Buffer.alloc(0), 400],
  ["too much", Buffer.alloc(600_000), 413],
])("a question for %s is refused", async (_what, body, status) => {
  expect((await local("fetch/", { method: "POST", body: body as Uint8Array<ArrayBuffer> })).status).toBe(status);
});
