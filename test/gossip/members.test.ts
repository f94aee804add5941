import { MEMBERS_MAX_COUNT } from "../../src/core/limits.ts";
import { VSN } from "../../src/gossip/messages.ts";
import { aliveFrom, at, entry, newSwim, runTo, STRANGER, sent, swimWith, told } from "../support/swim-under-test.ts";

const suspect = (node: string, incarnation = 1, from = "x") => ({ type: "suspect", node, incarnation, from }) as const;
const dead = (node: string, incarnation = 1, from = "x") => ({ type: "dead", node, incarnation, from }) as const;
const merge = (nodes: ReturnType<typeof entry>[]) =>
  ({ type: "pushPull", join: false, nodes, userState: new Uint8Array() }) as const;
const state = (swim: ReturnType<typeof newSwim>, name = "b") => {
  const member = swim.member(name);
  return member && `${member.state} ${member.incarnation}`;
};

describe("C31: an old view never overwrites a newer one", () => {
  test.each([
    ["alive of the same incarnation", aliveFrom("b", 2, 5, { meta: Buffer.from("other") })],
    ["alive of a lower one", aliveFrom("b", 2, 4)],
    ["suspect of a lower one", suspect("b", 4)],
    ["dead of a lower one", dead("b", 4)],
    ["a leave of a lower one", dead("b", 4, "b")],
  ])("%s", (_name, message) => {
    const swim = newSwim();
    swim.received(aliveFrom("b", 2, 5), at(2), 0);
    expect(told(swim.received(message, at(3), 1))).toEqual([]);
    expect(state(swim)).toBe("alive 5");
  });

  test("nor does a push/pull of the past", () => {
    const swim = newSwim();
    swim.received(aliveFrom("b", 2, 5), at(2), 0);
    for (const was of ["alive", "suspect", "dead", "left"] as const)
      swim.merge(merge([entry("b", 2, { incarnation: 4, state: was })]), 1);
    expect(state(swim)).toBe("alive 5");
  });

  test("the dead and the left come back with a higher incarnation only", () => {
    for (const gone of [dead("b", 5), dead("b", 5, "b")]) {
      const swim = newSwim();
      swim.received(aliveFrom("b", 2, 5), at(2), 0);
      swim.received(gone, at(3), 1);
      swim.received(aliveFrom("b", 2, 5), at(2), 2);
      expect(state(swim)).not.toMatch(/alive/);
      expect(told(swim.received(aliveFrom("b", 2, 6), at(2), 3))).toEqual(["joined b"]);
    }
  });
});

test("suspect and dead of an equal incarnation are believed, and told once", () => {
  const swim = swimWith(["b", "c"]);
  expect(told(swim.received(suspect("b"), at(3), 1))).toEqual(["state b"]);
  expect(state(swim)).toBe("suspect 1");
  expect(told(swim.received(dead("b"), at(3), 2))).toEqual(["dead b"]);
  expect(told(swim.received(dead("b"), at(3), 3))).toEqual([]);
  expect(told(swim.received(suspect("b"), at(3), 4))).toEqual([]);
  expect(state(swim)).toBe("dead 1");
});

test("what is said of strangers is not believed, unless that they live", () => {
  const swim = newSwim();
  swim.received(suspect("z"), at(3), 0);
  swim.received(dead("z"), at(3), 0);
  swim.merge(merge([entry("z", 9, { state: "dead" }), entry("y", 8, { state: "left" })]), 0);
  expect(swim.members()).toHaveLength(1);
});

