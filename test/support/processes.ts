import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { freePorts } from "./free-ports.ts";
import { StoredCopies } from "./stored-copies.ts";

/** Real nodes: `node dist/main.js` processes on loopback, each from `CASK_*` alone. `npm run build` must have run. */

const MAIN = resolve("dist/main.js");
export const SECRET = "a secret for tests";

export interface NodeSettings {
  readonly [name: `CASK_${string}`]: string;
}

export class NodeProcess {
  readonly name: string;
  readonly url: string;
  readonly root: string;
  readonly settings: NodeSettings;
  /** What lies on its disk. */
  readonly copies: StoredCopies;
  /** Everything that it has logged, over all its lives. */
  output = "";
  private readonly prefix: readonly string[];
  private child: ChildProcess | undefined;
  private exited: Promise<number | null> = Promise.resolve(null);

  /** `prefix`: before the command, to run it elsewhere (a network namespace). */
  constructor(name: string, settings: NodeSettings, prefix: readonly string[] = []) {
    this.prefix = prefix;
    this.name = name;
    this.settings = settings;
    this.url = settings["CASK_BASE_URL"] as string;
    this.root = settings["CASK_DISK_BACKEND_ROOT"] as string;
    this.copies = new StoredCopies(this.root);
  }

  start(more: NodeSettings = {}): void {
    if (!existsSync(MAIN)) throw new Error("dist/main.js is missing: npm run build");
    // All of these tests are to pass with any number of serving threads: CASK_MAX_PROCS=3 npx jest -i test/e2e
    const threads = process.env["CASK_MAX_PROCS"];
    const env = {
      PATH: process.env["PATH"],
      ...(threads ? { CASK_MAX_PROCS: threads } : {}),
      ...this.settings,
      ...more,
    };
    const [command, ...args] = [...this.prefix, process.execPath, MAIN];
    const child = spawn(command as string, args, { env, stdio: ["ignore", "pipe", "pipe"], cwd: tmpdir() });
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => {
        this.output += text;
      });
    }
    this.child = child;
    this.exited = once(child, "exit").then(([code]) => code as number | null);
  }

  get pid(): number {
    if (this.child?.pid === undefined) throw new Error(`${this.name} does not run`);
    return this.child.pid;
  }

  signal(name: NodeJS.Signals): void {
    this.child?.kill(name);
  }

  /** Resolves with the exit code; null when a signal ended it. */
  ended(): Promise<number | null> {
    return this.exited;
  }

  async kill(): Promise<void> {
    this.signal("SIGCONT");
    this.signal("SIGKILL");
    await this.ended();
  }

  async stop(): Promise<number | null> {
    this.signal("SIGTERM");
    return this.ended();
  }

  /** Resident memory at present, in bytes. */
  memoryBytes(): number {
    const line = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${this.pid}/status`, "utf8"));
    return Number(line?.[1]) * 1024;
  }

  async json<T = Record<string, unknown>>(path: string): Promise<T> {
    return (await (await fetch(this.url + path, { headers: { accept: "application/json" } })).json()) as T;
  }

  async status(): Promise<Status> {
    return this.json<Status>("/status/");
  }

  /** Files that uploads in progress, or forgotten ones, have left. */
  async staged(): Promise<string[]> {
    return readdir(join(this.root, "stage"));
  }

  /** Files below `sha1/`: one for each copy that is not in a segment. */
  async storedFiles(): Promise<string[]> {
    const entries = await readdir(join(this.root, "sha1"), { recursive: true, withFileTypes: true });
    return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  }
}

export interface Status {
  readonly node: {
    readonly uuid: string;
    readonly store: string;
    readonly writeable: boolean;
    readonly joined: boolean;
    readonly incomplete: boolean;
    readonly read_only_because: string | null;
  };
  readonly replication: { readonly wanted: number; readonly max: number };
  readonly members: ReadonlyArray<{
    readonly uuid: string;
    readonly base_url: string;
    readonly state: string;
    readonly writeable: boolean;
  }>;
  readonly gossip: {
    readonly address: string;
    readonly encrypted: boolean;
    readonly healthScore: number;
    readonly messagesIn: Readonly<Record<string, { readonly count: number; readonly bytes: number }>>;
    readonly messagesOut: Readonly<Record<string, { readonly count: number; readonly bytes: number }>>;
    readonly drops: Readonly<Record<string, number>>;
    readonly members: ReadonlyArray<{ readonly name: string }>;
  } | null;
  readonly workers: ReadonlyArray<{ readonly name: string; readonly state: string }>;
}

/** Nodes that know each other, in one temporary folder. */
export class ProcessCluster {
  readonly nodes: NodeProcess[];
  private readonly folder: string;

  private constructor(folder: string, nodes: NodeProcess[]) {
    this.folder = folder;
    this.nodes = nodes;
  }

  static async start(count: number, more: NodeSettings = {}): Promise<ProcessCluster> {
    const cluster = await ProcessCluster.prepare(count, more);
    for (const node of cluster.nodes) node.start();
    await cluster.untilMet();
    return cluster;
  }

  static async prepare(count: number, more: NodeSettings = {}): Promise<ProcessCluster> {
    const folder = await mkdtemp(join(tmpdir(), "cask-nodes-"));
    const ports = await freePorts(2 * count);
    const urls = ports.slice(0, count).map((port) => `http://127.0.0.1:${port}`);
    const nodes = ports
      .slice(count)
      .map((gossipPort, i) => new NodeProcess(`node${i}`, settingsOf({ folder, i, gossipPort, urls, more })));
    return new ProcessCluster(folder, nodes);
  }

  node(index: number): NodeProcess {
    const node = this.nodes[index];
    if (!node) throw new Error(`there is no node ${index}`);
    return node;
  }

  /** Every node counts all others as alive. */
  async untilMet(nodes: readonly NodeProcess[] = this.nodes): Promise<void> {
    await Promise.all(
      nodes.map((node) =>
        until(`${node.name} has met the others`, async () => {
          const { node: own, members } = await node.status();
          return own.joined && members.filter(({ state }) => state === "alive").length >= nodes.length - 1;
        }),
      ),
    );
  }

  async stop(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.kill()));
    await rm(this.folder, { recursive: true, force: true });
  }
}

