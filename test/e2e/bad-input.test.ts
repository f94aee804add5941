import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { keyOfBytes } from "../../src/core/key.ts";
import { fetchFile, ProcessCluster, post, SECRET, until } from "../support/processes.ts";

const MAX_BYTES = 2_000_000;
const READ_TIMEOUT_MS = 700;
const HEX = "a".repeat(40);

let cluster: ProcessCluster;
beforeAll(async () => {
  cluster = await ProcessCluster.start(2, {
    CASK_REPLICATION: "2",
    CASK_MAX_UPLOAD_SIZE: String(MAX_BYTES),
    CASK_READ_TIMEOUT: String(READ_TIMEOUT_MS / 1000),
  });
});
afterAll(() => cluster.stop());

/** Whatever a test did, nothing of it lies on any disk, and the nodes serve on. */
afterEach(async () => {
  for (const node of cluster.nodes) {
    await until("all stages are gone", async () => (await node.staged()).length === 0);
    expect(await node.storedFiles()).toEqual([]);
    expect((await fetch(`${node.url}/healthz`)).status).toBe(200);
  }
});

interface RawAnswer {
  readonly status: number;
  readonly text: string;
}

/** Bytes as they are, over a socket of its own; `end` says no more after them. */
async function raw(parts: ReadonlyArray<string | Buffer | number>, { end = false } = {}): Promise<RawAnswer> {
  const socket = connect(Number(new URL(cluster.node(0).url).port), "127.0.0.1");
  let text = "";
  socket.setEncoding("latin1").on("data", (chunk: string) => {
    text += chunk;
  });
  socket.on("error", () => undefined); // a refused body may end in a reset; what was answered before counts
  await once(socket, "connect");
  const closed = once(socket, "close");
  for (const part of parts) {
    if (typeof part === "number") await sleep(part);
    else socket.write(part);
  }
  if (end) socket.end();
  await closed;
  return { status: Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1] ?? 0), text };
}

function head(method: string, path: string, headers: Record<string, string | number>): string {
  const lines = Object.entries({ host: "x", connection: "close", accept: "application/json", ...headers });
  return `${method} ${path} HTTP/1.1\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n`;
}

const MULTIPART = { "content-type": "multipart/form-data; boundary=XX" };

function part(name: string, bytes: Buffer | string, isFile = true): Buffer {
  const begin = `--XX\r\ncontent-disposition: form-data; name="${name}"${isFile ? '; filename="f"' : ""}\r\n\r\n`;
  return Buffer.concat([Buffer.from(begin), Buffer.from(bytes), Buffer.from("\r\n")]);
}

const END = Buffer.from("--XX--\r\n");

describe("C42, C43: malformed keys", () => {
  const keys: Array<[string, string]> = [
    ["40 dots", `sha1:${".".repeat(40)}`],
    ["40 encoded dots", `sha1:${"%2e".repeat(40)}`],
    ["upper case", `sha1:${HEX.toUpperCase()}`],
    ["a NUL", `sha1:${HEX.slice(1)}%00`],
    ["39 digits", `sha1:${HEX.slice(1)}`],
    ["41 digits", `sha1:${HEX}a`],
    ["no colon", `sha1${HEX}`],
    ["no algorithm", HEX],
    ["another algorithm", `md5:${HEX.slice(8)}`],
    ["a way out", `sha1:..%2f..%2f..%2fetc%2fpasswd`],
    ["a line feed at the end", `sha1:${HEX}%0a`],
  ];
  test.each(keys)("%s: 400 at every door", async (_name, key) => {
    const secret = { "x-cask-cluster-secret": SECRET };
    const doors: Array<[string, string, Record<string, string | number>, string]> = [
      ["GET", `/file/${key}/`, {}, ""],
      ["HEAD", `/file/${key}/`, {}, ""],
      ["PUT", `/file/${key}/`, { "content-length": 1 }, "x"],
      ["GET", `/file/${key}/copies/`, {}, ""],
      ["GET", `/local/${key}/`, secret, ""],
      ["PUT", `/local/${key}/`, { ...secret, "content-length": 1 }, "x"],
    ];
    for (const [method, path, headers, body] of doors) {
      const answer = await raw([head(method, path, headers), body]);
      expect(answer.status).toBe(400);
      if (method !== "HEAD") expect(answer.text).toContain('"code":"BAD_KEY"');
    }
  });

  test("broken percent-encoding: 400", async () => {
    expect((await raw([head("GET", "/file/sha1:%zz/", {})])).status).toBe(400);
    expect((await raw([head("GET", "/file/sha1:%ff/", {})])).status).toBe(400);
  });

  test("a malformed X-Content-SHA1: 400, before the body is taken", async () => {
    const headers = { "x-content-sha1": "abc", "content-length": 5 };
    expect((await raw([head("POST", "/", headers), "hello"])).text).toContain('"code":"BAD_KEY"');
  });

  test("an existence question with malformed keys or too many: 400", async () => {
    const ask = (body: string) =>
      raw([head("POST", "/local/has/", { "x-cask-cluster-secret": SECRET, "content-length": body.length }), body]);
    for (const body of ["", "[]", "{}", '{"keys":["x"]}', JSON.stringify({ keys: Array(1_001).fill(`sha1:${HEX}`) })]) {
      expect((await ask(body)).status).toBe(400);
    }
  });
});

