import { type Key, keyOfBytes } from "../../src/core/key.ts";
import { FIRST_KEY } from "../../src/core/key-range.ts";
import { DIGEST_RANGES_MAX_COUNT, KEYS_PAGE_MAX_COUNT, VOUCH_KEYS_MAX_COUNT } from "../../src/core/limits.ts";
import {
  digestsJson,
  parseDigests,
  parseKeysPage,
  parseRangeRequest,
  parseRanges,
  parseVouches,
  parseVouchRequest,
  rangeJson,
  rangesJson,
  vouchesJson,
  vouchJson,
} from "../../src/peer/repair-protocol.ts";

const KEYS = Array.from({ length: 3 }, (_, i) => keyOfBytes(Buffer.from(`${i}`))).sort() as [Key, Key, Key];
const REQUEST = { nonce: "n", replication: 2, maxReplication: 3, ring: "r", keys: KEYS };
const VOUCHES = [
  { vouched: true, store: "s" } as const,
  ...KEYS.slice(1).map(() => ({ vouched: false, reason: "no" }) as const),
];
const overTheWire = <T extends object>(json: T) => JSON.parse(JSON.stringify(json)) as Record<string, unknown>;

test("what one end writes the other reads", () => {
  expect(parseVouchRequest(overTheWire(vouchJson(REQUEST)))).toEqual(REQUEST);
  expect(parseVouches(overTheWire(vouchesJson("n", VOUCHES)), REQUEST)).toEqual(VOUCHES);
  const ranges = [
    { from: FIRST_KEY, to: KEYS[1] },
    { from: KEYS[1], to: undefined },
  ];
  expect(parseRanges(overTheWire(rangesJson(ranges)))).toEqual(ranges);
  for (const range of ranges) expect(parseRangeRequest(overTheWire(rangeJson(range)))).toEqual(range);
  const digests = [
    { count: 0, sum: "" },
    { count: 7, sum: "a".repeat(40) },
  ];
  expect(parseDigests(overTheWire(digestsJson(digests)), 2)).toEqual(digests);
  const page = { keys: KEYS, more: true };
  expect(parseKeysPage(overTheWire(page), { from: FIRST_KEY, to: undefined })).toEqual(page);
});

const sent = vouchJson(REQUEST);
const many = (count: number) => Array.from({ length: count }, () => KEYS[0]);

describe("a request that is malformed is refused, whatever it is", () => {
  test.each([
    ["nothing", {}],
    ["an empty nonce", { ...sent, nonce: "" }],
    ["a long nonce", { ...sent, nonce: "n".repeat(65) }],
    ["a nonce that is no text", { ...sent, nonce: 7 }],
    ["no ring", { ...sent, ring: undefined }],
    ["half a replication", { ...sent, replication: 1.5 }],
    ["a negative maximum", { ...sent, max_replication: -1 }],
    ["text for a number", { ...sent, replication: "2" }],
    ["no keys", { ...sent, keys: undefined }],
    ["a key that is none", { ...sent, keys: [KEYS[0].toUpperCase()] }],
    ["keys that are no list", { ...sent, keys: { length: 1, 0: KEYS[0] } }],
    ["too many keys", { ...sent, keys: many(VOUCH_KEYS_MAX_COUNT + 1) }],
  ])("for vouches: %s", (_name, json) => {
    expect(() => parseVouchRequest(json)).toThrow(expect.objectContaining({ code: "BAD_REQUEST" }));
  });

  test.each([
    ["no list", {}],
    ["null in it", { ranges: [null] }],
    ["a bare key", { ranges: [KEYS[0]] }],
    ["from that is none", { ranges: [["sha1:..", null]] }],
    ["to before from", { ranges: [[KEYS[1], KEYS[0]]] }],
    ["an empty range", { ranges: [[KEYS[1], KEYS[1]]] }],
    ["too many", { ranges: Array.from({ length: DIGEST_RANGES_MAX_COUNT + 1 }, () => [FIRST_KEY, null]) }],
  ])("for digests: %s", (_name, json) => {
    expect(() => parseRanges(json)).toThrow(expect.objectContaining({ code: "BAD_REQUEST" }));
  });

  test.each([{}, { range: null }, { range: [KEYS[0], KEYS[0]] }, { range: [7, null] }])("for keys: %j", (json) => {
    expect(() => parseRangeRequest(json)).toThrow(expect.objectContaining({ code: "BAD_REQUEST" }));
  });
});

