import { setImmediate } from "node:timers/promises";
import { type StageUploadOptions, stageUpload } from "../../src/blobs/staged-upload.ts";
import { keyOfBytes } from "../../src/core/key.ts";
import { PiecePool, recycle } from "../../src/core/piece-pool.ts";
import type { Stage } from "../../src/storage/backend.ts";

/** Its writes end when they are let go. */
class SlowStage implements Pick<Stage, "write" | "abort" | "sizeBytes"> {
  sizeBytes = 0;
  calls: string[] = [];
  private readonly waiting: Array<{ readonly resolve: () => void; readonly reject: (error: Error) => void }> = [];

  write(chunk: Uint8Array, isGiven = false): Promise<void> {
    this.calls.push(`${isGiven ? "take" : "write"} ${Buffer.from(chunk).toString()}`);
    return new Promise((resolve, reject) => this.waiting.push({ resolve, reject }));
  }

  async abort(): Promise<void> {
    this.calls.push("abort");
  }

  async finishOne(error?: Error): Promise<void> {
    await setImmediate();
    const call = this.waiting.shift();
    this.calls.push(error ? "failed" : "written");
    if (error) call?.reject(error);
    else call?.resolve();
    await setImmediate();
  }
}

function setUp(chunks: readonly Uint8Array[], error?: Error, sizeHint?: number) {
  const stage = new SlowStage();
  async function* each() {
    for (const chunk of chunks) {
      stage.calls.push(`came ${Buffer.from(chunk).toString()}`);
      yield chunk;
    }
    if (error) throw error;
  }
  const staging = stageUpload({
    chunks: each(),
    backend: { store: "a-store", stage: async () => stage as unknown as Stage },
    maxBytes: 1_000,
    sizeHint,
    expected: undefined,
    complete: async () => undefined,
  });
  staging.catch(() => undefined);
  return { stage, staging };
}

const [A, B] = [Buffer.from("a"), Buffer.from("b")];

test("the next chunk comes in while one is written, but is written after it", async () => {
  const { stage, staging } = setUp([A, B]);
  await setImmediate();
  expect(stage.calls).toEqual(["came a", "write a", "came b"]);
  await stage.finishOne();
  expect(stage.calls).toEqual(["came a", "write a", "came b", "written", "write b"]);
  await stage.finishOne();
  expect((await staging).key).toBe(keyOfBytes(Buffer.from("ab")));
});

test("a write that fails is told, also when it was the last", async () => {
  const first = setUp([A, B]);
  await first.stage.finishOne(new Error("EIO"));
  await expect(first.staging).rejects.toThrow("EIO");
  expect(first.stage.calls).toEqual(["came a", "write a", "came b", "failed", "abort"]);
  const last = setUp([A]);
  await last.stage.finishOne(new Error("EIO"));
  await expect(last.staging).rejects.toThrow("EIO");
});

test("what breaks off is given up when nothing is being written any more", async () => {
  const { stage, staging } = setUp([A], new Error("broke off"));
  await stage.finishOne();
  await expect(staging).rejects.toThrow("broke off");
  expect(stage.calls).toEqual(["came a", "write a", "written", "abort"]);
});

test("a piece is used again when it was written, not before", async () => {
  const pieces = new PiecePool(1, 1);
  const piece = pieces.take() as Buffer;
  piece.write("a");
  const { stage, staging } = setUp([piece]);
  await setImmediate();
  expect(pieces.take()).toBeNull();
  await stage.finishOne();
  await staging;
  const again = pieces.take() as Buffer;
  expect(again).toBe(piece);
  recycle(again);
});

describe("a body that comes as a whole", () => {
  const BYTES = Buffer.from("all of it");
  type Options = Partial<Extract<StageUploadOptions, { readonly whole: unknown }>>;

  function whole(options: Options = {}) {
    const stage = new SlowStage();
    const staging = stageUpload({
      whole: async () => BYTES,
      backend: {
        store: "a-store",
        stage: async (sizeHint) => {
          stage.calls.push(`stage ${sizeHint}`);
          return stage as unknown as Stage;
        },
      },
      maxBytes: BYTES.length,
      sizeHint: undefined,
      expected: undefined,
      complete: async () => void stage.calls.push("complete"),
      ...options,
    });
    staging.catch(() => undefined);
    return { stage, staging };
  }

  test("is given to the stage as it is, once all of the request was seen", async () => {
    const { stage, staging } = whole({ expected: keyOfBytes(BYTES) });
    await stage.finishOne();
    expect((await staging).key).toBe(keyOfBytes(BYTES));
    expect(stage.calls).toEqual(["complete", "stage 9", "take all of it", "written"]);
  });

  test.each<[string, Options, object]>([
    ["is too large", { maxBytes: BYTES.length - 1 }, { code: "TOO_LARGE" }],
    ["is announced too large", { sizeHint: BYTES.length + 1 }, { code: "TOO_LARGE" }],
    ["hashes to another key", { expected: keyOfBytes(A) }, { code: "KEY_MISMATCH" }],
    ["breaks off", { whole: () => Promise.reject(new Error("broke off")) }, { message: "broke off" }],
    ["is followed by nonsense", { complete: () => Promise.reject(new Error("nonsense")) }, { message: "nonsense" }],
  ])("one that %s never gets to a stage", async (_name, options, error) => {
    const { stage, staging } = whole(options);
    await expect(staging).rejects.toMatchObject(error);
    expect(stage.calls.filter((call) => call !== "complete")).toEqual([]);
  });

  test("a write that fails gives up the stage", async () => {
    const { stage, staging } = whole();
    await stage.finishOne(new Error("EIO"));
    await expect(staging).rejects.toThrow("EIO");
    expect(stage.calls.at(-1)).toBe("abort");
  });
});

test("of a body whose length was announced the key is told with its last byte; one that goes on is refused", async () => {
  const { stage, staging } = setUp([A, B], undefined, 2);
  await stage.finishOne();
  await stage.finishOne();
  expect((await staging).key).toBe(keyOfBytes(Buffer.from("ab")));
  const longer = setUp([A, B], undefined, 1);
  await longer.stage.finishOne();
  await expect(longer.staging).rejects.toMatchObject({ code: "BAD_REQUEST" });
  expect(longer.stage.calls.at(-1)).toBe("abort");
});

test("chunks of no bytes say nothing, before or behind the last one", async () => {
  const none = Buffer.alloc(0);
  const { stage, staging } = setUp([none, A, none, B, none, none], undefined, 2);
  await stage.finishOne();
  await stage.finishOne();
  expect((await staging).key).toBe(keyOfBytes(Buffer.from("ab")));
});

test("so is one of no bytes, and one that ends early, whose length is for others to check", async () => {
  const { stage, staging } = setUp([A], undefined, 5);
  await stage.finishOne();
  expect((await staging).key).toBe(keyOfBytes(A));
  expect((await setUp([], undefined, 0).staging).key).toBe(keyOfBytes(Buffer.alloc(0)));
});
