import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { resolve } from "node:path";
import { freePorts } from "../support/free-ports.ts";
import { until } from "../support/processes.ts";
import { TemporaryFolders } from "../support/temporary-folder.ts";

const folders = new TemporaryFolders();
let started: ChildProcess | undefined;
afterAll(async () => {
  started?.kill("SIGKILL");
  await folders.removeAll();
});

test("a node that has started gives back what starting left, before it rests", async () => {
  const [port, gossipPort] = await freePorts(2);
  const env = {
    CASK_PORT: String(port),
    CASK_HOST: "127.0.0.1",
    CASK_GOSSIP_PORT: String(gossipPort),
    CASK_DISK_BACKEND_ROOT: await folders.make(),
  };
  const child = spawn(process.execPath, ["--trace-gc", resolve("dist/main.js")], { env });
  started = child;
  const exited = once(child, "exit");
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  await until("it has collected", async () => /Mark-Compact \(reduce\).* testing;/.test(output));
  expect((await fetch(`http://127.0.0.1:${port}/status/`)).status).toBe(200);
  child.kill("SIGTERM");
  expect(await exited).toEqual([0, null]);
});
