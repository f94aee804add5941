/**
 * `npm run bench [-- --only get4k,put4k --rounds 5 --seconds 2 --against OTHER/dist/main.js]`: nodes against a bare node:http server that
 * answers the same bytes from memory, and nginx where it is installed. They take turns within each round; the ratios within one run say
 * something, figures of two runs do not. Uploads are compared with what the disk gives, too. wrk makes the load, of large uploads curl. `--main`: the built node; `--against`: another build of it takes part.
 * Nodes have one serving thread; `--threads 2`: one with so many takes part, too.
 */
import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { appendAndSync, ddAndSync, uploadOnce } from "./disk-references.ts";
import { report } from "./report.ts";
import { hasNginx, type Server, startControl, startNginx, startNode, startNodes } from "./servers.ts";
import { type Load, type Round, runWrk } from "./wrk.ts";

const { values: options } = parseArgs({
  options: {
    only: { type: "string" },
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "2" },
    main: { type: "string", default: "dist/main.js" },
    against: { type: "string" },
    threads: { type: "string" },
  },
});

/** Blobs of one size. Many, where they are small: readers of one blob share its fetch, which is not what is measured. */
const SETS = {
  "4k": { bytes: 4_096, count: 256 },
  "64k": { bytes: 65_536, count: 128 },
  "1m": { bytes: 2 ** 20, count: 24 },
  "100m": { bytes: 100 * 2 ** 20, count: 1 },
  cold4k: { bytes: 4_096, count: 4_096 },
  cold1m: { bytes: 2 ** 20, count: 24 },
} as const;
type SetName = keyof typeof SETS;

/** `home`: the servers of which kind take part. The cold nodes' cache holds a tenth of the set or less. */
type Work = { readonly name: string; readonly what: string; readonly connections: number } & (
  | { readonly get: SetName; readonly home: "warm" | "cold" | "far" }
  | { readonly post: number; readonly home: "warm" | "three" }
);

const WORKS: readonly Work[] = [
  { name: "get4k", what: "GET 4 KiB", connections: 64, get: "4k", home: "warm" },
  { name: "get64k", what: "GET 64 KiB", connections: 64, get: "64k", home: "warm" },
  { name: "get1m", what: "GET 1 MiB", connections: 16, get: "1m", home: "warm" },
  { name: "get100m", what: "GET 100 MiB", connections: 1, get: "100m", home: "warm" },
  { name: "cold4k", what: "GET 4 KiB, ten times the cache", connections: 64, get: "cold4k", home: "cold" },
  { name: "cold1m", what: "GET 1 MiB, ten times the cache", connections: 16, get: "cold1m", home: "cold" },
  { name: "far4k", what: "GET 4 KiB from a node without a copy", connections: 64, get: "cold4k", home: "far" },
  { name: "put4k", what: "POST 4 KiB", connections: 64, post: 4_096, home: "warm" },
  { name: "put64k", what: "POST 64 KiB", connections: 32, post: 65_536, home: "warm" },
  { name: "put1m", what: "POST 1 MiB", connections: 8, post: 2 ** 20, home: "warm" },
  { name: "put100m", what: "POST 100 MiB", connections: 1, post: 100 * 2 ** 20, home: "warm" },
  { name: "put4k3", what: "POST 4 KiB, three copies on three nodes", connections: 64, post: 4_096, home: "three" },
  { name: "put1m3", what: "POST 1 MiB, three copies on three nodes", connections: 8, post: 2 ** 20, home: "three" },
];

interface Blob {
  readonly name: string;
  readonly key: string;
  readonly bytes: Buffer;
}

interface Lane {
  readonly name: string;
  turn(seconds: number): Promise<Round>;
  /** Of what is fetched. */
  readonly fetched?: { readonly url: string; readonly paths: readonly string[] };
}

/** V8 compiles for some seconds, in each thread by itself: after one second that was still a tenth of what small uploads took. */
const WARM_UP_SECONDS = 5;
/** Larger bodies are more than wrk's scripts can make. */
const WRK_BODY_MAX_BYTES = 8 * 2 ** 20;

