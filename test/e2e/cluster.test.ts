import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:net";
import { keyOfBytes } from "../../src/core/key.ts";
import { fetchFile, type NodeProcess, ProcessCluster, post, SECRET, until } from "../support/processes.ts";

let cluster: ProcessCluster;
beforeAll(async () => {
  cluster = await ProcessCluster.start(3, { CASK_LOG_LEVEL: "debug" });
});
afterAll(() => cluster.stop());

const EMPTY = Buffer.alloc(0);
const SMALL = Buffer.from("a small file");
const LARGE = randomBytes(5 * 1024 * 1024 + 3);

async function putFile(node: NodeProcess, key: string, bytes: Buffer, headers: Record<string, string> = {}) {
  const answer = await fetch(`${node.url}/file/${key}/`, {
    method: "PUT",
    body: bytes as Uint8Array<ArrayBuffer>,
    headers: { accept: "application/json", ...headers },
  });
  return { status: answer.status, json: (await answer.json()) as { error?: { code: string } } };
}

describe("a file posted to any node", () => {
  test.each([
    ["empty", EMPTY],
    ["one byte", Buffer.from("x")],
    ["small", SMALL],
    ["exactly 1 MiB", randomBytes(1024 * 1024)],
    ["a byte above 1 MiB", randomBytes(1024 * 1024 + 1)],
    ["large", LARGE],
  ])("%s: has its copies when the answer comes, and is the same from every node", async (_name, bytes) => {
    const stored = await post(cluster.node(0), bytes);
    expect(stored).toMatchObject({ status: 200, success: true, copies: 3, wanted: 3, key: keyOfBytes(bytes) });
    const { copies } = await cluster.node(1).json<{ copies: { state: string }[] }>(`/file/${stored.key}/copies/`);
    expect(copies.map((copy) => copy.state)).toEqual(["present", "present", "present"]);
    for (const node of cluster.nodes) {
      const fetched = await fetchFile(node, stored.key);
      expect(fetched.status).toBe(200);
      expect(fetched.bytes.equals(bytes)).toBe(true);
    }
  });

  test("as a raw body, with and without a length, too", async () => {
    const raw = await fetch(`${cluster.node(2).url}/`, { method: "POST", body: "raw" });
    expect(await raw.json()).toMatchObject({ success: true, key: keyOfBytes(Buffer.from("raw")) });
    const chunked = new ReadableStream({
      start(controller) {
        controller.enqueue(SMALL.subarray(0, 3));
        controller.enqueue(SMALL.subarray(3));
        controller.close();
      },
    });
    const streamed = await fetch(`${cluster.node(2).url}/`, {
      method: "POST",
      body: chunked,
      duplex: "half",
    } as RequestInit);
    expect(await streamed.json()).toMatchObject({ success: true, key: keyOfBytes(SMALL) });
  });

  test("C7: with a key named first is checked against it, and refused with nothing stored", async () => {
    const bytes = randomBytes(1000);
    const key = keyOfBytes(bytes);
    const other = keyOfBytes(Buffer.from("other bytes"));
    const refused = await putFile(cluster.node(0), other, bytes);
    expect(refused).toMatchObject({ status: 400, json: { error: { code: "KEY_MISMATCH" } } });
    expect((await fetchFile(cluster.node(1), other)).status).toBe(404);
    expect((await fetchFile(cluster.node(1), key)).status).toBe(404);
    expect((await putFile(cluster.node(0), key, bytes)).status).toBe(201);
    expect((await putFile(cluster.node(1), key, bytes)).status).toBe(200);
    const named = (sha1: string) =>
      fetch(`${cluster.node(0).url}/`, { method: "POST", body: "named", headers: { "x-content-sha1": sha1 } });
    expect((await named(keyOfBytes(Buffer.from("named")).slice(5))).status).toBe(200);
    expect((await named(key.slice(5))).status).toBe(400);
  });
});

