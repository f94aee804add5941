/**
 * `npm run bench-large-uploads [-- --connections 24 --mib 1024]`: that many connections upload a large blob each, all different and at the same time, to one node.
 * Prints the rate and the most memory that the node held, and fetches one of them again to check its hash.
 */
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { parseArgs } from "node:util";
import { startNode } from "./servers.ts";

const { values: options } = parseArgs({
  options: { connections: { type: "string", default: "24" }, mib: { type: "string", default: "1024" } },
});
const [connections, mib] = [Number(options.connections), Number(options.mib)];
const PIECE_BYTES = 2 ** 20;

const folder = mkdtempSync(join(tmpdir(), "cask-uploads-"));
const server = await startNode({ name: "cask", main: "dist/main.js", folder });
let peakBytes = 0;
const watch = setInterval(() => {
  peakBytes = Math.max(peakBytes, residentBytes());
}, 200);
try {
  const idleBytes = residentBytes();
  const startedMs = performance.now();
  const keys = await Promise.all(Array.from({ length: connections }, (_, i) => upload(i)));
  const seconds = (performance.now() - startedMs) / 1000;
  console.log(
    `${connections} uploads of ${mib} MiB at a time: ${((connections * mib) / seconds).toFixed(0)} MiB/s, ` +
      `memory ${toMib(idleBytes)} MiB before, ${toMib(peakBytes)} MiB at most`,
  );
  const hash = createHash("sha1");
  const answer = await fetch(`${server.url}/file/${keys[0]}/`);
  for await (const chunk of answer.body as unknown as AsyncIterable<Uint8Array>) hash.update(chunk);
  if (`sha1:${hash.digest("hex")}` !== keys[0]) throw new Error("what came back is not what was sent");
} finally {
  clearInterval(watch);
  server.stop();
  rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
}

/** Answers the key that the node gave, which must be that of what was sent. */
function upload(i: number): Promise<string> {
  const hash = createHash("sha1");
  const body = Readable.from(
    (function* () {
      const piece = Buffer.alloc(PIECE_BYTES, createHash("sha1").update(`upload ${i}`).digest());
      for (let at = 0; at < mib; at++) {
        piece.writeUInt32LE(at);
        hash.update(piece);
        yield Buffer.from(piece);
      }
    })(),
  );
  return new Promise((resolve, reject) => {
    const headers = { "content-length": mib * PIECE_BYTES };
    const sending = request(`${server.url}/`, { method: "POST", headers }, (answer) => {
      let text = "";
      answer.setEncoding("utf8").on("data", (more: string) => {
        text += more;
      });
      answer.once("end", () => {
        const { key } = JSON.parse(text) as { key?: string };
        if (answer.statusCode === 200 && key === `sha1:${hash.digest("hex")}`) resolve(key);
        else reject(new Error(`upload ${i}: ${answer.statusCode} ${text}`));
      });
    });
    sending.once("error", reject);
    body.pipe(sending);
  });
}

function residentBytes(): number {
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${server.pids[0]}/status`, "utf8"))?.[1]) * 1024;
}

function toMib(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(0);
}