const works = WORKS.filter(({ name }) => !options.only || options.only.split(",").includes(name));
const folder = mkdtempSync(join(tmpdir(), "cask-bench-"));
const files = join(folder, "files");
mkdirSync(files);
const sets = new Map<SetName, Blob[]>();
for (const work of works) if ("get" in work && !sets.has(work.get)) sets.set(work.get, makeSet(work.get));
const running: Server[] = [];

try {
  const references = [await started(startControl(files))];
  if (hasNginx()) references.push(await started(startNginx(folder, files)));
  const { main, against, threads } = options;
  const alone = { CASK_MAX_PROCS: "1" };
  const builds = [{ name: "cask", main, folder, settings: alone }];
  if (against) builds.push({ name: "the other build", main: against, folder, settings: alone });
  if (threads) builds.push({ name: `cask, ${threads} threads`, main, folder, settings: { CASK_MAX_PROCS: threads } });
  for (const home of ["warm", "cold", "far", "three"] as const) {
    const here = works.filter((work) => work.home === home);
    if (here.length > 0) await measure(here, builds, references);
  }
} finally {
  for (const server of running) server.stop();
  rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
}

type Build = Parameters<typeof startNode>[0];

async function measure(here: readonly Work[], builds: readonly Build[], references: readonly Server[]): Promise<void> {
  const ours = new Map<Build, readonly Server[]>();
  for (const build of builds) ours.set(build, await startHome((here[0] as Work).home, build));
  for (const work of here) {
    const lanes: Lane[] = [];
    for (const build of builds) lanes.push(...(await ourLanes(work, build.name, ours.get(build) as readonly Server[])));
    lanes.push(...referenceLanes(work, references));
    if ("get" in work) for (const lane of lanes) await checkBodies(lane, sets.get(work.get) as Blob[]);
    await takeTurns(work, lanes);
  }
  for (const servers of ours.values()) for (const server of servers) server.stop();
}

async function startHome(home: Work["home"], build: Build): Promise<readonly Server[]> {
  const small = { ...build.settings, CASK_CACHE_BYTES: "1600KiB" };
  if (home === "warm") return [await started(startNode(build))];
  if (home === "cold") return [await started(startNode({ ...build, settings: small }))];
  const one = { ...small, CASK_REPLICATION: "1", CASK_MAX_REPLICATION: "1" };
  const servers = await startNodes(
    { ...build, settings: home === "far" ? one : { ...build.settings, CASK_REPLICATION: "3" } },
    3,
  );
  running.push(...servers);
  return servers;
}

async function ourLanes(work: Work, name: string, servers: readonly Server[]): Promise<Lane[]> {
  const [server] = servers as [Server];
  const all = { ...server, name, pids: servers.flatMap(({ pids }) => pids) };
  if ("post" in work) return [postLane(work, work.post, all)];
  const blobs = sets.get(work.get) as Blob[];
  for (const blob of blobs) await store(server.url, blob);
  if (work.home !== "far") return [getLane(work, all, blobs.map(pathOf))];
  const local = await heldBy(server, blobs);
  const split = (held: boolean) => blobs.filter(({ key }) => local.has(key) === held).map(pathOf);
  return [getLane(work, all, split(false)), getLane(work, { ...all, name: `${name}, own copies` }, split(true))];
}

function referenceLanes(work: Work, references: readonly Server[]): Lane[] {
  if ("get" in work) {
    const paths = (sets.get(work.get) as Blob[]).map(({ name }) => `/${name}`);
    return references.map((server) => getLane(work, server, paths));
  }
  const { post: bytes, connections } = work;
  const disk: Lane =
    bytes > WRK_BODY_MAX_BYTES
      ? { name: "dd conv=fsync", turn: () => ddAndSync(largeFile(bytes), folder) }
      : { name: "append, sync", turn: (seconds) => appendAndSync({ folder, bytes, connections, seconds }) };
  return [...references.slice(0, 1).map((server) => postLane(work, bytes, server)), disk];
}

