import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { keyOfBytes } from "../../src/core/key.ts";
import type { Seen } from "../../src/storage/backend.ts";
import { FakeS3, failure } from "../support/fake-s3.ts";
import { BUCKET } from "../support/s3-server.ts";
import { openS3 } from "../support/s3-under-test.ts";
import { bytesOf, fetchBlob, storeBlob } from "../support/store-blob.ts";
import { TemporaryFolders } from "../support/temporary-folder.ts";

const folders = new TemporaryFolders();
afterAll(() => folders.removeAll());

const SETTLE_MS = 2_000;
const TIMING = { attemptMs: 3_000, changeMs: 300, attempts: 2, backoffMs: 1, deleteSettleMs: SETTLE_MS };
const bytes = bytesOf(5_000, 1);
const key = keyOfBytes(bytes);
const NAME = `n/blobs/sha1/${key.slice(5)}`;

let s3: FakeS3;
beforeEach(async () => {
  s3 = await FakeS3.start(BUCKET);
});
afterEach(() => s3.stop());

async function open(stateDir: string) {
  return (await openS3(s3.url, { prefix: "n", stateDir, timing: TIMING })).backend;
}

/** Deletes are taken in and not answered; each is done after a while, as one that was held up on its way. */
function holdDeletes(lateMs: number): void {
  s3.fault = ({ method, name }) => {
    if (method !== "DELETE" || name !== NAME) return undefined;
    setTimeout(() => s3.objects.delete(NAME), lateMs);
    return { never: "undone" };
  };
}

test("a delete that arrives late finds no newer object: a put of the same bytes waits until none can be on its way", async () => {
  const backend = await open(await folders.make());
  await storeBlob(backend, bytes);
  const { seen } = (await backend.stat(key)) as { seen: Seen };
  holdDeletes(1_200); // longer than both attempts, shorter than is waited out
  const deleting = backend.delete(key, seen);
  const storing = storeBlob(backend, bytes);
  expect(await deleting).toBe(true);
  expect((await storing).outcome).toBe("stored");
  s3.fault = () => undefined;
  await new Promise((done) => setTimeout(done, 1_000));
  expect((await fetchBlob(backend, key))?.equals(bytes)).toBe(true);
  await backend.close();
});

/** A life that ended while its delete of the blob, which arrives late, was on its way. */
async function endOverDelete(stateDir: string): Promise<Seen> {
  const first = await open(stateDir);
  await storeBlob(first, bytes);
  const { seen } = (await first.stat(key)) as { seen: Seen };
  holdDeletes(1_200);
  const deleting = first.delete(key, seen).catch((error: { code: string }) => error.code);
  await new Promise((done) => setTimeout(done, 50));
  expect(await readdir(join(stateDir, "deleting"))).toEqual([key.slice(5)]);
  await first.close(); // gives up the wait, as a kill would
  expect(await deleting).toBe("STORAGE_FAILED");
  s3.fault = () => undefined;
  return seen;
}

test("nor does the next life of a node that was killed over it: what it was deleting is on disk", async () => {
  const stateDir = await folders.make();
  await endOverDelete(stateDir);
  const second = await open(stateDir);
  const other = bytesOf(10, 2);
  const begunMs = performance.now();
  await storeBlob(second, other);
  expect(performance.now() - begunMs).toBeLessThan(SETTLE_MS / 2); // other keys don't wait
  await storeBlob(second, bytes);
  expect(performance.now() - begunMs).toBeGreaterThan(SETTLE_MS / 2);
  await new Promise((done) => setTimeout(done, 300));
  expect((await fetchBlob(second, key))?.equals(bytes)).toBe(true);
  expect(await readdir(join(stateDir, "deleting"))).toEqual([]);
  await second.close();
});

test("a move to quarantine waits for it, too: the copy could vanish between the look and the move", async () => {
  const stateDir = await folders.make();
  const seen = await endOverDelete(stateDir);
  const second = await open(stateDir);
  s3.fault = ({ headers }) => {
    if (headers["x-amz-copy-source"] !== undefined) s3.objects.delete(NAME);
    return undefined;
  };
  expect(await second.quarantine(key, seen)).toBe(false);
  expect([await second.stat(key), await second.isQuarantined(key)]).toEqual([null, false]);
  await second.close();
});

test("an answer of S3 itself, SlowDown too, is an end: nothing is waited for", async () => {
  const backend = await open(await folders.make());
  await storeBlob(backend, bytes);
  const { seen } = (await backend.stat(key)) as { seen: Seen };
  s3.fault = ({ method }) => (method === "DELETE" ? { answer: failure(503, "SlowDown") } : undefined);
  const begunMs = performance.now();
  await expect(backend.delete(key, seen)).rejects.toMatchObject({ code: "STORAGE_FAILED" });
  expect(performance.now() - begunMs).toBeLessThan(SETTLE_MS / 2);
  expect(await backend.stat(key)).not.toBeNull();
  await backend.close();
});

test("deletes are conditional, and plain, with a notice, where the server knows no conditions", async () => {
  const stateDir = await folders.make();
  const { backend, notices } = await openS3(s3.url, { prefix: "n", stateDir, timing: TIMING });
  await storeBlob(backend, bytes);
  const { seen } = (await backend.stat(key)) as { seen: Seen };
  s3.fault = ({ method, headers }) =>
    method === "DELETE" && headers["if-match"] ? { answer: failure(501, "NotImplemented") } : undefined;
  expect(await backend.delete(key, seen)).toBe(true);
  expect(notices).toEqual([expect.stringContaining("no conditional deletes")]);
  const deletes = s3.requests.filter(({ method }) => method === "DELETE");
  expect(deletes.map(({ headers }) => headers["if-match"] !== undefined)).toEqual([true, false]);
  await backend.close();
});
