import { randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { request } from "node:http";
import { createConnection } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { keyOfBytes } from "../../src/core/key.ts";
import { type NodeProcess, ProcessCluster, SECRET, until } from "../support/processes.ts";
import { DAMAGES_OF_RECORDS, findRecord } from "../support/segment-records.ts";

const THREADS = 3;
/** So many connections that each thread gets some: the chance that one gets none is below 1 in 100,000. */
const CONNECTIONS = 40;
const onLinux = process.platform === "linux" ? describe : describe.skip;
if (process.platform !== "linux") console.log("serving-threads.test: skipped, threads share a port on Linux only");

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly bytes: Buffer;
}

/** Over a connection of its own: the system chooses the thread. */
function ask(url: string, options: { method?: string; body?: Buffer; headers?: Record<string, string> } = {}) {
  return new Promise<Answer>((resolve, reject) => {
    const { method = "GET", body, headers = {} } = options;
    const asked = request(url, { method, headers, agent: false }, (answer) => {
      const parts: Buffer[] = [];
      answer.on("data", (part: Buffer) => void parts.push(part)).on("error", reject);
      answer.on("end", () => {
        resolve({ status: answer.statusCode as number, headers: answer.headers, bytes: Buffer.concat(parts) });
      });
    });
    asked.on("error", reject).end(body);
  });
}

const times = <T>(work: (i: number) => Promise<T>) =>
  Promise.all(Array.from({ length: CONNECTIONS }, (_, i) => work(i)));