function getLane({ connections }: Work, server: Server, paths: readonly string[]): Lane {
  const { name, url } = server;
  return {
    name,
    fetched: { url, paths },
    turn: (seconds) => wrk(server, { kind: "get", paths }, connections, seconds),
  };
}

function postLane({ connections }: Work, bytes: number, server: Server): Lane {
  const { name, url } = server;
  if (bytes > WRK_BODY_MAX_BYTES) return { name, turn: async () => uploadOnce(url, largeFile(bytes)) };
  return { name, turn: (seconds) => wrk(server, { kind: "post", bytes }, connections, seconds) };
}

function wrk(server: Server, load: Load, connections: number, seconds: number): Promise<Round> {
  return runWrk({ ...server, load, connections, seconds, folder });
}

function largeFile(bytes: number): string {
  const path = join(folder, "large");
  if (!existsSync(path)) writeFileSync(path, randomBytes(bytes));
  return path;
}

async function takeTurns(work: Work, lanes: readonly Lane[]): Promise<void> {
  const rounds = lanes.map((): Round[] => []);
  for (const lane of lanes) await lane.turn(WARM_UP_SECONDS);
  for (let round = 0; round < Number(options.rounds); round++) {
    for (const [i, lane] of lanes.entries()) rounds[i]?.push(await lane.turn(Number(options.seconds)));
  }
  const heading = `${work.name}: ${work.what}, ${work.connections} connections, ${options.rounds} rounds of ${options.seconds} s`;
  console.log(
    report(
      heading,
      lanes.map(({ name }, i) => ({ name, rounds: rounds[i] as Round[] })),
    ),
  );
}

/** Each body once, and its hash: not while figures are taken. */
async function checkBodies({ fetched }: Lane, blobs: readonly Blob[]): Promise<void> {
  if (!fetched) return;
  const keys = new Map(blobs.flatMap((blob) => [`/${blob.name}`, pathOf(blob)].map((path) => [path, blob.key])));
  for (const path of fetched.paths) {
    const answer = await fetch(fetched.url + path);
    const bytes = Buffer.from(await answer.arrayBuffer());
    if (answer.status !== 200 || keyOf(bytes) !== keys.get(path))
      throw new Error(`${fetched.url}${path}: a wrong body`);
  }
}

async function store(url: string, { bytes, key }: Blob): Promise<void> {
  const answer = await fetch(`${url}/`, { method: "POST", body: bytes as Uint8Array<ArrayBuffer> });
  const { key: stored, success } = (await answer.json()) as { key: string; success: boolean };
  if (!success || stored !== key) throw new Error(`${url} stored ${stored} in place of ${key}`);
}

async function heldBy(server: Server, blobs: readonly Blob[]): Promise<Set<string>> {
  const held = new Set<string>();
  for (const { key } of blobs) {
    const { copies } = (await (await fetch(`${server.url}/file/${key}/copies/`)).json()) as Copies;
    if (copies.some(({ base_url, state }) => base_url === server.url && state === "present")) held.add(key);
  }
  return held;
}

interface Copies {
  readonly copies: ReadonlyArray<{ readonly base_url: string; readonly state: string }>;
}

function makeSet(name: SetName): Blob[] {
  const { bytes: size, count } = SETS[name];
  return Array.from({ length: count }, (_, i) => {
    const bytes = randomBytes(size);
    writeFileSync(join(files, `${name}-${i}`), bytes);
    return { name: `${name}-${i}`, key: keyOf(bytes), bytes };
  });
}

function keyOf(bytes: Uint8Array): string {
  return `sha1:${createHash("sha1").update(bytes).digest("hex")}`;
}

function pathOf({ key }: Blob): string {
  return `/file/${key}/`;
}

async function started(starting: Promise<Server>): Promise<Server> {
  const server = await starting;
  running.push(server);
  return server;
}
