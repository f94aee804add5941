import { keyOfBytes } from "../../src/core/key.ts";
import { S3_PART_BYTES } from "../../src/core/limits.ts";
import { DamagedCopy } from "../../src/storage/backend.ts";
import type { S3Backend } from "../../src/storage/s3.ts";
import {
  type FakeAnswer,
  type FakeObject,
  type FakeRequest,
  FakeS3,
  type Fault,
  failure,
  xml,
} from "../support/fake-s3.ts";
import { BUCKET } from "../support/s3-server.ts";
import { openS3 } from "../support/s3-under-test.ts";
import { bytesOf, fetchBlob, listKeys, storeBlob } from "../support/store-blob.ts";
import { TemporaryFolders } from "../support/temporary-folder.ts";

const folders = new TemporaryFolders();
afterAll(() => folders.removeAll());

const TIMING = { attemptMs: 400, changeMs: 400, attempts: 2, backoffMs: 1, deleteSettleMs: 50 };
const NOTHING: Fault = undefined;
const bytes = bytesOf(5_000, 1);
const key = keyOfBytes(bytes);
const absent = keyOfBytes(bytesOf(10, 99));

let s3: FakeS3;
let backend: S3Backend;

beforeEach(async () => {
  s3 = await FakeS3.start(BUCKET);
  ({ backend } = await openS3(s3.url, { prefix: "n", stateDir: await folders.make(), timing: TIMING }));
});
afterEach(async () => {
  s3.fault = () => NOTHING;
  await backend.close();
  await s3.stop();
});

const isBlob = ({ name }: FakeRequest) => name.startsWith("n/blobs/");
const onBlobs = (fault: Fault) => (request: FakeRequest) => (isBlob(request) ? fault : NOTHING);
const shorter = (answer: FakeAnswer): FakeAnswer => ({ ...answer, bytes: answer.bytes.subarray(0, -7) });
const longer = (answer: FakeAnswer): FakeAnswer => ({ ...answer, bytes: Buffer.concat([answer.bytes, bytes]) });

const BAD_ANSWERS: ReadonlyArray<[string, Fault]> = [
  ["403", { answer: failure(403, "AccessDenied") }],
  ["400", { answer: failure(400, "InvalidRequest") }],
  ["500", { answer: failure(500, "InternalError") }],
  ["503 SlowDown", { answer: failure(503, "SlowDown") }],
  ["502 with HTML", { answer: { status: 502, headers: {}, bytes: Buffer.from("<html>no</html>") } }],
  ["404 with HTML, of something in between", { answer: { status: 404, headers: {}, bytes: Buffer.from("<html>") } }],
  ["404 with nothing", { answer: { status: 404, headers: {}, bytes: Buffer.alloc(0) } }],
  ["NoSuchBucket", { answer: failure(404, "NoSuchBucket") }],
  ["200 with an error in it", { answer: xml(200, "<Error><Code>InternalError</Code></Error>") }],
  ["no answer", { never: "undone" }],
  ["a connection that is closed at once", { cutAfter: 0 }],
];

test("a failure says once what S3 said, and takes nothing along: the SDK's errors hold requests", async () => {
  s3.fault = onBlobs({ answer: failure(403, "AccessDenied") });
  const refused = await fetchBlob(backend, key).catch((error: Error) => error);
  expect(refused).toMatchObject({
    message: expect.stringMatching(/^S3 failed while reading sha1:\w+: AccessDenied: .*HTTP 403/),
  });
  expect(refused).not.toHaveProperty("cause");
  await s3.stop();
  const away = await fetchBlob(backend, key).catch((error: Error) => error);
  expect(away).toMatchObject({
    message: expect.stringMatching(/^S3 failed while reading sha1:\w+: .*connect ECONNREFUSED [\d.:]+$/),
  });
  expect(away).not.toHaveProperty("cause");
});

