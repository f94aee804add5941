import fc from "fast-check";
import { HAS_KEYS_MAX_COUNT, MEMBERS_MAX_COUNT } from "../../src/core/limits.ts";
import {
  deriveNodeSecret,
  GO_POINTS,
  GO_REPLICATION,
  PATH,
  parseAnnouncement,
  parseBaseUrl,
  parseHasRequest,
  parseHoldings,
  parseJsonObject,
  parseNodeId,
} from "../../src/peer/protocol.ts";
import { announcementOf } from "../support/announcements.ts";

const badRequest = expect.objectContaining({ code: "BAD_REQUEST" });
const KEY = `sha1:${"a".repeat(40)}`;
const json = (value: unknown) => parseJsonObject(JSON.stringify(value));

describe("an announcement", () => {
  test("of ours comes out as it went in", () => {
    const said = announcementOf("a", {
      known_store: "s",
      neighbors: [{ uuid: "b", base_url: "http://b:1", replication: 2 }],
    });
    expect(parseAnnouncement(json(said))).toEqual(said);
  });

  test("of a Go node is taken: what it lacks has the values of a Go node, what it has besides is passed over", () => {
    const fromGo = {
      uuid: "fb78e738-9ad7-4648-b8d1-3382b1a6ed13",
      base_url: "http://go.example:8080/",
      writeable: true,
      secret: "in-clear",
      neighbors: null,
      bird_names: ["wren"],
    };
    const parsed = parseAnnouncement(json(fromGo));
    expect(parsed).toEqual({
      uuid: fromGo.uuid,
      base_url: "http://go.example:8080",
      writeable: true,
      version: "unknown",
      store: "",
      start_nonce: "",
      started_ms: 0,
      joined: true,
      incomplete: false,
      draining: false,
      replication: GO_REPLICATION,
      max_replication: 4,
      points: GO_POINTS,
      free_bytes: null,
      neighbors: [],
      gossip_address: "",
    });
    expect(GO_POINTS).toBe(16);
  });

  test("C20: a Go node counts as one that acknowledges single copies", () => {
    expect(parseAnnouncement(json({ uuid: "a", base_url: "http://a" })).replication).toBe(1);
  });

  test("with the neighbors of an older Go node, dates and all, is taken", () => {
    const neighbor = { uuid: "b", base_url: "http://b:1/", writeable: true, last_seen: "2026-01-01T00:00:00Z" };
    const parsed = parseAnnouncement(
      json({ uuid: "a", base_url: "http://a:1/", writeable: false, neighbors: [neighbor] }),
    );
    expect(parsed.neighbors).toEqual([{ uuid: "b", base_url: "http://b:1", replication: 1 }]);
    expect(parsed.writeable).toBe(false);
  });

  test.each([
    ["uuid", [undefined, null, 5, "", "a b", "../a", "a".repeat(65), ["a"]]],
    [
      "base_url",
      [undefined, null, 5, "", "a:1", "ftp://a", "http://a/?b=c", "http://u:p@a", `http://${"a".repeat(256)}`],
    ],
    ["version", [null, 5, "v".repeat(65)]],
    ["store", [null, {}, "s".repeat(65)]],
    ["start_nonce", [null, 1, "n".repeat(65)]],
    ["started_ms", ["1", -1, 1.5, 2 ** 53, null]],
    ["replication", ["3", 0, -1, 1_001]],
    ["max_replication", ["3", 0, 1_001]],
    ["points", ["16", 0, 4_097, 1.5]],
    [
      "neighbors",
      [
        5,
        "b",
        {},
        [null],
        ["b"],
        [{ uuid: "b" }],
        [{ uuid: "b", base_url: "b" }],
        [{ uuid: "b", base_url: "http://b", replication: 0 }],
      ],
    ],
  ])("with a wrong %s is BAD_REQUEST, and the message names it", (name, wrong) => {
    for (const value of wrong) {
      const act = () => parseAnnouncement({ ...announcementOf("a"), [name]: value });
      expect(act).toThrow(badRequest);
      expect(act).toThrow(name === "neighbors" ? /^(neighbors|uuid|base_url|replication): / : new RegExp(`^${name}: `));
    }
  });

  test.each([
    ["writeable", "true", false],
    ["joined", "no", true],
    ["incomplete", "yes", false],
    ["free_bytes", "much", null],
    ["free_bytes", -1, null],
    ["free_bytes", Number.POSITIVE_INFINITY, null], // JSON can spell it: 1e999
  ] as const)("with %s = %p falls back to %p", (name, wrong, fallback) => {
    expect(parseAnnouncement({ ...announcementOf("a"), [name]: wrong })[name]).toBe(fallback);
  });

  test("with a wrong known_store is one without, and a long one is cut", () => {
    expect("known_store" in parseAnnouncement({ ...announcementOf("a"), known_store: 5 })).toBe(false);
    expect(parseAnnouncement({ ...announcementOf("a"), known_store: "s".repeat(100) }).known_store).toHaveLength(64);
  });

  test("has a bound on its neighbors", () => {
    const neighbors = (count: number) =>
      Array.from({ length: count }, (_, i) => ({ uuid: `n${i}`, base_url: `http://n${i}` }));
    const parse = (count: number) => parseAnnouncement({ ...announcementOf("a"), neighbors: neighbors(count) });
    expect(parse(MEMBERS_MAX_COUNT).neighbors).toHaveLength(MEMBERS_MAX_COUNT);
    expect(() => parse(MEMBERS_MAX_COUNT + 1)).toThrow(badRequest);
  });

  test("is understood or BAD_REQUEST, whatever comes", () => {
    const value = fc.oneof(fc.anything(), fc.constantFrom("http://a", "a", 1, true, []));
    const anything = fc.dictionary(fc.constantFrom(...Object.keys(announcementOf("a")), "known_store"), value);
    fc.assert(
      fc.property(anything, (given) => {
        try {
          const { uuid, base_url, points, neighbors } = parseAnnouncement(given);
          expect([typeof uuid, typeof base_url, typeof points, Array.isArray(neighbors)]).toEqual([
            "string",
            "string",
            "number",
            true,
          ]);
        } catch (error) {
          expect(error).toMatchObject({ code: "BAD_REQUEST" });
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe("JSON", () => {
  test.each(["", "{", "nonsense", "[]", "5", "null", '"text"'])("%p is no object: BAD_REQUEST", (text) => {
    expect(() => parseJsonObject(text)).toThrow(badRequest);
  });

  test("an object is taken", () => {
    expect(parseJsonObject('{"a":1}')).toEqual({ a: 1 });
  });
});

test("base URLs lose what is at their end, and nothing else", () => {
  expect(parseBaseUrl("http://a:1//")).toBe("http://a:1");
  expect(parseBaseUrl("https://a/cask/")).toBe("https://a/cask");
  expect(parseBaseUrl("http://a/?")).toBe("http://a");
  expect(parseBaseUrl("http://a/cask#")).toBe("http://a/cask");
  expect(parseNodeId("node-1.example_2")).toBe("node-1.example_2");
});

test("a blob's door is named by its key", () => {
  expect(PATH.localBlob(parseHasRequest({ keys: [KEY] })[0] as never)).toBe(`/local/${KEY}/`);
});

describe("C40, C41: the value sent in place of the secret", () => {
  test("is the same for the same secret, and another for another one", () => {
    fc.assert(
      fc.property(fc.string({ minLength: 8 }), fc.string({ minLength: 8 }), (one, other) => {
        expect(deriveNodeSecret(one)).toMatch(/^[0-9a-f]{64}$/);
        expect(deriveNodeSecret(one)).toBe(deriveNodeSecret(one));
        if (one !== other) expect(deriveNodeSecret(one)).not.toBe(deriveNodeSecret(other));
      }),
    );
  });

  test("never contains the secret, not even one of hexadecimal digits", () => {
    for (const secret of ["not-a-secret-change-me", "deadbeef", "0000000000"]) {
      expect(deriveNodeSecret(secret)).not.toContain(secret);
      expect(deriveNodeSecret(secret)).not.toContain(Buffer.from(secret).toString("hex"));
    }
  });

  test("never changes: nodes of two versions must understand each other", () => {
    expect(deriveNodeSecret("not-a-secret-change-me")).toBe(
      "cdd2d5de9a10af9527d6330b9c2c49f3d804e78b22043c238d1f51d1aeba43b9",
    );
  });
});

describe("a question about existence", () => {
  test("names keys, up to a bound", () => {
    const keys = Array.from({ length: HAS_KEYS_MAX_COUNT }, () => KEY);
    expect(parseHasRequest({ keys })).toEqual(keys);
    expect(parseHasRequest({ keys: [] })).toEqual([]);
    expect(() => parseHasRequest({ keys: [...keys, KEY] })).toThrow(badRequest);
  });

  test.each([[undefined], [null], [KEY], [{ 0: KEY }], [[5]], [[KEY, "sha1:x"]], [[KEY.toUpperCase()]]])(
    "with keys %p is BAD_REQUEST",
    (keys) => {
      expect(() => parseHasRequest({ keys })).toThrow(badRequest);
    },
  );
});

describe("C10: an answer about existence", () => {
  const present = { state: "present", sizeBytes: 5, verifiedAtMs: 7, store: "s" };

  test("has three forms", () => {
    const holdings = [
      present,
      { ...present, verifiedAtMs: null },
      { state: "absent" },
      { state: "absent", store: "s", members: "digest" },
      { state: "unknown", reason: "io" },
      { state: "unknown", reason: "in quarantine", lacking: true, wasStored: true },
    ];
    expect(parseHoldings(json({ holdings }), 6)).toEqual(holdings);
  });

  test.each([
    null,
    5,
    "absent",
    ["absent"],
    {},
    { state: "ABSENT" },
    { state: "gone" },
    { state: "present" },
    { state: "present", sizeBytes: "5" },
    { state: "present", sizeBytes: -5 },
    { state: "present", sizeBytes: null },
    { state: ["absent"] },
  ])("that is not understood (%p) is unknown, never absent", (value) => {
    expect(parseHoldings({ holdings: [value] }, 1)).toEqual([{ state: "unknown", reason: expect.any(String) }]);
  });

  test("whatever comes, only the word absent is absent", () => {
    fc.assert(
      fc.property(fc.anything(), (value) => {
        const [holding] = parseHoldings({ holdings: [value] }, 1);
        const saysAbsent = typeof value === "object" && value !== null && "state" in value && value.state === "absent";
        if (!saysAbsent) expect(holding?.state).not.toBe("absent");
      }),
    );
  });

  test("what surrounds a good size is optional, and bounded", () => {
    const holding = { state: "present", sizeBytes: 0, verifiedAtMs: "yesterday", store: 7 };
    expect(parseHoldings({ holdings: [holding] }, 1)).toEqual([
      { state: "present", sizeBytes: 0, verifiedAtMs: null, store: "" },
    ]);
    const [long] = parseHoldings({ holdings: [{ state: "unknown", reason: "r".repeat(5_000) }] }, 1);
    expect(long).toEqual({ state: "unknown", reason: "r".repeat(300) });
  });

  test.each([[undefined], [null], ["absent"], [[]], [[present]], [[present, present, present]]])(
    "for another number of keys (%p for 2) is the peer's failure",
    (holdings) => {
      expect(() => parseHoldings({ holdings }, 2)).toThrow(expect.objectContaining({ code: "PEER_FAILED" }));
    },
  );
});