describe("about ourselves", () => {
  test.each([
    ["suspect", suspect("me", 7), 8],
    ["dead", dead("me", 7), 8],
    ["that we left", dead("me", 7, "me"), 8],
    ["alive with other metadata", aliveFrom("me", 1, 7, { meta: Buffer.from("x") }), 8],
    ["what is older than we are", suspect("me", 0), 1],
    ["what we say ourselves", aliveFrom("me", 1, 1), 1],
  ])("%s", (_name, message, incarnation) => {
    const swim = swimWith(["b"]);
    swim.received(message, at(2), 1);
    expect(swim.member("me")).toMatchObject({ state: "alive", incarnation });
    expect(swim.status().healthScore).toBe(incarnation > 1 ? 1 : 0);
  });

  test("who accuses us is answered directly, each time", () => {
    const swim = swimWith(["b"]);
    for (let i = 0; i < 2; i++) {
      const answers = sent(swim.received(suspect("me", 1), at(2), i));
      expect(answers).toEqual([
        { to: 2, message: expect.objectContaining({ type: "alive", node: "me", incarnation: 2 }) },
      ]);
    }
  });

  test.each([2 ** 32 - 1, 2 ** 32 - 2 ** 16])(
    "the incarnation never wraps: %d is not refuted, and we say so",
    (incarnation) => {
      const swim = swimWith(["b"]);
      swim.received(suspect("me", incarnation), at(2), 1);
      swim.received(dead("me", incarnation), at(2), 1);
      swim.received(aliveFrom("me", 1, incarnation, { meta: Buffer.from("x") }), at(2), 1);
      expect(swim.member("me")).toMatchObject({ state: "alive", incarnation: 1 });
      expect(swim.status().refused).toMatchObject({ incarnation: 3 });
    },
  );

  test("an accusation that can't be refuted is told", () => {
    const effects = newSwim().received(suspect("me", 2 ** 32 - 2 ** 16), at(2), 1);
    expect(told(effects)).toEqual(["unrefuted me"]);
  });

  test("and about others such an incarnation is not believed: they could not refute it either", () => {
    const swim = swimWith(["b"]);
    for (const message of [aliveFrom("b", 2, 2 ** 32 - 1), suspect("b", 2 ** 32 - 1), dead("b", 2 ** 32 - 1)])
      swim.received(message, STRANGER, 1);
    expect(state(swim)).toBe("alive 1");
  });
});

describe("another address for a known name", () => {
  test.each([
    ["another port", at(2, 9_999)],
    ["another host", at(3)],
    [
      "the same address in 16 bytes",
      { addr: Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 2), port: 7946 },
    ],
  ])("%s is a conflict while it lives", (_name, endpoint) => {
    const swim = swimWith(["b"]);
    expect(told(swim.received(aliveFrom("b", 2, 9, endpoint), STRANGER, 1))).toEqual(["conflict b"]);
    expect(swim.member("b")).toMatchObject({ incarnation: 1, endpoint: at(2) });
  });

  test("and when it has just died; a second later the name is free", () => {
    const swim = swimWith(["b"]);
    swim.received(dead("b"), at(3), 1);
    expect(told(swim.received(aliveFrom("b", 9, 9), at(9), 2))).toEqual(["conflict b"]);
    expect(told(swim.received(aliveFrom("b", 9, 9), at(9), 1_001))).toEqual(["joined b"]);
  });

  test("but is taken at once, whatever the incarnation, when it left", () => {
    const swim = swimWith(["b"]);
    swim.received(dead("b", 1, "b"), at(2), 1);
    expect(told(swim.received(aliveFrom("b", 9, 1), at(9), 2))).toEqual(["joined b"]);
    expect(swim.member("b")).toMatchObject({ state: "alive", endpoint: at(9) });
  });

  test("somebody else under our own name", () => {
    expect(told(newSwim().received(aliveFrom("me", 9, 9), at(9), 1))).toEqual(["conflict me"]);
  });
});

test("metadata of a higher incarnation", () => {
  const swim = swimWith(["b"]);
  const effects = swim.received(aliveFrom("b", 2, 2, { meta: Buffer.from("new") }), at(2), 1);
  expect(told(effects)).toEqual(["updated b"]);
  expect(Buffer.from(swim.member("b")?.meta ?? []).toString()).toBe("new");
});

test("a member's bytes are copies: a packet is not kept for the sake of a few of them", () => {
  const swim = newSwim();
  const meta = Buffer.from("meta");
  swim.received(aliveFrom("b", 2, 1, { meta }), at(2), 0);
  meta.fill(0);
  expect(Buffer.from(swim.member("b")?.meta ?? []).toString()).toBe("meta");
});

