import { createHash } from "node:crypto";
import { request } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { ProcessCluster } from "./processes.ts";
import { s3Settings } from "./s3-server.ts";

export interface LargeBlobReport {
  readonly seconds: number;
  /** Most resident memory during it, over what the node had before. */
  readonly growthBytes: number;
  readonly same: boolean;
}

/** One blob of that size into a node whose blobs are in S3, and out again. `npm run build` must have run. */
export async function largeBlobThrough(s3Url: string, sizeBytes: number): Promise<LargeBlobReport> {
  const cluster = await ProcessCluster.prepare(1);
  const node = cluster.node(0);
  node.start({ ...s3Settings(s3Url), CASK_STATE_DIR: node.root, CASK_S3_PREFIX: `large-${Date.now()}` });
  await cluster.untilMet();
  const before = node.memoryBytes();
  let most = before;
  const sampler = setInterval(() => {
    most = Math.max(most, node.memoryBytes());
  }, 50);
  const begunMs = performance.now();
  try {
    const sent = createHash("sha1");
    const key = await upload(node.url, counted(sizeBytes, sent));
    const received = createHash("sha1");
    const answer = await fetch(`${node.url}/file/${key}/`);
    for await (const chunk of answer.body ?? []) received.update(chunk);
    const digest = sent.digest("hex");
    const same = answer.status === 200 && key === `sha1:${digest}` && received.digest("hex") === digest;
    return { seconds: (performance.now() - begunMs) / 1000, growthBytes: most - before, same };
  } finally {
    clearInterval(sampler);
    await cluster.stop();
  }
}

async function upload(url: string, bytes: AsyncIterable<Buffer>): Promise<string> {
  const outgoing = request(url, { method: "POST", headers: { "content-type": "application/octet-stream" } });
  const answered = new Promise<string>((resolve, reject) => {
    outgoing.on("error", reject).on("response", (incoming) => {
      let text = "";
      incoming.setEncoding("utf8").on("data", (part: string) => {
        text += part;
      });
      incoming.on("end", () => resolve(text));
    });
  });
  await pipeline(Readable.from(bytes), outgoing);
  return (JSON.parse(await answered) as { key: string }).key;
}

async function* counted(sizeBytes: number, hash: ReturnType<typeof createHash>): AsyncGenerator<Buffer> {
  const piece = Buffer.alloc(1 << 20);
  for (let at = 0, i = 0; at < sizeBytes; at += piece.length, i++) {
    const chunk = Buffer.from(piece.subarray(0, Math.min(piece.length, sizeBytes - at)));
    chunk.writeUInt32LE(i, 0);
    hash.update(chunk);
    yield chunk;
  }
}