describe.each(BAD_ANSWERS)("%s", (_name, fault) => {
  test("is never taken for absent or present, and reading goes on afterwards", async () => {
    await storeBlob(backend, bytes);
    s3.fault = onBlobs(fault);
    const reads = [backend.stat(key), backend.stat(absent), fetchBlob(backend, key), fetchBlob(backend, absent)];
    // A connection that is closed after the head of a HEAD's answer has given it whole.
    for (const [i, result] of (await Promise.allSettled(reads)).entries()) {
      const answered = result.status === "fulfilled" && i < 2 && "cutAfter" in (fault as object);
      if (!answered) expect(result).toMatchObject({ status: "rejected", reason: { code: "STORAGE_FAILED" } });
    }
    s3.fault = () => NOTHING;
    expect((await fetchBlob(backend, key))?.equals(bytes)).toBe(true);
    expect(await backend.stat(absent)).toBeNull();
  });

  test("to a put: nothing is acknowledged, and what then is there is whole", async () => {
    s3.fault = (request) => (isBlob(request) && request.method === "PUT" ? fault : NOTHING);
    const outcome = await storeBlob(backend, bytes).catch((error: { code: string }) => error.code);
    s3.fault = () => NOTHING;
    const there = await fetchBlob(backend, key);
    if (typeof outcome === "string") expect(outcome).toBe("STORAGE_FAILED");
    else expect(there?.equals(bytes)).toBe(true);
    expect(there === null || there.equals(bytes)).toBe(true);
    await storeBlob(backend, bytes);
    expect((await fetchBlob(backend, key))?.equals(bytes)).toBe(true);
  });

  test("to a delete or a move to quarantine: it rejects, or what it says is true", async () => {
    await storeBlob(backend, bytes);
    const seen = (await backend.stat(key))?.seen as never;
    s3.fault = (request) => (isBlob(request) && request.method === "DELETE" ? fault : NOTHING);
    const answers = await Promise.allSettled([backend.delete(key, seen)]);
    s3.fault = () => NOTHING;
    const isThere = (await backend.stat(key)) !== null;
    for (const answer of answers) {
      if (answer.status === "fulfilled") expect(answer.value).toBe(!isThere);
      else expect(answer.reason).toMatchObject({ code: "STORAGE_FAILED" });
    }
  });

  test("to a listing: it rejects", async () => {
    await storeBlob(backend, bytes);
    s3.fault = ({ name }) => (name === "" ? fault : NOTHING);
    await expect(listKeys(backend)).rejects.toMatchObject({ code: "STORAGE_FAILED" });
  });
});

describe("lengths", () => {
  test.each([
    ["shorter", shorter],
    ["longer", longer],
    ["of none", (answer: FakeAnswer): FakeAnswer => ({ ...answer, bytes: Buffer.alloc(0) })],
  ])("an answer that is %s than the object, whole as it looks, is not believed", async (_name, spoil) => {
    await storeBlob(backend, bytes);
    s3.fault = onBlobs({ spoil });
    await expect(fetchBlob(backend, key)).rejects.toMatchObject({ code: "STORAGE_FAILED" });
    await expect(backend.stat(key)).rejects.toMatchObject({ code: "STORAGE_FAILED" });
  });

  test("once is borne: another attempt brings the right one", async () => {
    await storeBlob(backend, bytes);
    let wrong = 1;
    s3.fault = (request) => (isBlob(request) && wrong-- > 0 ? { spoil: shorter } : NOTHING);
    expect((await fetchBlob(backend, key))?.equals(bytes)).toBe(true);
    expect(backend.figures().retries).toBe(1);
  });

  test("an object that really has another length than it was put with is mended by a new upload", async () => {
    await storeBlob(backend, bytes);
    const [name, object] = [...s3.objects].find(([each]) => each.startsWith("n/blobs/")) as never as [string, never];
    s3.put(name, bytes.subarray(0, 100), (object as { metadata: Record<string, string> }).metadata);
    await expect(backend.stat(key)).rejects.toMatchObject({ code: "STORAGE_FAILED" });
    expect((await storeBlob(backend, bytes)).outcome).toBe("replaced");
    expect((await fetchBlob(backend, key))?.equals(bytes)).toBe(true);
    expect(await backend.isQuarantined(key)).toBe(true);
  });
});

test.each([
  ["cut", (whole: Buffer) => whole.subarray(0, 100)],
  ["emptied", () => Buffer.alloc(0)],
  ["grown", (whole: Buffer) => Buffer.concat([whole, Buffer.from("more")])],
])(
  "an object that was %s, with all that the server knows of it as it was, is named when it is met, and can be quarantined",
  async (_name, change) => {
    await storeBlob(backend, bytes);
    const [name, object] = [...s3.objects].find(([each]) => each.startsWith("n/blobs/")) as [string, FakeObject];
    s3.objects.set(name, { ...object, bytes: change(object.bytes) });
    const [byGet, byStat] = await Promise.all(
      [backend.get(key), backend.stat(key)].map((each) => each.catch((e) => e)),
    );
    expect(byGet).toBeInstanceOf(DamagedCopy);
    expect(byStat.seen).toBe(byGet.seen);
    expect(await backend.quarantine(key, byGet.seen)).toBe(true);
    expect(await backend.get(key)).toBeNull();
    expect(await backend.isQuarantined(key)).toBe(true);
  },
);

