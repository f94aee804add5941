import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import type { IncomingMessage, RequestListener } from "node:http";
import * as http from "node:http";
import * as https from "node:https";
import { connect } from "node:net";
import * as tls from "node:tls";
import { SystemClock } from "../../src/core/clock.ts";
import { STOP_TIMEOUT_MS } from "../../src/core/limits.ts";
import { HttpServer } from "../../src/http/server.ts";
import { Authority } from "../support/certificates.ts";
import { TemporaryFolders } from "../support/temporary-folder.ts";

const folders = new TemporaryFolders();
afterAll(() => folders.removeAll());

const hasOpenssl = spawnSync("openssl", ["version"]).status === 0;
const AT = { host: "127.0.0.1", rejectUnauthorized: false };

/** In a client's place: TCP, or TLS with its handshake done, and not a word. */
const SILENT = {
  http: async (port: number) => {
    const socket = connect(port, AT.host);
    await once(socket, "connect");
    return socket;
  },
  https: async (port: number) => {
    const socket = tls.connect({ ...AT, port });
    await once(socket, "secureConnect");
    return socket;
  },
};

describe.each(["http", "https"] as const)("%s: a server that stops", (protocol) => {
  if (protocol === "https" && !hasOpenssl) {
    test.skip("openssl is not installed", () => undefined);
    return;
  }
  let pair: { cert: string; key: string } | undefined;
  beforeAll(async () => {
    if (protocol === "http") return;
    const { cert, key } = new Authority(await folders.make(), "authority").issue("node");
    pair = { cert: readFileSync(cert, "utf8"), key: readFileSync(key, "utf8") };
  });

  async function serving(handler: RequestListener): Promise<{ server: HttpServer; port: number }> {
    const options = { handler, listen: { host: AT.host, port: 0 }, headTimeoutMs: 30_000, clock: new SystemClock() };
    const server = new HttpServer({ ...options, tls: pair });
    return { server, port: await server.start() };
  }

  test("finishes what is under way, and does not wait for its connection, which the client would keep", async () => {
    let finish: () => void = () => undefined;
    const arrived = Promise.withResolvers<void>();
    const { server, port } = await serving((_req, res) => {
      finish = () => void res.end("whole");
      arrived.resolve();
    });
    const client = protocol === "http" ? http : https;
    const agent = new client.Agent({ keepAlive: true });
    const answer = once(client.get({ ...AT, port, agent }), "response") as Promise<[IncomingMessage]>;
    await arrived.promise;
    const stopped = stopMs(server);
    await new Promise((done) => setTimeout(done, 200)); // Node.js has long looked for idle connections
    finish();
    const [response] = await answer;
    expect(Buffer.concat(await response.toArray()).toString()).toBe("whole");
    expect(await stopped).toBeLessThan(STOP_TIMEOUT_MS / 2);
    agent.destroy();
  });

  test("nor for a connection on which nothing was asked", async () => {
    const { server, port } = await serving((_req, res) => void res.end());
    const silent = await SILENT[protocol](port);
    await new Promise((done) => setTimeout(done, 50)); // let it be accepted
    expect(await stopMs(server)).toBeLessThan(STOP_TIMEOUT_MS / 2);
    silent.destroy();
  });
});

async function stopMs(server: HttpServer): Promise<number> {
  const begunMs = performance.now();
  await server.stop();
  return performance.now() - begunMs;
}
