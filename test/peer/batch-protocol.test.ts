import { randomBytes } from "node:crypto";
import fc from "fast-check";
import { keyOfBytes } from "../../src/core/key.ts";
import { BATCH_MAX_COUNT } from "../../src/core/limits.ts";
import { decodeBatch, encodeBatch, parseOutcomes } from "../../src/peer/batch-protocol.ts";

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