onLinux("several threads on one port", () => {
  let cluster: ProcessCluster;
  let node: NodeProcess;
  beforeAll(async () => {
    cluster = await ProcessCluster.start(1, {
      CASK_MAX_PROCS: String(THREADS),
      CASK_CLUSTER_SECRET: SECRET,
      CASK_MAX_UPLOAD_SIZE: "4MiB",
    });
    node = cluster.node(0);
  });
  afterAll(() => cluster.stop());

  const counted = async (door: string, method: string, status: string) => {
    const { bytes } = await ask(`${node.url}/metrics`);
    const line = `cask_http_request_duration_seconds_count{door="${door}",method="${method}",status="${status}"} `;
    return Number(bytes.toString().split(line)[1]?.split("\n")[0] ?? 0);
  };

  test("all of them take and give blobs of any size, and all is counted", async () => {
    const before = { put: await counted("root", "POST", "200"), get: await counted("file", "GET", "200") };
    const blobs = await times(async (i) => {
      const bytes = randomBytes([0, 1, 4_096, 65_537, 300_000, 1_500_000][i % 6] as number);
      const { status, bytes: told } = await ask(`${node.url}/`, { method: "POST", body: bytes });
      expect([status, JSON.parse(told.toString())]).toMatchObject([200, { key: keyOfBytes(bytes), success: true }]);
      return bytes;
    });
    for (const bytes of blobs) {
      const answers = await Promise.all([1, 2, 3].map(() => ask(`${node.url}/file/${keyOfBytes(bytes)}/`)));
      for (const answer of answers) expect([answer.status, answer.bytes.equals(bytes)]).toEqual([200, true]);
    }
    await until("all is counted", async () => {
      const put = (await counted("root", "POST", "200")) - before.put;
      const get = (await counted("file", "GET", "200")) - before.get;
      return put === CONNECTIONS && get === 3 * CONNECTIONS;
    });
  });

  test("whichever is asked gives the same answers and refusals", async () => {
    const bytes = randomBytes(10_000);
    const key = keyOfBytes(bytes);
    await ask(`${node.url}/file/${key}/`, { method: "PUT", body: bytes });
    const local = { "x-cask-cluster-secret": SECRET };
    const cases = [
      [`/file/${key}`, { headers: { range: "bytes=3-9" } }, 206],
      [`/file/${key}`, { method: "HEAD" }, 200],
      [`/file/${key}`, { headers: { "if-none-match": `"${key}"` } }, 304],
      [`/file/${key}/copies`, {}, 200],
      [`/file/${key}`, { method: "PUT", body: bytes }, 200],
      [`/file/${key}`, { method: "PUT", body: randomBytes(10) }, 400],
      [`/file/${key}`, { method: "DELETE" }, 405],
      [`/file/sha1:${"0".repeat(40)}`, {}, 404],
      ["/file/nonsense", {}, 400],
      [`/local/${key}`, {}, 403],
      [`/local/${key}`, { headers: { ...local, "x-cask-node": "another" } }, 421],
      [`/local/${key}`, { headers: local }, 200],
      ["/status/", {}, 200],
      ["/", { method: "POST", body: randomBytes(5_000_000) }, 413],
    ] as const;
    for (const [path, options, status] of cases) {
      const answers = await times(() => ask(node.url + path, options).catch((error: Error) => error.message));
      const kinds = new Set(answers.map((answer) => (typeof answer === "string" ? answer : answer.status)));
      expect([path, options, ...kinds]).toEqual([path, options, status]);
      const shown = answers.map((answer) => {
        const { date: _date, connection: _c, "keep-alive": _k, ...headers } = (answer as Answer).headers;
        return JSON.stringify(headers);
      });
      if (path !== "/status/") expect(new Set(shown).size).toBe(1);
    }
  });

  test("an upload that breaks off leaves nothing, whoever took it in", async () => {
    await times(async (i) => {
      const length = i % 2 === 0 ? 20_000 : 2_000_000;
      const socket = createConnection(Number(new URL(node.url).port), "127.0.0.1");
      socket.on("error", () => undefined);
      socket.write(`POST / HTTP/1.1\r\nhost: x\r\ncontent-length: ${length}\r\n\r\n`);
      socket.write(randomBytes(length / 2));
      await sleep(100);
      socket.destroy();
    });
    await until("no stage is left", async () => (await node.staged()).length === 0);
    const { bytes } = await ask(`${node.url}/status/`);
    expect(bytes.toString()).toContain('"uuid"');
  });

  test("a copy that rots is not given by any of them, and goes into quarantine", async () => {
    const bytes = randomBytes(9_000);
    const key = keyOfBytes(bytes);
    await ask(`${node.url}/`, { method: "POST", body: bytes });
    await node.stop(); // no thread has it in memory any more
    const at = await findRecord(node.root, key);
    if (!at) throw new Error("no record");
    await DAMAGES_OF_RECORDS["flipped in the middle"]?.(node.root, at);
    node.start();
    await until("it listens", async () => (await ask(`${node.url}/healthz`)).status === 200);
    const answers = await times(() => ask(`${node.url}/file/${key}`));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([503]));
  });

  test("a large copy that rots is cut before its end by all of them, and goes into quarantine", async () => {
    const bytes = randomBytes(1_500_000);
    const key = keyOfBytes(bytes);
    await ask(`${node.url}/`, { method: "POST", body: bytes });
    const [file] = (await node.storedFiles()).filter((path) => path.endsWith(key.slice(7)));
    const rotten = Buffer.from(bytes);
    rotten[rotten.length - 1] = (bytes.at(-1) as number) ^ 1;
    await writeFile(file as string, rotten);
    await until("it is in quarantine", async () => {
      const answers = await times(() => ask(`${node.url}/file/${key}`).catch(() => null));
      for (const answer of answers) expect(answer?.status === 200).toBe(false);
      return answers.every((answer) => answer?.status === 503);
    });
  });

  test("a stop answers what is under way, and no thread outlives it", async () => {
    const bytes = randomBytes(100_000);
    const key = keyOfBytes(bytes);
    await ask(`${node.url}/`, { method: "POST", body: bytes });
    let isStopping = false;
    const answered: number[] = [];
    const clients = times(async () => {
      while (!isStopping) {
        const answer = await ask(`${node.url}/file/${key}`).catch(() => null);
        if (answer) answered.push(answer.bytes.length);
      }
    });
    await sleep(300);
    const stopped = node.stop();
    isStopping = true;
    expect(await stopped).toBe(0);
    await clients;
    expect(new Set(answered)).toEqual(new Set([bytes.length]));
    expect(node.output).not.toMatch(/serving thread/);
    node.start();
    await until("it listens", async () => (await ask(`${node.url}/healthz`)).status === 200);
  });

  test("a second node on the same port is refused, though threads could share it", async () => {
    const other = await ProcessCluster.prepare(1, {
      CASK_MAX_PROCS: String(THREADS),
      CASK_PORT: new URL(node.url).port,
    });
    other.node(0).start();
    expect(await other.node(0).ended()).toBe(1);
    expect(other.node(0).output).toMatch(/another process listens there; set CASK_PORT/);
    await other.stop();
  });
});