describe("C46: GET and HEAD of a file", () => {
  let key: string;
  let largeKey: string;
  beforeAll(async () => {
    key = (await post(cluster.node(0), SMALL)).key;
    largeKey = (await post(cluster.node(0), LARGE)).key;
  });
  const get = (path: string, headers: Record<string, string> = {}, method = "GET") =>
    fetch(`${cluster.node(1).url}/file/${path}/`, { method, headers });
  const absent = keyOfBytes(Buffer.from("never stored"));

  test("C45: the headers make browsers neither guess a type nor ask again", async () => {
    const answer = await get(key);
    expect(Object.fromEntries(answer.headers)).toMatchObject({
      etag: `"${key}"`,
      "content-type": "application/octet",
      "x-content-type-options": "nosniff",
      "cache-control": expect.stringContaining("immutable"),
      "content-length": String(SMALL.length),
      "accept-ranges": "bytes",
    });
  });

  test("304 for a known one, 404 for an absent one, whatever the validator", async () => {
    expect((await get(key, { "if-none-match": `"${key}"` })).status).toBe(304);
    expect((await get(key, { "if-none-match": '"other"' })).status).toBe(200);
    expect((await get(absent, { "if-none-match": `"${absent}"` })).status).toBe(404);
    expect((await get(absent, { "if-none-match": "*" })).status).toBe(404);
  });

  test("HEAD tells the size, and 404 for an absent one", async () => {
    const answer = await get(largeKey, {}, "HEAD");
    expect([answer.status, answer.headers.get("content-length")]).toEqual([200, String(LARGE.length)]);
    expect((await get(absent, {}, "HEAD")).status).toBe(404);
  });

  test.each([
    ["bytes=0-3", 0, 3],
    ["bytes=1000-", 1000, LARGE.length - 1],
    ["bytes=-7", LARGE.length - 7, LARGE.length - 1],
    ["bytes=4000000-9999999999", 4_000_000, LARGE.length - 1],
  ])("a range, %s", async (range, start, end) => {
    const answer = await get(largeKey, { range });
    expect(answer.status).toBe(206);
    expect(answer.headers.get("content-range")).toBe(`bytes ${start}-${end}/${LARGE.length}`);
    expect(Buffer.from(await answer.arrayBuffer()).equals(LARGE.subarray(start, end + 1))).toBe(true);
  });

  test("416 for a range outside, with the size; the whole for what is no range", async () => {
    const outside = await get(largeKey, { range: `bytes=${LARGE.length}-` });
    expect([outside.status, outside.headers.get("content-range")]).toEqual([416, `bytes */${LARGE.length}`]);
    expect((await get(key, { range: "lines=1-2" })).status).toBe(200);
    expect((await get(key, { range: "bytes=0-1", "if-range": '"other"' })).status).toBe(200);
    expect((await get(absent, { range: "bytes=0-1" })).status).toBe(404);
  });
});

