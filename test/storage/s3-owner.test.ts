import { SystemRandom } from "../../src/core/random.ts";
import type { S3BackendOptions } from "../../src/storage/s3.ts";
import { FakeS3 } from "../support/fake-s3.ts";
import { until } from "../support/processes.ts";
import { BUCKET, FAKE_S3, objectNames, placeOn, putObject, type S3Server, VERSITYGW } from "../support/s3-server.ts";
import { openS3, TEST_TIMING } from "../support/s3-under-test.ts";
import { bytesOf, storeBlob } from "../support/store-blob.ts";
import { TemporaryFolders } from "../support/temporary-folder.ts";

const folders = new TemporaryFolders();
afterAll(() => folders.removeAll());

/** Two nodes on one bucket: Go Cask counted one object as two copies, and a trim by either deleted it for both. */
describe.each([FAKE_S3, VERSITYGW])("C14: the owner of a prefix, on $name", (kind) => {
  if (kind.missing !== null) {
    test.skip(`${kind.missing}`, () => undefined);
    return;
  }
  let server: S3Server;
  let prefix: string;
  beforeAll(async () => {
    server = await kind.start();
  });
  afterAll(() => server.stop());
  beforeEach(() => {
    prefix = new SystemRandom().hex(4);
  });

  const open = async (more: Partial<S3BackendOptions> = {}) =>
    openS3(server.url, { prefix, stateDir: more.stateDir ?? (await folders.make()), ...more });

  test("a second node is refused, and told whose it is", async () => {
    const { backend } = await open();
    await expect(open({ uuid: "node-b" })).rejects.toMatchObject({
      code: "ROOT_IN_USE",
      message: expect.stringMatching(/belongs to node node-a, and this is node node-b: set another CASK_S3_PREFIX/),
    });
    await backend.close();
    await expect(open({ uuid: "node-b" })).rejects.toMatchObject({ code: "ROOT_IN_USE" });
  });

  test("one bucket, two prefixes: neither sees the other's blobs", async () => {
    const { backend: one } = await open();
    const { backend: other } = await openS3(server.url, {
      prefix: `${prefix}-other`,
      stateDir: await folders.make(),
      uuid: "node-b",
    });
    const { key } = await storeBlob(one, bytesOf(10));
    expect(await other.stat(key)).toBeNull();
    expect(other.store).not.toBe(one.store);
    await Promise.all([one.close(), other.close()]);
  });

  test("the same node twice: the second process is refused while the first renews its claim", async () => {
    const { backend } = await open();
    await expect(open()).rejects.toMatchObject({
      code: "ROOT_IN_USE",
      message: expect.stringMatching(/another process of node node-a, which renewed its claim \d+ s ago/),
    });
    await backend.close();
    const { backend: after } = await open(); // stopped in peace: at once, on another machine too
    expect(after.store).toBe(backend.store);
    await after.close();
  });

  test("on one state folder, too", async () => {
    const stateDir = await folders.make();
    const { backend } = await open({ stateDir });
    await expect(open({ stateDir })).rejects.toMatchObject({ code: "ROOT_IN_USE" });
    await backend.close();
  });

  test("a claim that has grown stale is taken over, and whoever had it must end", async () => {
    const timing = { ...TEST_TIMING, ownerStaleMs: 2_000, ownerRenewMs: 100_000 };
    const { backend: frozen, lost } = await open({ timing }); // renews nothing: as good as stopped
    let taken: Awaited<ReturnType<typeof open>> | undefined;
    await until("the claim is stale", async () => {
      taken = await open({ timing });
      return true;
    });
    await expect(storeBlob(frozen, bytesOf(10))).rejects.toMatchObject({ code: "ROOT_IN_USE" });
    expect(lost).toEqual([expect.objectContaining({ code: "ROOT_IN_USE" })]);
    await storeBlob(taken?.backend as never, bytesOf(10));
    await frozen.close();
    await expect(open({ timing })).rejects.toMatchObject({ code: "ROOT_IN_USE" }); // the loser did not give it free
    await taken?.backend.close();
  });

  test("of two that start at once one gets it", async () => {
    const results = await Promise.allSettled([open(), open(), open({ uuid: "node-b" })]);
    const opened = results.filter((each) => each.status === "fulfilled");
    expect(opened).toHaveLength(1);
    for (const { value } of opened) await value.backend.close();
  });

  test.each([
    ["a newer format", '{"format":2,"store":"0123456789","uuid":"node-a","nonce":null}', /newer version/],
    ["half of one", '{"format":1,"sto', /damaged/],
    ["no store", '{"format":1,"uuid":"node-a","nonce":null}', /damaged/],
    ["a list", "[]", /damaged/],
  ])("an owner object with %s is refused and left as it is", async (_name, text, message) => {
    await putObject(server.client, `${prefix}/cask.json`, Buffer.from(text));
    await expect(open()).rejects.toMatchObject({ code: "BAD_ROOT", message: expect.stringMatching(message) });
    expect(await objectNames(server.client, `${prefix}/`)).toEqual([`${prefix}/cask.json`]);
  });

  test("a bucket that does not exist is named, with what to check", async () => {
    const place = placeOn(server.url, prefix, { bucket: "no-such-bucket" });
    await expect(open({ place })).rejects.toMatchObject({
      code: "BAD_ROOT",
      message: expect.stringMatching(/bucket no-such-bucket .*NoSuchBucket.*CASK_S3_BUCKET/),
    });
  });
});

test("wrong keys are refused without naming them", async () => {
  if (VERSITYGW.missing !== null) return;
  const server = await VERSITYGW.start();
  try {
    const place = placeOn(server.url, "n", {
      credentials: { accessKeyId: "access-key", secretAccessKey: "hunter33-hunter33" },
    });
    const failed = await openS3(server.url, { prefix: "n", stateDir: await folders.make(), place }).catch(
      (error: Error) => error,
    );
    expect(failed).toMatchObject({ code: "BAD_ROOT" });
    const all = JSON.stringify([failed, (failed as Error).message, ((failed as Error).cause as Error)?.message]);
    expect(all).not.toMatch(/hunter33|access-key/);
  } finally {
    await server.stop();
  }
});

test("a process that was killed comes back at once on its own state folder", async () => {
  const s3 = await FakeS3.start(BUCKET);
  const stateDir = await folders.make();
  const { backend } = await openS3(s3.url, { prefix: "n", stateDir });
  const left = s3.objects.get("n/cask.json");
  await backend.close();
  s3.objects.set("n/cask.json", left as never); // as a kill leaves it
  const { backend: next } = await openS3(s3.url, { prefix: "n", stateDir });
  expect(next.store).toBe(backend.store);
  await next.close();
  await s3.stop();
});
