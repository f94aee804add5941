import type { IncomingMessage } from "node:http";
import { Readable } from "node:stream";
import type { Key } from "../../src/core/key.ts";
import { HandOver } from "../../src/http/hand-over.ts";
import type { HandedUploads } from "../../src/http/serving-messages.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { until } from "../support/processes.ts";

function request(body: string): IncomingMessage {
  return Object.assign(Readable.from([Buffer.from(body)], { objectMode: false }), {
    headers: { "content-length": String(body.length) },
  }) as never;
}

test("uploads that come together go together, and each gets the answer that is its own, once", async () => {
  const passed: HandedUploads[] = [];
  const handOver = new HandOver({ pass: (puts) => void passed.push(puts), stallMs: 1_000, clock: new ManualClock() });
  const named = "sha1:0" as Key;
  const stores = [
    handOver.store(request("a"), undefined),
    handOver.store(request("bcd"), named),
    handOver.store(request("ef"), undefined),
    handOver.store(request("g"), undefined),
  ];
  const results = Promise.allSettled(stores);
  await until("all were passed on", async () => passed.flatMap(({ sizesBytes }) => sizesBytes).length === 4);
  const [{ firstId, ...puts }] = passed as [HandedUploads];
  expect(passed).toHaveLength(1);
  expect(puts).toEqual({
    sizesBytes: [1, 3, 2, 1],
    expected: [undefined, named, undefined, undefined],
    bytes: new Uint8Array(Buffer.from("abcdefg")),
  });
  const keys = ["sha1:3", "sha1:1"] as Key[];
  const stored = { ids: [firstId + 2, firstId], keys, copies: [2, 1], wanted: [2, 1], areNew: [false, true] };
  const failure = { code: "KEY_MISMATCH", message: "other bytes" } as const;
  const result = { key: "sha1:4", success: false } as never;
  const answers = {
    stored,
    others: [
      { id: firstId + 1, failure },
      { id: firstId + 3, result },
    ],
  };
  handOver.answered(answers);
  handOver.answered(answers); // says nothing new
  expect(await results).toEqual([
    { status: "fulfilled", value: { key: keys[1], copies: 1, wanted: 1, isNew: true } },
    { status: "rejected", reason: expect.objectContaining(failure) },
    { status: "fulfilled", value: { key: keys[0], copies: 2, wanted: 2, isNew: false } },
    { status: "fulfilled", value: result },
  ]);
  expect(Reflect.get(handOver, "waiting")).toEqual(new Map()); // nothing is kept of what was answered
});
