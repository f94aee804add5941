import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { SystemRandom } from "../src/core/random.ts";
import { runFaults, timingFor } from "../test/support/s3-faults.ts";
import { largeBlobThrough } from "../test/support/s3-large-blob.ts";
import { S3Proxy } from "../test/support/s3-proxy.ts";
import { VERSITYGW } from "../test/support/s3-server.ts";
import { openS3 } from "../test/support/s3-under-test.ts";

/**
 * `npm run s3-faults [-- --operations=5000 --seed=N --hang=30]`: operations of the S3 backend on versitygw, through a proxy that answers errors,
 * cuts, shortens and holds up what passes, checked against a model. Then a blob of 1 GiB through a node, with its memory watched.
 */
const { values } = parseArgs({
  options: {
    operations: { type: "string", default: "5000" },
    seed: { type: "string" },
    hang: { type: "string", default: "30" },
  },
});
if (VERSITYGW.missing !== null) {
  console.error(`s3-faults: ${VERSITYGW.missing}`);
  process.exit(1);
}
const seed = Number(values.seed ?? Math.floor(new SystemRandom().next() * 2 ** 32));
const hangMs = Number(values.hang) * 1000;
let escaped = 0;
for (const event of ["unhandledRejection", "uncaughtException"] as const) {
  process.on(event, (error) => {
    escaped++;
    console.error(`${event}: would have ended a node:`, error);
  });
}

const stateDir = await mkdtemp(join(tmpdir(), "cask-s3-faults-"));
const server = await VERSITYGW.start();
const proxy = await S3Proxy.start(server.url);
const begunMs = performance.now();
const { backend } = await openS3(proxy.url, { prefix: "n", stateDir, timing: timingFor(hangMs, 2_400) });
const report = await runFaults(backend, proxy, {
  seed,
  operations: Number(values.operations),
  atOnce: 24,
  hangMs,
  onProgress: (done) => console.log(`${done} operations, ${Math.round((performance.now() - begunMs) / 1000)} s`),
});
const { requests, retries, failures } = backend.figures();
await backend.close();
for (const wrong of report.wrong.slice(0, 20)) console.log(`WRONG: ${wrong}`);
console.log(
  `s3-faults (seed ${seed}): ${values.operations} operations, ${JSON.stringify(report.answers)} answered, ${report.unknown} "don't know", ` +
    `faults ${JSON.stringify(report.faults)}, requests ${JSON.stringify(requests)}, ${retries} retries, ${failures} failures; ` +
    `${report.wrong.length} wrong answers, ${escaped} exits, ${Math.round((performance.now() - begunMs) / 1000)} s`,
);
const large = await largeBlobThrough(server.url, 2 ** 30);
const growth = Math.round(large.growthBytes / 2 ** 20);
console.log(
  `1 GiB in and out: ${large.same ? "the same" : "DIFFERENT"}, ${large.seconds.toFixed(1)} s, memory grew by ${growth} MiB`,
);
await proxy.stop();
await server.stop();
await rm(stateDir, { recursive: true, force: true });
process.exit(report.wrong.length > 0 || escaped > 0 || !large.same || growth >= 150 ? 1 : 0);