describe("C21: anything that is not clearly a vouch is none", () => {
  const answer = (first: unknown) => ({ nonce: "n", vouches: [first, { vouched: false, reason: "no" }, null] });

  test.each([
    ["true as text", { vouched: "true", store: "s" }],
    ["no store", { vouched: true }],
    ["an empty store", { vouched: true, store: "" }],
    ["a store that is no text", { vouched: true, store: 7 }],
    ["a bare true", true],
    ["null", null],
    ["present", { state: "present", store: "s" }],
  ])("%s", (_name, first) => {
    expect(parseVouches(answer(first), REQUEST).map(({ vouched }) => vouched)).toEqual([false, false, false]);
  });

  test("the reason of a refusal is passed on, not without bound", () => {
    const [vouch] = parseVouches(answer({ vouched: false, reason: "x".repeat(1_000) }), REQUEST);
    expect(vouch).toEqual({ vouched: false, reason: "x".repeat(300) });
  });

  test.each([
    ["of another marking", { nonce: "earlier", vouches: VOUCHES }],
    ["without a nonce", { vouches: VOUCHES }],
    ["for fewer keys", { nonce: "n", vouches: VOUCHES.slice(1) }],
    ["for more keys", { nonce: "n", vouches: [...VOUCHES, VOUCHES[0]] }],
    ["of another kind", { nonce: "n", vouches: { length: 3 } }],
  ])("an answer %s is none at all", (_name, json) => {
    expect(() => parseVouches(json, REQUEST)).toThrow(expect.objectContaining({ code: "PEER_FAILED" }));
  });
});

describe("an answer that is malformed is the peer's failure", () => {
  test.each([
    ["no list", {}],
    ["too few", { digests: [[1, "a"]] }],
    ["null", { digests: [null, null] }],
    [
      "a negative count",
      {
        digests: [
          [1, "a"],
          [-1, "a"],
        ],
      },
    ],
    [
      "half a key",
      {
        digests: [
          [1, "a"],
          [0.5, "a"],
        ],
      },
    ],
    [
      "a sum that is no text",
      {
        digests: [
          [1, "a"],
          [1, 5],
        ],
      },
    ],
    [
      "a long sum",
      {
        digests: [
          [1, "a"],
          [1, "a".repeat(65)],
        ],
      },
    ],
  ])("digests: %s", (_name, json) => {
    expect(() => parseDigests(json, 2)).toThrow(expect.objectContaining({ code: "PEER_FAILED" }));
  });

  const range = { from: KEYS[1], to: KEYS[2] };
  test.each([
    ["no list", {}],
    ["before the range", { keys: [KEYS[0]] }],
    ["behind the range", { keys: [KEYS[2]] }],
    ["twice the same", { keys: [KEYS[1], KEYS[1]] }],
    ["more, and nothing to go on from", { keys: [], more: true }],
    ["no keys", { keys: ["../etc"] }],
    ["too many", { keys: many(KEYS_PAGE_MAX_COUNT + 1) }],
  ])("keys: %s", (_name, json) => {
    expect(() => parseKeysPage(json, range)).toThrow(expect.objectContaining({ code: "PEER_FAILED" }));
  });

  test("keys: out of order", () => {
    expect(() => parseKeysPage({ keys: [KEYS[1], KEYS[0]] }, { from: FIRST_KEY, to: undefined })).toThrow();
    expect(parseKeysPage({ keys: [] }, range)).toEqual({ keys: [], more: false });
  });
});
