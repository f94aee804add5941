import { keyOfBytes } from "../../src/core/key.ts";
import { type NodeProcess, ProcessCluster, post, SECRET, until } from "../support/processes.ts";

/** The doors for operators and for repair, over HTTP. That they want the secret: bad-input.test.ts. */
let cluster: ProcessCluster;
let node: NodeProcess;
let other: NodeProcess;
beforeAll(async () => {
  cluster = await ProcessCluster.start(2, { CASK_REPLICATION: "1", CASK_TRIM_GRACE: "0" });
  node = cluster.node(0);
  other = cluster.node(1);
});
afterAll(() => cluster.stop());

const ABSENT = keyOfBytes(Buffer.from("never sent"));

function asProgram(path: string, body: unknown) {
  const headers = { "content-type": "application/json", "x-cask-cluster-secret": SECRET, accept: "application/json" };
  return fetch(node.url + path, {
    method: "POST",
    headers,
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
}

function asBrowser(path: string, fields: Record<string, string> = {}, secret = SECRET) {
  const body = new URLSearchParams({ secret, ...fields });
  return fetch(node.url + path, { method: "POST", body, headers: { accept: "text/html" }, redirect: "manual" });
}

const workerState = async (name: string) => (await node.status()).workers.find((each) => each.name === name)?.state;

describe("workers", () => {
  test("are paused and resumed, by programs and from the page", async () => {
    const paused = await asProgram("/workers/scrub/pause/", {});
    expect([paused.status, await paused.json()]).toMatchObject([200, { name: "scrub" }]);
    await until("it is paused", async () => (await workerState("scrub")) === "paused");
    const back = await asBrowser("/workers/scrub/resume/");
    expect([back.status, back.headers.get("location")]).toEqual([303, "/"]);
    await until("it goes on", async () => (await workerState("scrub")) !== "paused");
  });

  test.each(["/workers/nobody/pause/", "/workers/scrub/stop/", "/workers/constructor/pause/"])(
    "%s: 400",
    async (path) => {
      const answer = await asProgram(path, {});
      expect([answer.status, await answer.json()]).toMatchObject([400, { error: { code: "BAD_REQUEST" } }]);
    },
  );

  test("a wrong secret on the page is answered with a page that leads back", async () => {
    const answer = await asBrowser("/workers/scrub/pause/", {}, "not the secret");
    const text = await answer.text();
    expect([answer.status, answer.headers.get("content-type")]).toEqual([403, "text/html; charset=utf-8"]);
    expect(text).toContain('<a href="/">Back</a>');
    expect(text).not.toContain("not the secret");
    expect(await workerState("scrub")).not.toBe("paused");
  });
});

describe("drain", () => {
  test("begins, is seen by the others, and is cancelled", async () => {
    const begun = await asProgram("/drain/", {});
    expect([begun.status, await begun.json()]).toMatchObject([200, { state: "draining" }]);
    await until("the other one knows", async () =>
      (await other.status()).members.some(({ uuid, writeable }) => uuid === "node0" && !writeable),
    );
    expect((await node.status()).node.read_only_because).toBe("it is being emptied");
    const refused = await asProgram("/local/", "");
    expect(await refused.json()).toMatchObject({
      error: { code: "READ_ONLY", message: expect.stringContaining("emptied") },
    });
    expect(await (await asBrowser("/drain/", { cancel: "true" })).status).toBe(303);
    await until("it takes blobs again", async () => (await node.status()).node.writeable);
  });
});

describe("the doors of repair", () => {
  test("malformed requests: 400", async () => {
    const malformed: Array<[string, unknown]> = [
      ["/local/vouch/", "no JSON"],
      ["/local/vouch/", {}],
      ["/local/vouch/", { nonce: "n", ring: "r", replication: 1, max_replication: 1, keys: ["sha1:x"] }],
      ["/local/digests/", []],
      ["/local/digests/", { ranges: [["sha1:x", null]] }],
      ["/local/keys/", { range: ABSENT }],
      ["/local/keys/", { range: [ABSENT, ABSENT] }],
    ];
    for (const [path, body] of malformed) {
      const answer = await asProgram(path, body);
      expect([path, body, answer.status]).toEqual([path, body, 400]);
    }
  });

  test("digests, keys and vouches of what is here", async () => {
    const { key } = await post(node, Buffer.from("held somewhere"));
    const range = [`sha1:${"0".repeat(40)}`, null];
    const holder = (await (await fetch(`${node.url}/file/${key}/copies/`)).json()) as {
      copies: { uuid: string; state: string }[];
    };
    const isHere = holder.copies.some(({ uuid, state }) => uuid === "node0" && state === "present");
    await until(
      "the keys are known",
      async () => (await asProgram("/local/digests/", { ranges: [range] })).status === 200,
    );
    const [[count, sum]] = (
      (await (await asProgram("/local/digests/", { ranges: [range] })).json()) as { digests: [[number, string]] }
    ).digests;
    const { keys, more } = (await (await asProgram("/local/keys/", { range })).json()) as {
      keys: string[];
      more: boolean;
    };
    expect([keys.includes(key), more, keys.length]).toEqual([isHere, false, count]);
    expect(sum).toMatch(/^[0-9a-f]+$/);
    const ask = { nonce: "n1", ring: "another ring", replication: 1, max_replication: 2, keys: [key] };
    const vouches = await asProgram("/local/vouch/", ask);
    expect(vouches.headers.get("cache-control")).toBe("no-store");
    expect(await vouches.json()).toEqual({ nonce: "n1", vouches: [{ vouched: false, reason: "sees another ring" }] });
  });

  test("are for the node that is meant only", async () => {
    const headers = { "x-cask-cluster-secret": SECRET, "x-cask-node": "somebody-else" };
    for (const path of ["/local/vouch/", "/local/digests/", "/local/keys/"]) {
      expect((await fetch(node.url + path, { method: "POST", headers, body: "{}" })).status).toBe(421);
    }
  });
});
