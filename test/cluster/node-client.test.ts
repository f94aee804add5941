import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { NodeClient, UuidConflict } from "../../src/cluster/node-client.ts";
import { HEARTBEAT_ANSWER_MAX_BYTES, PEER_ASK_TIMEOUT_MS } from "../../src/core/limits.ts";
import { announcementOf } from "../support/announcements.ts";

type Answer = (req: IncomingMessage, res: ServerResponse, body: string) => void;

const client = new NodeClient({ nodeSecret: "derived-secret", authorities: undefined });
const own = announcementOf("own");
let server: Server;
let url: string;
let answer: Answer;

beforeAll(async () => {
  server = createServer(async (req, res) => {
    const parts: Buffer[] = [];
    for await (const part of req) parts.push(part as Buffer);
    answer(req, res, Buffer.concat(parts).toString());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

afterAll(async () => {
  await client.close();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

const answers = (status: number, body: unknown) => {
  answer = (_req, res) => {
    res.writeHead(status, { "content-type": "application/json" });
    res.end(typeof body === "string" ? body : JSON.stringify(body));
  };
};
const inUse = { code: "UUID_IN_USE", message: "the UUID own belongs to the live node at http://other" };
const failed = (message: string) => ({ code: "PEER_FAILED", message: expect.stringContaining(message) });

test("tells its own announcement with the derived secret, and gives the other's", async () => {
  let seen: unknown[] = [];
  answer = (req, res, body) => {
    seen = [req.method, req.url, req.headers["x-cask-cluster-secret"], JSON.parse(body)];
    res.end(JSON.stringify(announcementOf("b", { known_store: "s" })));
  };
  expect(await client.exchange(url, own)).toEqual(announcementOf("b", { known_store: "s" }));
  expect(seen).toEqual(["POST", "/heartbeat/", "derived-secret", own]);
});

test("a base URL with a path is kept whole", async () => {
  let seen = "";
  answer = (req, res) => {
    seen = req.url as string;
    res.end(JSON.stringify(announcementOf("b")));
  };
  await client.exchange(`${url}/behind/a/proxy`, own);
  expect(seen).toBe("/behind/a/proxy/heartbeat/");
});

test("403 is FORBIDDEN, and says what to compare", async () => {
  answers(403, "no");
  await expect(client.exchange(url, own)).rejects.toMatchObject({
    code: "FORBIDDEN",
    message: expect.stringContaining("CASK_CLUSTER_SECRET"),
  });
});

describe("409", () => {
  const conflict = async () => {
    const error = await client.exchange(url, own).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(UuidConflict);
    return error as UuidConflict;
  };

  test("with the holder is a conflict that carries what the holder says of itself", async () => {
    const holder = announcementOf("own", { start_nonce: "other" });
    answers(409, { error: inUse, holder });
    expect(await conflict()).toMatchObject({ message: inUse.message, announcement: holder });
  });

  test("without the holder is a conflict all the same", async () => {
    answers(409, { error: inUse });
    expect(await conflict()).toMatchObject({ message: inUse.message, announcement: null });
  });

  test.each([
    ["not understood", { uuid: 5 }],
    ["another node", announcementOf("someone-else")],
    ["no object", "other"],
  ])("with a holder that is %s is one without", async (_name, holder) => {
    answers(409, { error: inUse, holder });
    expect((await conflict()).announcement).toBeNull();
  });

  test("has a bound on its message", async () => {
    answers(409, { error: { code: "UUID_IN_USE", message: "x".repeat(100_000) } });
    expect((await conflict()).message).toHaveLength(500);
  });

  test.each([
    ["text", "conflict"],
    ["another code", { error: { code: "KEY_COLLISION" } }],
    ["nothing", ""],
  ])("with %s comes from no cask node, and ends no process: PEER_FAILED", async (_name, body) => {
    answers(409, body);
    await expect(client.exchange(url, own)).rejects.toMatchObject(failed("answered 409"));
  });
});

test.each([500, 404, 301, 204])("%p is PEER_FAILED", async (status) => {
  answers(status, status === 204 ? "" : { error: {} });
  await expect(client.exchange(url, own)).rejects.toMatchObject(failed(`answered ${status}`));
});

test.each([
  ["a page", "<html>hello</html>"],
  ["a list", "[]"],
  ["nothing", ""],
  ["another object", '{"name":"something else"}'],
])("200 with %s is PEER_FAILED, which blames the other side", async (_name, body) => {
  answers(200, body);
  await expect(client.exchange(url, own)).rejects.toMatchObject(failed("is it a cask node?"));
});

test("an answer that is too long is given up", async () => {
  answers(200, JSON.stringify({ ...announcementOf("b"), more: "x".repeat(HEARTBEAT_ANSWER_MAX_BYTES) }));
  await expect(client.exchange(url, own)).rejects.toMatchObject(failed("too long"));
});

test("a connection that is cut, or refused, is PEER_FAILED with the reason", async () => {
  answer = (_req, res) => res.destroy();
  await expect(client.exchange(url, own)).rejects.toMatchObject(failed(`${url} cannot be reached: `));
  answer = (_req, res) => {
    res.writeHead(200, { "content-length": "100" });
    res.write("{");
    setImmediate(() => res.destroy());
  };
  await expect(client.exchange(url, own)).rejects.toMatchObject(failed(`${url} cannot be reached: `));
  await expect(client.exchange("http://127.0.0.1:1", own)).rejects.toMatchObject(failed("ECONNREFUSED"));
});

describe("C32: within its deadline", () => {
  const measured = async (work: Promise<unknown>) => {
    const before = performance.now();
    const error = await work.catch((thrown: unknown) => thrown);
    return { error, ms: performance.now() - before };
  };
  const deadline = PEER_ASK_TIMEOUT_MS + 2_000; // for a busy machine

  test("a node that hangs is PEER_FAILED", async () => {
    answer = () => undefined;
    const { error, ms } = await measured(client.exchange(url, own));
    expect(error).toMatchObject(failed(`did not answer within ${PEER_ASK_TIMEOUT_MS} ms`));
    expect(ms).toBeLessThan(deadline);
  });

  test("so is one whose answer drips in, byte by byte", async () => {
    const text = JSON.stringify(announcementOf("b"));
    answer = (_req, res) => {
      let at = 0;
      const drip = setInterval(() => res.write(text[at++ % text.length]), 50);
      res.on("close", () => clearInterval(drip));
    };
    const { error, ms } = await measured(client.exchange(url, own));
    expect(error).toMatchObject(failed(`did not answer within ${PEER_ASK_TIMEOUT_MS} ms`));
    expect(ms).toBeLessThan(deadline);
  });

  test("and an abort ends it sooner", async () => {
    answer = () => undefined;
    const controller = new AbortController();
    const pending = measured(client.exchange(url, own, controller.signal));
    setImmediate(() => controller.abort(new Error("stopped")));
    const { error, ms } = await pending;
    expect(error).toMatchObject(failed("stopped"));
    expect(ms).toBeLessThan(PEER_ASK_TIMEOUT_MS / 2);
  });
});

describe("forget", () => {
  test("names the member, with the derived secret, and says that it is not to be told on", async () => {
    let seen: unknown[] = [];
    answer = (req, res, body) => {
      seen = [req.method, req.url, req.headers["x-cask-cluster-secret"], JSON.parse(body)];
      res.end("forgotten\n");
    };
    await client.forget(url, "gone");
    expect(seen).toEqual(["POST", "/forget/", "derived-secret", { uuid: "gone", forwarded: true }]);
  });

  test("a refusal is passed on in its words", async () => {
    answers(400, { error: { code: "BAD_REQUEST", message: "gone is alive" } });
    await expect(client.forget(url, "gone")).rejects.toMatchObject(failed("answered 400: gone is alive"));
    answers(501, "no such door");
    await expect(client.forget(url, "gone")).rejects.toMatchObject(failed("answered 501: no such door"));
  });
});
