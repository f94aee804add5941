import { randomBytes } from "node:crypto";
import fc from "fast-check";
import { type Key, keyOfBytes } from "../../src/core/key.ts";
import { BATCH_MAX_COUNT } from "../../src/core/limits.ts";
import {
  decodeAsked,
  decodeBatch,
  decodeCopies,
  encodeAsked,
  encodeBatch,
  encodeCopies,
  parseOutcomes,
} from "../../src/peer/batch-protocol.ts";

const itemOf = (bytes: Uint8Array) => ({ key: keyOfBytes(bytes), bytes });

test("what is encoded is decoded to the same", () => {
  const bytes = fc.uint8Array({ maxLength: 200 });
  fc.assert(
    fc.property(fc.array(bytes, { minLength: 1, maxLength: BATCH_MAX_COUNT }), (blobs) => {
      const decoded = decodeBatch(encodeBatch(blobs.map(itemOf)));
      expect(decoded.map(({ key, bytes: got }) => [key, Buffer.from(got).toString("hex")])).toEqual(
        blobs.map((blob) => [keyOfBytes(blob), Buffer.from(blob).toString("hex")]),
      );
    }),
  );
});

test("a body that is cut anywhere is refused, and so is one that is empty or has too many", () => {
  const whole = encodeBatch([itemOf(randomBytes(10)), itemOf(randomBytes(0)), itemOf(randomBytes(20))]);
  const ends = new Set([34, 58]); // behind the first, behind the second: a batch of fewer
  for (let end = 0; end < whole.length; end++) {
    const cut = () => decodeBatch(whole.subarray(0, end));
    if (ends.has(end)) expect(cut).not.toThrow();
    else expect(cut).toThrow(expect.objectContaining({ code: "BAD_REQUEST" }));
  }
  const many = encodeBatch(Array.from({ length: BATCH_MAX_COUNT + 1 }, () => itemOf(randomBytes(1))));
  expect(() => decodeBatch(many)).toThrow(/more than 64 blobs/);
});

test("answers: a receipt or a refusal for each, and nothing is taken for a copy that is not said to be one", () => {
  const copies = [
    { store: "s", outcome: "stored" },
    { error: { code: "KEY_MISMATCH", message: "no" } },
    { store: "s", outcome: "perhaps" },
    null,
  ];
  const unclear = { error: { code: "", message: "answer not understood" } };
  expect(parseOutcomes({ copies }, 4)).toEqual([copies[0], copies[1], unclear, unclear]);
  for (const wrong of [{}, { copies: "all" }, { copies: copies.slice(1) }]) {
    expect(() => parseOutcomes(wrong, 4)).toThrow(expect.objectContaining({ code: "PEER_FAILED" }));
  }
});

const refused = (code: string) => expect.objectContaining({ code });

describe("copies that are fetched together", () => {
  const keys = Array.from({ length: 3 }, (_, i) => keyOfBytes(Buffer.from([i])));

  test("the keys that are asked for come as they are", () => {
    expect(decodeAsked(encodeAsked(keys))).toEqual(keys);
  });

  test("a question that is empty, ends in a key, or asks for too many is refused", () => {
    const many = Array.from({ length: BATCH_MAX_COUNT + 1 }, () => keys[0] as Key);
    for (const body of [Buffer.alloc(0), encodeAsked(keys).subarray(1), encodeAsked(many)])
      expect(() => decodeAsked(body)).toThrow(refused("BAD_REQUEST"));
  });

  test("each copy comes whole, an empty one too, or not at all", () => {
    const copy = fc.option(fc.uint8Array({ maxLength: 200 }), { nil: null });
    fc.assert(
      fc.property(fc.array(copy, { minLength: 1, maxLength: BATCH_MAX_COUNT }), (copies) => {
        const decoded = decodeCopies(encodeCopies(copies), copies.length);
        expect(decoded.map((bytes) => bytes && [...bytes])).toEqual(copies.map((bytes) => bytes && [...bytes]));
      }),
    );
  });

  test("an answer that is cut anywhere, is longer, or is about more or fewer is no answer", () => {
    const whole = encodeCopies([Buffer.from("one"), null, Buffer.alloc(0)]);
    for (let end = 0; end < whole.length; end++)
      expect(() => decodeCopies(whole.subarray(0, end), 3)).toThrow(refused("PEER_FAILED"));
    for (const [body, count] of [
      [Buffer.concat([whole, Buffer.alloc(1)]), 3],
      [whole, 2],
      [whole, 4],
    ] as const)
      expect(() => decodeCopies(body, count)).toThrow(refused("PEER_FAILED"));
  });
});