describe("what an operator looks at", () => {
  test("C39: /status/ tells node, members, replication and workers, and never the secret", async () => {
    const status = await cluster.node(0).status();
    expect(status.node).toMatchObject({ uuid: "node0", writeable: true, joined: true, incomplete: false });
    expect(status.members.map(({ uuid, state }) => `${uuid} ${state}`).sort()).toEqual(["node1 alive", "node2 alive"]);
    expect(status.replication).toEqual({ wanted: 3, max: 4 });
    expect(status.workers.map(({ name }) => name)).toEqual(expect.arrayContaining(["announce", "join", "space"]));
  });

  test("health, readiness and metrics", async () => {
    for (const door of ["/healthz", "/readyz"]) expect((await fetch(cluster.node(0).url + door)).status).toBe(200);
    const metrics = await (await fetch(`${cluster.node(0).url}/metrics`)).text();
    expect(metrics).toMatch(/^cask_cluster_total 3$/m);
    for (const what of ["messages", "message_bytes"])
      for (const direction of ["in", "out"])
        expect(metrics).toMatch(new RegExp(`^cask_gossip_${what}_${direction}\\{type="pushPull"\\} [1-9]\\d*$`, "m"));
    expect(metrics).toMatch(/^cask_http_request_duration_seconds_bucket\{.*door="root".*\} \d+$/m);
  });

  test.each(["/", "/join/", "/config/", "/log/", "/upload/"])(
    "C41: the page %s is HTML, from here alone, without the secret",
    async (path) => {
      const answer = await fetch(cluster.node(0).url + path, { headers: { accept: "text/html" } });
      const page = await answer.text();
      expect([answer.status, answer.headers.get("content-type")]).toEqual([200, "text/html; charset=utf-8"]);
      expect(answer.headers.get("content-security-policy")).toContain("default-src 'none'");
      expect(page).not.toContain(SECRET);
      expect(page).not.toMatch(/(src|href)="(https?:)?\/\/(?!127\.0\.0\.1)/);
    },
  );

  test("C45: paths that clients made up are shown escaped; C41: secrets that they tried are not shown", async () => {
    const { port } = new URL(cluster.node(0).url);
    const socket = connect(Number(port), "127.0.0.1");
    socket.end("GET /<script>alert(1)</script> HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    await once(socket.resume(), "end");
    const body = new URLSearchParams({ url: "http://127.0.0.1:1", secret: "tried secret" });
    expect((await fetch(`${cluster.node(0).url}/join/`, { method: "POST", body })).status).toBe(403);
    const page = await (await fetch(`${cluster.node(0).url}/log/`)).text();
    expect(page).toContain("&lt;script&gt;alert(1)");
    expect(page).not.toContain("<script>");
    expect(page).toContain("wrong cluster secret");
    for (const shown of [page, cluster.node(0).output]) expect(shown).not.toMatch(/tried secret|a secret for tests/);
  });

  test("/config/ is JSON for programs, and says of secrets only that they are set", async () => {
    const config = await cluster.node(0).json<{ settings: Record<string, string> }>("/config/");
    expect(config).toMatchObject({ uuid: "node0", writeable: true });
    expect(config.settings["CASK_CLUSTER_SECRET"]).toBe("set");
    expect(config.settings["CASK_HEARTBEAT_INTERVAL"]).toBe("0.3");
  });

  test("the upload page stores a file", async () => {
    const form = new FormData();
    form.append("file", new Blob(["from a browser"]), "name.txt");
    const answer = await fetch(`${cluster.node(0).url}/upload/`, { method: "POST", body: form });
    expect(answer.status).toBe(200);
    expect(await answer.text()).toContain(keyOfBytes(Buffer.from("from a browser")));
  });

  test("what goes wrong with a form is told to a browser on a page, to a program as ever", async () => {
    const send = (path: string, accept: string) =>
      fetch(cluster.node(0).url + path, {
        method: "POST",
        headers: { accept },
        body: new URLSearchParams({ url: "<b>" }),
      });
    for (const [path, status] of [
      ["/join/", 403],
      ["/upload/", 200],
    ] as const) {
      const page = await send(path, "text/html,*/*");
      expect([page.status, page.headers.get("content-type")]).toEqual([status, "text/html; charset=utf-8"]);
    }
    const form = new FormData();
    form.append("other", "no file");
    const page = await fetch(`${cluster.node(0).url}/upload/`, {
      method: "POST",
      headers: { accept: "text/html" },
      body: form,
    });
    expect(page.status).toBe(400);
    expect(await page.text()).toMatch(/no file in the field[\s\S]*href="\/upload\/"/);
    expect(await (await send("/join/", "application/json")).json()).toMatchObject({ error: { code: "FORBIDDEN" } });
  });

  test("405 names the methods of a door; 404 for no door; a drain that would cost copies is refused", async () => {
    const wrong = await fetch(`${cluster.node(0).url}/file/${keyOfBytes(SMALL)}/`, { method: "DELETE" });
    expect([wrong.status, wrong.headers.get("allow")]).toEqual([405, "GET, HEAD, PUT"]);
    expect((await fetch(`${cluster.node(0).url}/nothing/`)).status).toBe(404);
    const headers = { "x-cask-cluster-secret": SECRET };
    const refused = await fetch(`${cluster.node(0).url}/drain/`, { method: "POST", headers });
    expect([refused.status, await refused.text()]).toEqual([400, expect.stringContaining("Add a node first")]);
  });
});

describe("C39: SIGTERM", () => {
  test("finishes the upload under way, tells the others, ends with code 0", async () => {
    const extra = await ProcessCluster.start(3, { CASK_REPLICATION: "2" });
    try {
      const node = extra.node(0);
      const { port } = new URL(node.url);
      const socket = connect(Number(port), "127.0.0.1");
      await once(socket, "connect");
      socket.write("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\nconnection: close\r\n\r\n01234");
      await until("the upload has begun", async () => (await node.status()).node.uuid === "node0");
      const ended = node.stop();
      await until("it is known to have left", async () => {
        const { members } = await extra.node(1).status();
        return members.some(({ uuid, state }) => uuid === "node0" && state === "left");
      });
      let answer = "";
      socket.setEncoding("utf8").on("data", (text: string) => {
        answer += text;
      });
      socket.write("56789");
      await once(socket, "end");
      expect(answer).toContain("HTTP/1.1 200");
      expect(answer).toContain('"success":true');
      expect(await ended).toBe(0);
      expect((await fetchFile(extra.node(1), keyOfBytes(Buffer.from("0123456789")))).status).toBe(200);
    } finally {
      await extra.stop();
    }
  });
});
