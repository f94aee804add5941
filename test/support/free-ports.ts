import { once } from "node:events";
import { createServer } from "node:net";

/**
 * Below the ports that the system gives to whoever asks for any, or connects somewhere: of those, one that was free a moment ago may be taken before the
 * node that it was chosen for has started, or has started again. Tests that run at the same time have a part each.
 */
const FIRST_PORT = 10_000;
const PORTS_OF_ONE = 6_000;
const PARTS = 3;

const part = Number(process.env["JEST_WORKER_ID"] ?? 0) % PARTS;
let next = process.pid % PORTS_OF_ONE;

/** So many ports that nobody on this machine listens at, each given once by this process. */
export async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = [];
  while (ports.length < count) {
    const port = FIRST_PORT + part * PORTS_OF_ONE + next;
    next = (next + 1) % PORTS_OF_ONE;
    if (await isFree(port)) ports.push(port);
  }
  return ports;
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer().listen(port, "127.0.0.1");
  try {
    await once(server, "listening");
  } catch (_taken) {
    return false;
  }
  await new Promise((done) => server.close(done));
  return true;
}