describe("C43: malformed multipart", () => {
  const cases: Array<[string, Record<string, string>, Array<Buffer | string>, number]> = [
    ["without a boundary", { "content-type": "multipart/form-data" }, [part("file", "x"), END], 400],
    ["without the field file", MULTIPART, [part("other", "x"), END], 400],
    ["with file as a field that is no file", MULTIPART, [part("file", "x", false), END], 400],
    ["empty", MULTIPART, [""], 400],
    ["nothing but its end", MULTIPART, [END], 400],
    ["of another kind", { "content-type": "multipart/form-data; boundary=YY" }, [part("file", "x"), END], 400],
    ["without its end", MULTIPART, [part("file", "x")], 400],
    ["cut in the middle of a part's head", MULTIPART, [part("file", "x").subarray(0, 20)], 400],
    ["with a file and then rubbish in place of a part", MULTIPART, [part("file", "x"), "--XX\r\nrubbish"], 400],
  ];
  test.each(cases)("%s: 400", async (_name, headers, parts, status) => {
    const body = Buffer.concat(parts.map((each) => Buffer.from(each)));
    const answer = await raw([head("POST", "/", { ...headers, "content-length": body.length }), body]);
    expect([answer.status, answer.text]).toEqual([status, expect.stringContaining('"code":"BAD_REQUEST"')]);
  });

  test("C6: cut off in the middle of the file: nothing is stored under any key", async () => {
    const bytes = randomBytes(500_000);
    const body = Buffer.concat([part("file", bytes), END]);
    const half = body.subarray(0, 250_000);
    await raw([head("POST", "/", { ...MULTIPART, "content-length": body.length }), half, 50], { end: true });
    const raws = head("POST", "/", { "content-length": bytes.length });
    await raw([raws, bytes.subarray(0, 250_000), 50], { end: true });
  });

  test("10,000 parts: 400, and soon", async () => {
    const body = Buffer.concat([...Array.from({ length: 10_000 }, (_, i) => part(`p${i}`, "x")), END]);
    const startedMs = performance.now();
    expect((await raw([head("POST", "/", { ...MULTIPART, "content-length": body.length }), body])).status).toBe(400);
    expect(performance.now() - startedMs).toBeLessThan(5_000);
  });
});

describe("C44: bodies over the limit", () => {
  const limits: Array<[string, Record<string, string | number>, Array<string | Buffer>]> = [
    ["announced", { "content-length": MAX_BYTES + 1 }, [Buffer.alloc(100_000)]],
    ["chunked", { "transfer-encoding": "chunked" }, chunked(MAX_BYTES + 100_000)],
    [
      "multipart",
      { ...MULTIPART, "transfer-encoding": "chunked" },
      chunkedBody(Buffer.concat([part("file", Buffer.alloc(MAX_BYTES + 1)), END])),
    ],
  ];
  test.each(limits)("%s: 413", async (_name, headers, body) => {
    const answer = await raw([head("POST", "/", headers), ...body]);
    expect([answer.status, answer.text]).toEqual([413, expect.stringContaining("CASK_MAX_UPLOAD_SIZE")]);
  });

  test("lying lengths: more announced than sent is 400 or no answer, and nothing is stored", async () => {
    const answer = await raw([head("POST", "/", { "content-length": 100 }), "only this", 50], { end: true });
    expect([0, 400]).toContain(answer.status);
  });

  test("a length that is no number, or two of them: 400", async () => {
    expect((await raw([head("POST", "/", { "content-length": "many" }), "x"])).status).toBe(400);
    const both = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    expect((await raw([both])).status).toBe(400);
  });

  test("JSON and forms of the other doors are bounded too: 413", async () => {
    const body = `secret=${"x".repeat(300_000)}`;
    expect((await raw([head("POST", "/join/", { "content-length": body.length }), body])).status).toBe(413);
  });
});