describe("bounded", () => {
  test("10,000 invented members push out no live one, and the dead give way to the living", () => {
    const swim = swimWith(["b", "c"]);
    swim.received(dead("c"), at(2), 1);
    for (let i = 0; i < 10_000; i++) swim.received(aliveFrom(`invented-${i}`, i & 0xff), STRANGER, 2);
    expect(swim.members()).toHaveLength(MEMBERS_MAX_COUNT);
    expect(swim.member("c")).toBeUndefined();
    expect(state(swim)).toBe("alive 1");
    expect(swim.status().queuedBroadcasts).toBeLessThanOrEqual(MEMBERS_MAX_COUNT);
    expect(swim.status().refused["members"]).toBe(10_000 - (MEMBERS_MAX_COUNT - 2));
  });

  test.each([
    ["a name of 300 characters", { node: "n".repeat(300) }, "name"],
    ["no name", { node: "" }, "name"],
    ["no address", { addr: null }, "address"],
    ["an address of 3 bytes", { addr: Uint8Array.of(1, 2, 3) }, "address"],
    ["600 bytes of metadata", { meta: Buffer.alloc(600) }, "metadata"],
    ["no versions", { vsn: null }, "version"],
    ["3 bytes of versions", { vsn: Uint8Array.of(1, 5, 2) }, "version"],
    ["a protocol that we don't speak", { vsn: Uint8Array.of(3, 5, 3, 0, 0, 0) }, "version"],
  ])("not a member: %s", (_name, more, reason) => {
    const swim = newSwim();
    swim.received({ ...aliveFrom("b", 2), ...more }, at(2), 0);
    expect(swim.members()).toHaveLength(1);
    expect(swim.status()).toMatchObject({ refused: { [reason]: 1 }, queuedBroadcasts: 1 });
  });
});

describe("a push/pull", () => {
  test("alive as alive, left as left, dead as suspect, in our own name", () => {
    const swim = swimWith(["b", "c", "d", "e"]);
    const nodes = [
      entry("n", 9),
      entry("b", 2, { state: "left" }),
      entry("c", 3, { state: "dead" }),
      entry("d", 4, { state: "suspect" }),
    ];
    const effects = swim.merge(merge(nodes), 1);
    expect(told(effects)).toEqual(["joined n", "left b", "state c", "state d"]);
    const said = sent(runTo(swim, 300)).filter(({ message }) => message.type === "suspect");
    expect(said.length).toBeGreaterThan(0);
    expect(said.every(({ message }) => message.type === "suspect" && message.from === "me")).toBe(true);
  });

  test.each([
    ["3 bytes", Uint8Array.of(1, 5, 2)],
    ["nil", null],
    ["protocol 9", Uint8Array.of(1, 9, 9, 0, 0, 0)],
    ["delegate protocol 3", Uint8Array.of(1, 5, 2, 0, 0, 3)],
  ])("with one bad version (%s) merges nothing", (_name, vsn) => {
    const swim = newSwim();
    const nodes = [entry("b", 2), entry("c", 3, { vsn, state: "dead" })];
    expect(() => swim.merge(merge(nodes), 0)).toThrow(expect.objectContaining({ name: "Refused", reason: "version" }));
    expect(swim.members()).toHaveLength(1);
  });

  test("says of us what it says of others, ourselves first", () => {
    expect(swimWith(["b"]).localState()).toEqual([
      { name: "me", ...at(1), meta: null, vsn: VSN, incarnation: 1, state: "alive" },
      { name: "b", ...at(2), meta: null, vsn: VSN, incarnation: 1, state: "alive" },
    ]);
  });
});

test("the dead and the left are forgotten at the end of a round, after their time", () => {
  const swim = swimWith(["b", "c"]);
  swim.received(dead("b"), at(3), 0);
  swim.received(dead("c", 1, "c"), at(3), 0);
  runTo(swim, 29_000);
  expect(swim.members()).toHaveLength(3);
  expect(told(runTo(swim, 32_000)).sort()).toEqual(["forgotten b", "forgotten c"]);
  expect(swim.members()).toHaveLength(1);
});
