/**
 * `npm start`: three nodes on loopback from env/node0 to env/node2, a sample stored at one and fetched from another, and what to
 * type next. Stays up until Ctrl-C.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createWriteStream, mkdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseEnv } from "node:util";

const ROOT = path.resolve(import.meta.dirname, "..");
const READY_WITHIN_MS = 20_000;

interface StartedNode {
  readonly name: string;
  readonly url: string;
  readonly log: string;
  readonly process: ChildProcess;
}

const nodes: StartedNode[] = [];
let stopping = false;
/** From then on the others go on without a node that ends. */
let isUp = false;

function startNode(name: string): StartedNode {
  const settings = parseEnv(readFileSync(path.join(ROOT, "env", name), "utf8")) as Record<string, string>;
  const log = path.join(ROOT, "data", `${name}.log`);
  const child = spawn(process.execPath, [path.join(ROOT, "dist", "main.js")], {
    cwd: ROOT,
    env: { ...withoutCask(process.env), ...settings },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const file = createWriteStream(log, { flags: "a" });
  child.stdout.pipe(file, { end: false });
  child.stderr.pipe(file, { end: false });
  child.on("exit", (code, signal) => {
    if (!stopping) ended(`${name} ended (${signal ?? `exit code ${code}`})`, log);
  });
  return { name, url: settings["CASK_BASE_URL"] as string, log, process: child };
}

function ended(what: string, log: string): void {
  const others = nodes.filter((node) => isRunning(node.process));
  if (isUp && others.length > 0) {
    console.log(
      `\n${what}. What was stored can still be fetched from ${others.map(({ url }) => url).join(" and ")}; an upload that makes fewer than 3 copies ` +
        "answers 503.\nCtrl-C and npm start bring it back.",
    );
    return;
  }
  void failed(`${what}. The last lines of ${log}:\n${tail(log)}`);
}

function isRunning({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode === null && signalCode === null;
}

/** Settings of the shell that happens to start this must not leak into all three nodes. */
function withoutCask(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith("CASK_")));
}

async function untilReady(node: StartedNode): Promise<void> {
  const deadline = performance.now() + READY_WITHIN_MS;
  while (performance.now() < deadline) {
    const answer = await fetch(`${node.url}/readyz`).catch(() => null);
    const status = answer?.ok
      ? ((await (await fetch(`${node.url}/status/`)).json()) as { members: { state: string }[] })
      : null;
    if (status && status.members.filter(({ state }) => state === "alive").length === nodes.length - 1) return;
    await sleep(100);
  }
  await failed(
    `${node.name} was not ready within ${READY_WITHIN_MS / 1000} s. The last lines of ${node.log}:\n${tail(node.log)}`,
  );
}

async function storeAndFetchSample(from: StartedNode, to: StartedNode): Promise<string> {
  const sample = `Hello from cask, ${new Date().toISOString()}\n`;
  const form = new FormData();
  form.append("file", new Blob([sample]), "sample.txt");
  const stored = (await (await fetch(`${from.url}/`, { method: "POST", body: form })).json()) as Stored;
  if (!stored.success) await failed(`the sample could not be stored: ${JSON.stringify(stored)}`);
  const fetched = await (await fetch(`${to.url}/file/${stored.key}/`)).text();
  if (fetched !== sample) await failed(`${to.url} gave back other bytes than were stored`);
  console.log(`\nStored a sample of ${sample.length} bytes at ${from.url}: ${stored.copies} copies, key ${stored.key}`);
  console.log(`Fetched it from ${to.url}: ${JSON.stringify(fetched)}`);
  return stored.key;
}

interface Stored {
  readonly key: string;
  readonly success: boolean;
  readonly copies: number;
}

async function stop(code: number): Promise<never> {
  stopping = true;
  await Promise.all(
    nodes.map(({ process: child }) => {
      if (!isRunning(child)) return undefined;
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGTERM");
      return ended;
    }),
  );
  process.exit(code);
}

async function failed(message: string): Promise<never> {
  console.error(`\n${message}`);
  return stop(1);
}

function tail(file: string): string {
  return readFileSync(file, "utf8").trimEnd().split("\n").slice(-5).join("\n");
}

for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => void stop(0));
mkdirSync(path.join(ROOT, "data"), { recursive: true });
console.log("Starting three nodes on this machine:");
for (const name of ["node0", "node1", "node2"]) {
  const node = startNode(name);
  nodes.push(node);
  console.log(`  ${node.name}  ${node.url}  (data and log below data/)`);
}
await Promise.all(nodes.map(untilReady));
const [first, second, third] = nodes as [StartedNode, StartedNode, StartedNode];
const key = await storeAndFetchSample(first, second);
isUp = true;
console.log(`
Now you. Store a file, and fetch it by its key from any node:
  curl -F file=@README.md ${first.url}/
  curl ${third.url}/file/${key}/
Look at the cluster in a browser: ${first.url}/
Press Ctrl-C to stop; what was stored stays below data/.`);