describe("C44: slow clients", () => {
  test("one that stops in the middle is given up with 408", async () => {
    const startedMs = performance.now();
    const answer = await raw([head("POST", "/", { "content-length": 100 }), "half of it"]);
    expect([answer.status, answer.text]).toEqual([408, expect.stringContaining('"code":"STALLED"')]);
    expect(performance.now() - startedMs).toBeGreaterThanOrEqual(READ_TIMEOUT_MS);
    const multipart = await raw([head("POST", "/", { ...MULTIPART, "content-length": 1000 }), part("file", "half")]);
    expect(multipart.status).toBe(408);
  });

  test("one that never finishes its head is cut off", async () => {
    const startedMs = performance.now();
    await raw(["GET / HTTP/1.1\r\nx: "]);
    expect(performance.now() - startedMs).toBeLessThan(5_000);
  });
});

describe("C41: the secret", () => {
  const doors: Array<[string, string, string]> = [
    ["GET", `/local/sha1:${HEX}/`, ""],
    ["PUT", `/local/${keyOfBytes(Buffer.from("x"))}/`, "x"],
    ["POST", "/local/", "x"],
    ["POST", "/local/has/", '{"keys":[]}'],
    ["POST", "/heartbeat/", "{}"],
    ["POST", "/join/", '{"url":"http://127.0.0.1:1"}'],
    ["POST", "/drain/", "{}"],
    ["POST", "/forget/", '{"uuid":"node1"}'],
    ["POST", "/local/vouch/", "{}"],
    ["POST", "/local/digests/", '{"ranges":[]}'],
    ["POST", "/local/keys/", "{}"],
    ["POST", "/workers/scrub/pause/", "{}"],
    ["POST", "/workers/scrub/resume/", "{}"],
  ];
  const secrets: Array<[string, Record<string, string>]> = [
    ["wrong", { "x-cask-cluster-secret": "not the secret" }],
    ["empty", { "x-cask-cluster-secret": "" }],
    ["missing", {}],
    ["one character short", { "x-cask-cluster-secret": SECRET.slice(0, -1) }],
  ];
  test.each(secrets)("%s: 403 at every door between nodes", async (_name, headers) => {
    for (const [method, path, body] of doors) {
      const answer = await raw([head(method, path, { ...headers, "content-length": body.length }), body]);
      expect([path, answer.status]).toEqual([path, 403]);
      expect(answer.text).not.toContain("not the secret");
    }
    for (const node of cluster.nodes) expect(node.output).not.toContain("not the secret");
  });

  test("a request that means another node: 421", async () => {
    const headers = { "x-cask-cluster-secret": SECRET, "x-cask-node": "node1" };
    const answer = await raw([head("GET", `/local/sha1:${HEX}/`, headers)]);
    expect([answer.status, answer.text]).toEqual([421, expect.stringContaining('"code":"WRONG_NODE"')]);
  });
});

test("clients that don't speak JSON get one line of text", async () => {
  const answer = await fetch(`${cluster.node(0).url}/file/nonsense/`);
  expect(answer.headers.get("content-type")).toBe("text/plain; charset=utf-8");
  expect(await answer.text()).toMatch(/^BAD_KEY: [^\n]+\n$/);
});

test("after all that, a good file is stored and fetched", async () => {
  const bytes = randomBytes(MAX_BYTES);
  const stored = await post(cluster.node(0), bytes);
  expect(stored).toMatchObject({ status: 200, success: true });
  expect((await fetchFile(cluster.node(1), stored.key)).bytes.equals(bytes)).toBe(true);
  await cluster.stop();
  cluster = await ProcessCluster.start(1);
});

function chunked(size: number): Buffer[] {
  return chunkedBody(Buffer.alloc(size));
}

function chunkedBody(bytes: Buffer): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += 65_536) {
    const piece = bytes.subarray(at, at + 65_536);
    pieces.push(Buffer.concat([Buffer.from(`${piece.length.toString(16)}\r\n`), piece, Buffer.from("\r\n")]));
  }
  return [...pieces, Buffer.from("0\r\n\r\n")];
}
