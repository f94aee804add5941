/**
 * `npm run slow-clients [-- --clients=500 --burst]`: clients that send and take 16 KiB a second, beside an honest one. Measured in turns without and
 * with them: the honest client's slowest hundredth may at most double, the node's memory may grow by at most 100 MiB. With `--burst` they
 * all send 900 kB at once before they become slow: harsher than the limits are meant for, to see where it ends.
 */
import { randomBytes } from "node:crypto";
import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { fetchFile, ProcessCluster, post } from "../test/support/processes.ts";

const MIB = 2 ** 20;
const ROUNDS_COUNT = 5;
const REQUESTS_A_ROUND_COUNT = 600;
const WARM_UP_CLIENTS_COUNT = 50;
const WARM_UP_ROUNDS_COUNT = 30; // at most
const SLOW_FOR_MS = 8_000; // before the honest client is measured beside them
const BURST_BYTES = 900_000; // nearly all that may wait in memory
const ANNOUNCED_BYTES = 1_040_000;
const READ_FILE_BYTES = 64 * MIB; // more than the kernel takes off the node's hands
const DRIP_BYTES = 16_384;
const DRIP_EVERY_MS = 1_000;

const { values } = parseArgs({
  options: { clients: { type: "string", default: "500" }, burst: { type: "boolean", default: false } },
});
const clientCount = Number(values.clients);
const cluster = await ProcessCluster.start(1);
const node = cluster.node(0);
const { port } = new URL(node.url);
const bytes = randomBytes(values.burst ? BURST_BYTES : DRIP_BYTES);
const large = await post(node, randomBytes(READ_FILE_BYTES));

try {
  await warmUp();
  const memoryBefore = node.memoryBytes();
  let memoryMost = memoryBefore;
  const alone: number[] = [];
  const crowded: number[] = [];
  for (let round = 1; round <= ROUNDS_COUNT; round++) {
    alone.push(...(await honestRound()));
    const slow = await startSlowClients();
    await sleep(SLOW_FOR_MS);
    crowded.push(...(await honestRound()));
    memoryMost = Math.max(memoryMost, node.memoryBytes());
    const connected = slow.filter((socket) => !socket.destroyed).length;
    for (const socket of slow) socket.destroy();
    console.log(`round ${round}: p99 alone ${p99(alone)} ms, beside ${connected} slow clients ${p99(crowded)} ms`);
    await sleep(500);
  }
  const growth = Math.round((memoryMost - memoryBefore) / MIB);
  const ratio = p99(crowded) / p99(alone);
  console.log(
    `slow-clients: ${clientCount} slow clients; an honest one's p99 ${p99(alone)} ms alone, ${p99(crowded)} ms beside them (ratio ${ratio.toFixed(2)}); ` +
      `memory grew by ${growth} MiB; stages left after they went: ${(await node.staged()).length}`,
  );
  process.exitCode = ratio <= 2 && growth <= 100 ? 0 : 1;
} finally {
  await cluster.stop();
}

/** A busy node's memory grows for a while, by itself: until that is over, whatever the slow ones cost can't be told from it. */
async function warmUp(): Promise<void> {
  for (let round = 1, most = 0, calm = 0; round <= WARM_UP_ROUNDS_COUNT && calm < 5; round++) {
    const busy = async () => {
      for (let i = 0; i < 10; i++) await fetchFile(node, (await post(node, randomBytes(20_000))).key);
    };
    await Promise.all(Array.from({ length: WARM_UP_CLIENTS_COUNT }, busy));
    calm = node.memoryBytes() > most + 2 * MIB ? 0 : calm + 1;
    most = Math.max(most, node.memoryBytes());
  }
  await honestRound();
}

/** Times of uploads and fetches of a small file, one after the other. */
async function honestRound(): Promise<number[]> {
  const times: number[] = [];
  for (let i = 0; i < REQUESTS_A_ROUND_COUNT / 2; i++) {
    const file = randomBytes(4_096);
    const stored = await timed(times, post(node, file));
    const { bytes: fetched } = await timed(times, fetchFile(node, stored.key));
    if (!stored.success || !fetched.equals(file)) throw new Error(`the honest client was not served: ${stored.status}`);
  }
  return times;
}

async function timed<T>(times: number[], work: Promise<T>): Promise<T> {
  const startedMs = performance.now();
  const result = await work;
  times.push(performance.now() - startedMs);
  return result;
}

/** A third sends raw bodies, a third multipart, a third takes a large file. */
async function startSlowClients(): Promise<Socket[]> {
  const sockets: Socket[] = [];
  for (let i = 0; i < clientCount; i++) {
    sockets.push([rawUpload, multipartUpload, slowReader][i % 3]?.() as Socket);
    if (i % 10 === 9) await sleep((DRIP_EVERY_MS / clientCount) * 10); // so that they don't drip in step
  }
  return sockets;
}

function open(): Socket {
  const socket = connect(Number(port), "127.0.0.1");
  socket.on("error", () => socket.destroy());
  return socket;
}

function drip(socket: Socket): Socket {
  let left = ANNOUNCED_BYTES - bytes.length - 1_000;
  const timer = setInterval(() => {
    const size = Math.min(DRIP_BYTES, left);
    left -= size;
    if (size > 0) socket.write(bytes.subarray(0, size));
  }, DRIP_EVERY_MS);
  socket.once("close", () => clearInterval(timer));
  return socket;
}

function rawUpload(): Socket {
  const socket = open();
  socket.write(`POST / HTTP/1.1\r\nhost: x\r\ncontent-length: ${ANNOUNCED_BYTES}\r\n\r\n`);
  socket.write(bytes);
  return drip(socket);
}

function multipartUpload(): Socket {
  const socket = open();
  const type = "content-type: multipart/form-data; boundary=XX";
  socket.write(`POST / HTTP/1.1\r\nhost: x\r\n${type}\r\ncontent-length: ${ANNOUNCED_BYTES}\r\n\r\n`);
  socket.write('--XX\r\ncontent-disposition: form-data; name="file"; filename="f"\r\n\r\n');
  socket.write(bytes);
  return drip(socket);
}

function slowReader(): Socket {
  const socket = open();
  socket.pause();
  socket.write(`GET /file/${large.key}/ HTTP/1.1\r\nhost: x\r\n\r\n`);
  const timer = setInterval(() => socket.read(DRIP_BYTES), DRIP_EVERY_MS);
  socket.once("close", () => clearInterval(timer));
  return socket;
}

function p99(times: readonly number[]): number {
  const sorted = [...times].sort((a, b) => a - b);
  return Math.round((sorted[Math.floor(sorted.length * 0.99)] ?? 0) * 10) / 10;
}
