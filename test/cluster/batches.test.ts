import { Batches } from "../../src/cluster/batches.ts";
import { CaskError } from "../../src/core/errors.ts";
import { keyOfBytes } from "../../src/core/key.ts";
import { BATCH_MAX_BYTES, BATCH_MAX_COUNT, BATCHES_AT_ONCE_COUNT } from "../../src/core/limits.ts";
import type { BatchItem } from "../../src/peer/batch-protocol.ts";
import type { PutReceipt } from "../../src/peer/peer.ts";

type Receipt = PutReceipt | CaskError;

const FEW = 4;

interface Sent {
  readonly items: readonly BatchItem[];
  readonly answer: (receipts?: readonly Receipt[]) => void;
  readonly fail: (error: Error) => void;
}

function setUp(fewCount = FEW) {
  const sent: Sent[] = [];
  const send = (items: readonly BatchItem[]) => {
    const { promise, resolve, reject } = Promise.withResolvers<readonly Receipt[]>();
    const stored = items.map(({ bytes }): Receipt => ({ store: Buffer.from(bytes).toString(), outcome: "stored" }));
    sent.push({ items, answer: (receipts = stored) => resolve(receipts), fail: reject });
    return promise;
  };
  const batches = new Batches<BatchItem, PutReceipt>({ send, bytesOf: ({ bytes }) => bytes.length, fewCount });
  const put = (text: string, signal?: AbortSignal) => {
    const bytes = Buffer.from(text);
    const receipt = batches.add({ key: keyOfBytes(bytes), bytes }, signal);
    receipt.catch(() => undefined);
    return receipt;
  };
  const sizes = () => sent.map(({ items }) => items.length);
  return { sent, put, sizes };
}

const turns = () => new Promise(setImmediate);

test("a few don't wait for each other; what comes beside them goes together", async () => {
  const { sent, put, sizes } = setUp();
  const receipts = Array.from({ length: FEW + 5 }, (_, i) => put(`blob ${i}`));
  expect(sizes()).toEqual(Array.from({ length: FEW }, () => 1));
  sent[1]?.answer();
  await turns();
  expect(sizes().at(-1)).toBe(5);
  for (const each of sent) each.answer();
  expect((await Promise.all(receipts)).map(({ store }) => store)).toEqual(receipts.map((_, i) => `blob ${i}`));
});

test("so many of them, where that is fewer than batches may be on their way", async () => {
  const { put, sizes } = setUp(2);
  for (let i = 0; i < 5; i++) put(`blob ${i}`);
  expect(sizes()).toEqual([1, 1]);
});

test("of many the next go when all before have come back; when only a few are left, they are alone again", async () => {
  const { sent, put, sizes } = setUp();
  const round = async (count: number) => {
    const begin = sent.length;
    const receipts = Array.from({ length: count }, (_, i) => put(`blob ${i}`));
    for (let i = begin; i < sent.length; i++) {
      sent[i]?.answer();
      await turns();
    }
    await Promise.all(receipts);
    return sizes().slice(begin);
  };
  expect(await round(24)).toEqual([1, 1, 1, 1, 20]);
  expect(await round(24)).toEqual([1, 23]);
  const rounds: number[][] = [];
  for (let i = 0; i < 8; i++) rounds.push(await round(3));
  expect(rounds[0]).toEqual([1, 2]);
  expect(rounds.at(-1)).toEqual([1, 1, 1]);
});

test("but a full one goes at once, up to so many of them", async () => {
  const { sent, put, sizes } = setUp(0);
  put("first");
  for (let i = 0; i < BATCHES_AT_ONCE_COUNT * BATCH_MAX_COUNT - 1; i++) put("small");
  const full = Array.from({ length: BATCHES_AT_ONCE_COUNT - 1 }, () => BATCH_MAX_COUNT);
  expect(sizes()).toEqual([1, ...full]);
  put("small");
  expect(sizes()).toEqual([1, ...full]);
  sent[2]?.answer();
  await turns();
  expect(sizes()).toEqual([1, ...full, BATCH_MAX_COUNT]);
});

test("one is full by its bytes as well, without those of who gave up", async () => {
  const { put, sizes } = setUp(0);
  put("first");
  const large = "x".repeat(BATCH_MAX_BYTES / 4);
  const controller = new AbortController();
  const one = put(large, controller.signal);
  for (let i = 0; i < 2; i++) put(large);
  controller.abort(new Error("enough"));
  await expect(one).rejects.toThrow("enough");
  await turns();
  put(large);
  expect(sizes()).toEqual([1, 3]);
  for (let i = 0; i < 3; i++) put(large);
  expect(sizes()).toEqual([1, 3]);
  put(large);
  expect(sizes()).toEqual([1, 3, 4]);
});

test("a batch is bounded in number and bytes", async () => {
  const { sent, put, sizes } = setUp(0);
  put("first");
  const large = "x".repeat(BATCH_MAX_BYTES / 4 + 1);
  for (let i = 0; i < 5; i++) put(large);
  for (let i = 0; i < BATCH_MAX_COUNT; i++) put("small");
  for (let i = 0; i < sent.length; i++) {
    sent[i]?.answer();
    await turns();
  }
  expect(sizes()).toEqual([1, 3, BATCH_MAX_COUNT, 2]);
});

test("one that is refused does not touch the others; a batch that fails fails for all of it, and the next one goes", async () => {
  const { sent, put } = setUp();
  const firsts = Array.from({ length: FEW }, () => put("first"));
  const [one, two] = [put("one"), put("two")];
  sent[0]?.answer();
  await turns();
  const three = put("three");
  sent.at(-1)?.answer([new CaskError("KEY_MISMATCH", "no"), { store: "s", outcome: "known" }]);
  await expect(one).rejects.toMatchObject({ code: "KEY_MISMATCH" });
  expect(await two).toEqual({ store: "s", outcome: "known" });
  await turns();
  sent.at(-1)?.fail(new Error("cut"));
  await expect(three).rejects.toThrow("cut");
  for (const each of sent) each.answer();
  await Promise.all(firsts);
});

test("who gives up is told at once, and what still waited is not sent", async () => {
  const { sent, put, sizes } = setUp();
  const controller = new AbortController();
  const under = put("under way", controller.signal);
  for (let i = 1; i < FEW; i++) put("first");
  const waiting = put("waiting", controller.signal);
  controller.abort(new Error("enough"));
  await expect(under).rejects.toThrow("enough");
  await expect(waiting).rejects.toThrow("enough");
  sent[0]?.answer();
  await turns();
  expect(sizes()).toHaveLength(FEW);
});
