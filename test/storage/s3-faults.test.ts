import { runFaults, timingFor } from "../support/s3-faults.ts";
import { S3Proxy } from "../support/s3-proxy.ts";
import { BEST_S3, FAKE_S3, type S3Server } from "../support/s3-server.ts";
import { openS3 } from "../support/s3-under-test.ts";
import { TemporaryFolders } from "../support/temporary-folder.ts";

const folders = new TemporaryFolders();
const OPERATIONS = 400;
const HANG_MS = 1_500;

let server: S3Server;
let proxy: S3Proxy;
beforeAll(async () => {
  if (BEST_S3 === FAKE_S3) console.log("no versitygw here: the faults are made before the fake instead");
  server = await BEST_S3.start();
  proxy = await S3Proxy.start(server.url);
});
afterAll(async () => {
  await proxy.stop();
  await server.stop();
  await folders.removeAll();
});

test(`${OPERATIONS} operations through a proxy that injects errors, cuts, wrong lengths and hangs: no wrong answer`, async () => {
  const seed = Math.floor(Math.random() * 2 ** 32);
  const timing = timingFor(HANG_MS, 500);
  const { backend } = await openS3(proxy.url, { prefix: "n", stateDir: await folders.make(), timing });
  try {
    const report = await runFaults(backend, proxy, { seed, operations: OPERATIONS, atOnce: 12, hangMs: HANG_MS });
    expect({ seed, wrong: report.wrong }).toEqual({ seed, wrong: [] });
    expect(Object.keys(report.faults).sort()).toEqual(["cut", "delay", "lose", "refuse", "shorten"]);
    console.log(`seed ${seed}: ${JSON.stringify(report)}`);
  } finally {
    proxy.fault = () => undefined;
    await backend.close();
  }
}, 120_000);