interface Placing {
  readonly folder: string;
  readonly i: number;
  /** The same over restarts: a node that comes back elsewhere is waited for until it is dead where it was. */
  readonly gossipPort: number;
  readonly urls: readonly string[];
  readonly more: NodeSettings;
}

function settingsOf({ folder, i, gossipPort, urls, more }: Placing): NodeSettings {
  const url = urls[i] as string;
  const others = urls.filter((other) => other !== url);
  const shared: NodeSettings =
    others.length > 0 ? { CASK_NEIGHBORS: others.join(","), CASK_CLUSTER_SECRET: SECRET } : {};
  return {
    CASK_PORT: new URL(url).port,
    CASK_HOST: "127.0.0.1",
    CASK_BASE_URL: url,
    CASK_UUID: `node${i}`,
    CASK_DISK_BACKEND_ROOT: join(folder, `node${i}`),
    CASK_HEARTBEAT_INTERVAL: "0.3",
    CASK_GOSSIP_PORT: String(gossipPort),
    CASK_GOSSIP_PROFILE: "local",
    CASK_KEEP_FREE: "1MiB",
    // What is shown of copies on disks must not come from memory.
    CASK_CACHE_BYTES: "0",
    ...shared,
    ...more,
  };
}

/** Waits for a condition; an error counts as "not yet". Rejects with the last trouble after its time. */
export async function until(what: string, condition: () => Promise<boolean>, timeoutMs = 15_000): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  let trouble: unknown;
  while (performance.now() < deadline) {
    try {
      if (await condition()) return;
      trouble = undefined;
    } catch (error) {
      trouble = error;
    }
    await sleep(25);
  }
  throw new Error(`waited ${timeoutMs} ms for: ${what}`, { cause: trouble });
}

export interface Stored {
  readonly status: number;
  readonly key: string;
  readonly success: boolean;
  readonly copies: number;
  readonly wanted: number;
  readonly error?: { readonly code: string; readonly message: string };
}

/** `POST /`, multipart, as a browser or `curl -F` does it. */
export async function post(node: NodeProcess, bytes: Uint8Array): Promise<Stored> {
  const form = new FormData();
  form.append("file", new Blob([bytes as Uint8Array<ArrayBuffer>]), "file");
  const answer = await fetch(`${node.url}/`, {
    method: "POST",
    body: form,
    headers: { accept: "application/json" },
  });
  return { status: answer.status, ...((await answer.json()) as Omit<Stored, "status">) };
}

/** `GET /file/<key>/`. Rejects when the body is cut. */
export async function fetchFile(node: NodeProcess, key: string): Promise<{ status: number; bytes: Buffer }> {
  const answer = await fetch(`${node.url}/file/${key}/`);
  return { status: answer.status, bytes: Buffer.from(await answer.arrayBuffer()) };
}