describe("bodies that are cut", () => {
  const large = bytesOf(3_000_000, 2);

  test("now and then: read on from there, from the same object", async () => {
    await storeBlob(backend, large);
    let count = 0;
    s3.fault = (request) => (isBlob(request) && count++ % 2 === 0 ? { cutAfter: 1_000_000 } : NOTHING);
    expect((await fetchBlob(backend, keyOfBytes(large)))?.equals(large)).toBe(true);
    const ranges = s3.requests.filter(isBlob).flatMap(({ headers }) => headers.range ?? []);
    expect(ranges.at(-1)).toMatch(/^bytes=[1-9]\d{4,6}-2999999$/);
  });

  test("each time: it rejects", async () => {
    await storeBlob(backend, large);
    s3.fault = onBlobs({ cutAfter: 1_000 });
    await expect(fetchBlob(backend, keyOfBytes(large))).rejects.toMatchObject({ code: "STORAGE_FAILED" });
  });

  test("an object that was replaced meanwhile is not mixed with the old one", async () => {
    await storeBlob(backend, large);
    s3.fault = (request) => {
      if (!isBlob(request)) return NOTHING;
      if (request.headers.range === undefined) return { cutAfter: 1_000_000 };
      s3.put(request.name, Buffer.alloc(large.length)); // between the two requests
      return NOTHING;
    };
    await expect(fetchBlob(backend, keyOfBytes(large))).rejects.toMatchObject({
      code: "STORAGE_FAILED",
      message: expect.stringContaining("has changed"),
    });
  });

  test("a listing that is cut inside, though it looks complete", async () => {
    for (let i = 0; i < 5; i++) await storeBlob(backend, bytesOf(10, 50 + i));
    const cut = (answer: FakeAnswer): FakeAnswer => {
      const text = answer.bytes.toString().replace(/<Contents>(?!.*<Contents>).*?<\/Contents>/s, "");
      return { ...answer, bytes: Buffer.from(text) };
    };
    s3.fault = ({ name }) => (name === "" ? { spoil: cut } : NOTHING);
    await expect(listKeys(backend)).rejects.toMatchObject({ code: "STORAGE_FAILED" });
  });
});

describe("uploads in parts", () => {
  const large = bytesOf(S3_PART_BYTES + 3_000_000, 3);
  const largeKey = keyOfBytes(large);

  test("above 8 MiB; nothing is visible before the last part", async () => {
    const seen: boolean[] = [];
    s3.fault = ({ query }) => {
      if (query.has("uploadId")) seen.push(s3.objects.has(`n/blobs/sha1/${largeKey.slice(5)}`));
      return NOTHING;
    };
    expect((await storeBlob(backend, large)).outcome).toBe("stored");
    expect(seen).toEqual([false, false, false]);
    expect((await fetchBlob(backend, largeKey))?.equals(large)).toBe(true);
  });

  test("a part that fails for good: the upload rejects and leaves no parts", async () => {
    s3.fault = ({ query }) => (query.get("partNumber") === "2" ? { answer: failure(500, "InternalError") } : NOTHING);
    await expect(storeBlob(backend, large)).rejects.toMatchObject({ code: "STORAGE_FAILED" });
    expect(s3.uploads.size).toBe(0);
    expect(await backend.stat(largeKey)).toBeNull();
  });

  test("a completion whose answer is lost has stored it", async () => {
    s3.fault = ({ method, query }) => (method === "POST" && query.has("uploadId") ? { never: "done" } : NOTHING);
    const timing = { ...TIMING, attempts: 1 };
    await backend.close();
    ({ backend } = await openS3(s3.url, { prefix: "n", stateDir: await folders.make(), timing }));
    // The completion may take S3 minutes, so the test cuts the connection instead of waiting.
    s3.fault = ({ method, query }) => (method === "POST" && query.has("uploadId") ? { cutAfter: 0 } : NOTHING);
    expect((await storeBlob(backend, large)).outcome).toBe("stored");
  });

  test("a put whose answer is lost has stored it", async () => {
    s3.fault = (request) => (isBlob(request) && request.method === "PUT" ? { never: "done" } : NOTHING);
    expect((await storeBlob(backend, bytes)).outcome).toBe("stored");
  });
});

test("ranges and small reads leave no connection behind, and bytes and requests are counted", async () => {
  const large = bytesOf(4_000_000, 4);
  await storeBlob(backend, large);
  const before = backend.figures();
  for (let i = 0; i < 30; i++) {
    const blob = await backend.get(keyOfBytes(large));
    for await (const chunk of blob?.chunks(10, 19) ?? []) expect(chunk).toHaveLength(10);
    await blob?.close();
  }
  const after = backend.figures();
  expect(after.requests.read - before.requests.read).toBe(60 + after.retries - before.retries);
  expect(after.bytes_in - before.bytes_in).toBe(300);
  expect(after.requests.write).toBeGreaterThan(0);
  expect(after.bytes_out).toBeGreaterThan(large.length);
});
