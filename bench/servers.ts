import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { freePorts } from "../test/support/free-ports.ts";
import { until } from "../test/support/processes.ts";

/** Something that answers HTTP, in processes of its own. */
export interface Server {
  readonly name: string;
  readonly url: string;
  readonly pids: readonly number[];
  stop(): void;
}

export interface NodeOptions {
  readonly name: string;
  /** The built program. */
  readonly main: string;
  /** For its data, which it gets a folder of its own in. */
  readonly folder: string;
  readonly settings?: Readonly<Record<`CASK_${string}`, string>>;
  /** For `node` itself: a profile. */
  readonly nodeArguments?: readonly string[];
}

/** One node, alone. */
export async function startNode(options: NodeOptions): Promise<Server> {
  const [server] = await startNodes(options, 1);
  return server as Server;
}

/** Nodes that have met. */
export async function startNodes(options: NodeOptions, count: number): Promise<Server[]> {
  const ports = await freePorts(2 * count);
  const urls = ports.slice(0, count).map((port) => `http://127.0.0.1:${port}`);
  const servers = urls.map((url, i) => {
    const others = urls.filter((other) => other !== url).join(",");
    const env = {
      PATH: process.env["PATH"],
      CASK_PORT: new URL(url).port,
      CASK_HOST: "127.0.0.1",
      CASK_BASE_URL: url,
      CASK_UUID: `node${i}`,
      CASK_DISK_BACKEND_ROOT: mkdtempSync(join(options.folder, "node-")),
      CASK_GOSSIP_PORT: String(ports[count + i]),
      CASK_GOSSIP_PROFILE: "local",
      CASK_KEEP_FREE: "1MiB",
      CASK_LOG_LEVEL: "warn",
      // The scrub's first pass over what was just stored is not what is measured.
      CASK_AAE_INTERVAL: "60",
      ...(others === "" ? {} : { CASK_NEIGHBORS: others, CASK_CLUSTER_SECRET: "a secret of the bench" }),
      ...options.settings,
    };
    const args = [...(options.nodeArguments ?? []), resolve(options.main)];
    const child = spawn(process.execPath, args, { env, stdio: ["ignore", "ignore", "inherit"], cwd: options.folder });
    return serverOf(count === 1 ? options.name : `${options.name}, node ${i} of ${count}`, url, child);
  });
  for (const { url } of servers) {
    await until(`${url} has met the others`, async () => {
      const status = (await (await fetch(`${url}/status/`)).json()) as { members: { state: string }[] };
      return status.members.filter(({ state }) => state === "alive").length === count - 1;
    });
  }
  return servers;
}

export async function startControl(files: string): Promise<Server> {
  const script = fileURLToPath(new URL("control.ts", import.meta.url));
  const child = spawn(process.execPath, [script, files], { stdio: ["ignore", "pipe", "inherit"] });
  const [port] = (await once(child.stdout, "data")) as [Buffer];
  return serverOf("control", `http://127.0.0.1:${port.toString().trim()}`, child);
}

export function hasNginx(): boolean {
  return spawnSync("nginx", ["-v"]).status === 0;
}

/** With two workers; their processor time is not counted. */
export async function startNginx(folder: string, files: string): Promise<Server> {
  const [port] = await freePorts(1);
  const config = join(folder, "nginx.conf");
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((n) => `${n}_temp_path ${folder}/${n};`);
  writeFileSync(
    config,
    `${process.getuid?.() === 0 ? "user root; " : ""}daemon off; worker_processes 2; pid ${folder}/pid;
     error_log ${folder}/error.log; events {}
     http { access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000; default_type application/octet;
       ${temporary.join(" ")} server { listen 127.0.0.1:${port}; root ${files}; } }`,
  );
  const child = spawn("nginx", ["-c", config], { stdio: ["ignore", "inherit", "inherit"] });
  await sleep(500);
  if (child.exitCode !== null) throw new Error("nginx did not start");
  return { ...serverOf("nginx, 2 workers", `http://127.0.0.1:${port}`, child), pids: [] };
}

function serverOf(name: string, url: string, child: ChildProcess): Server {
  return { name, url, pids: [child.pid as number], stop: () => void child.kill("SIGTERM") };
}
