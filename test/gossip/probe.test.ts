import { PROFILES } from "../../src/gossip/profile.ts";
import type { Effect } from "../../src/gossip/swim-contract.ts";
import { aliveFrom, answering, at, runTo, STRANGER, sent, swimWith, told } from "../support/swim-under-test.ts";

const NAMES = ["b", "c", "d", "e"];
const pings = (effects: readonly Effect[]) => sent(effects).filter(({ message }) => message.type === "ping");
const of = (effects: readonly Effect[], kind: Effect["do"]) => effects.filter((effect) => effect.do === kind);

/** A node whose members' UDP is known already. */
function acquainted(names = NAMES, options = {}) {
  const swim = swimWith(names, options);
  runTo(
    swim,
    5_000,
    answering(
      swim,
      names.map((_, i) => i + 2),
    ),
  );
  return swim;
}

test("everyone has its turn once in a round, in another order each time", () => {
  const swim = acquainted();
  const asked = pings(runTo(swim, 40_000, answering(swim, [2, 3, 4, 5]))).map(({ to }) => to);
  expect(asked.length).toBeGreaterThan(30);
  const rounds = (from: number) => Array.from({ length: 5 }, (_, i) => asked.slice(from + 4 * i, from + 4 * i + 4));
  const whole = [0, 1, 2, 3].map(rounds).filter((all) => all.every((round) => new Set(round).size === 4));
  expect(whole.length).toBeGreaterThan(0);
  expect(whole.some((all) => new Set(all.map(String)).size > 1)).toBe(true);
});

test("a ping says who asks and where the answer goes", () => {
  const [first] = pings(runTo(swimWith(["b"]), 1_100));
  expect(first?.message).toMatchObject({ node: "b", sourceNode: "me", sourcePort: 7946 });
  expect([...(first?.message.type === "ping" ? (first.message.sourceAddr ?? []) : [])]).toEqual([10, 0, 0, 1]);
});

describe("a probe that is not answered", () => {
  const silent = () => {
    const swim = acquainted();
    const all: (Effect & { atMs: number })[] = [];
    const isSuspected = () => swim.member("b")?.state === "suspect";
    while (!isSuspected()) all.push(...runTo(swim, swim.nextDueMs(), answering(swim, [3, 4, 5]))); // all but b
    const begin = all.find((effect) => pings([effect]).some(({ to }) => to === 2))?.atMs ?? 0;
    return { swim, all, begin };
  };

  test("asks three others, and over TCP, after the timeout, and suspects after the interval", () => {
    const { all, begin } = silent();
    const asked = all.filter((effect) => sent([effect]).some(({ message }) => message.type === "indirectPing"));
    expect(asked.slice(0, 3).map(({ atMs }) => atMs - begin)).toEqual([500, 500, 500]);
    expect(
      sent(asked.slice(0, 3))
        .map(({ to }) => to)
        .sort(),
    ).toEqual([3, 4, 5]);
    expect(sent(asked)[0]?.message).toMatchObject({ node: "b", nack: true, port: 7946, sourceNode: "me" });
    const [stream] = all.filter((effect) => effect.do === "streamPing");
    expect(stream).toMatchObject({ node: "b", timeoutMs: 500, atMs: begin + 500 });
    const suspected = all.find((effect) => told([effect])[0] === "state b");
    expect(suspected?.atMs).toBe(begin + 1_000);
  });

  test("tells the suspected one in the packet with the next ping, and again until it is decided", () => {
    const { swim } = silent();
    const all = runTo(swim, 30_000, answering(swim, [3, 4, 5]));
    const compounds = all.filter((effect) => effect.do === "packet" && effect.parts.length > 1);
    expect(
      compounds.some(
        (effect) =>
          sent([effect])
            .map(({ message }) => message.type)
            .join() === "ping,suspect",
      ),
    ).toBe(true);
    const alone = all.filter(
      (effect) => effect.do === "packet" && effect.to.addr.at(-1) === 2 && effect.parts.length === 1,
    );
    expect(sent(alone).filter(({ message }) => message.type === "suspect").length).toBeGreaterThanOrEqual(4);
  });

  test("without confirmation the suspected one has the long time", () => {
    const { swim, all } = silent();
    const suspectedMs = all.find((effect) => told([effect])[0] === "state b")?.atMs ?? 0;
    const later = runTo(swim, 60_000, answering(swim, [3, 4, 5]));
    const died = later.find((effect) => told([effect])[0] === "dead b");
    expect((died?.atMs ?? 0) - suspectedMs).toBe(24_000);
  });

  test("two more accusers bring the least time", () => {
    const { swim, all } = silent();
    const suspectedMs = all.find((effect) => told([effect])[0] === "state b")?.atMs ?? 0;
    for (const from of ["c", "d"])
      swim.received({ type: "suspect", node: "b", incarnation: 1, from }, at(3), suspectedMs);
    const later = runTo(swim, 60_000, answering(swim, [3, 4, 5]));
    const died = later.find((effect) => told([effect])[0] === "dead b");
    expect((died?.atMs ?? 0) - suspectedMs).toBe(4_000);
  });
});

describe("a probe is saved by", () => {
  const outcome = (save: (effect: Effect) => "ack" | "stream" | "nothing") => {
    const swim = acquainted();
    const rest = answering(swim, [3, 4, 5]);
    const all = runTo(swim, 14_000, (effect, nowMs) => {
      rest(effect, nowMs);
      const what = save(effect);
      if (what === "stream" && effect.do === "streamPing") swim.streamPinged(effect.seqNo, "answered", nowMs);
      if (what !== "ack") return;
      for (const { message } of sent([effect]))
        if (message.type === "indirectPing")
          swim.received({ type: "ack", seqNo: message.seqNo, payload: null }, at(3), nowMs);
    });
    return { events: told(all), swim };
  };

  test("an answer by way of another", () => {
    const { events, swim } = outcome(() => "ack");
    expect(events).toEqual([]);
    expect(swim.probeMs("b")).toBe(500); // the others are asked after the probe timeout
  });

  test("an answer over TCP", () => {
    expect(outcome(() => "stream").events).toEqual([]);
  });

  test("nothing else", () => {
    expect(outcome(() => "nothing").events).toContain("state b");
  });
});

test("an ack for something else, and a nack for nothing, change nothing", () => {
  const swim = acquainted();
  for (let seqNo = 0; seqNo < 100; seqNo++) {
    expect(swim.received({ type: "ack", seqNo, payload: null }, STRANGER, 5_000)).toEqual([]);
    expect(swim.received({ type: "nack", seqNo }, STRANGER, 5_000)).toEqual([]);
    expect(swim.streamPinged(seqNo, "answered", 5_000)).toEqual([]);
  }
});

describe("C29: who is slow suspects itself first", () => {
  /** Until b, which does not answer, is suspected; with those that were asked to probe it. What comes next is not answered. */
  const suspecting = (profile = PROFILES.lan, onRelay: (relay: Relay, nowMs: number) => void = () => undefined) => {
    const swim = acquainted(NAMES, { profile });
    const relays: Relay[] = [];
    const rest = answering(swim, [3, 4, 5]);
    const answer = (effect: Effect, nowMs: number) => {
      if (swim.member("b")?.state === "alive") rest(effect, nowMs);
      for (const { to, message } of sent([effect])) {
        if (message.type !== "indirectPing") continue;
        const relay = { nack: (ms: number) => swim.received({ type: "nack", seqNo: message.seqNo }, at(to), ms) };
        relays.push(relay);
        onRelay(relay, nowMs);
      }
    };
    while (swim.member("b")?.state !== "suspect") runTo(swim, swim.nextDueMs(), answer);
    return { swim, relays };
  };
  interface Relay {
    readonly nack: (nowMs: number) => void;
  }
  const accusedMs = (swim: ReturnType<typeof acquainted>) => swim.member("b")?.stateSinceMs ?? 0;

  test.each([
    [3, 0],
    [2, 1],
    [0, 3],
  ])("of three relays %i say that they failed: the score is %i", (nacks, score) => {
    let asked = 0;
    const { swim } = suspecting(PROFILES.lan, (relay, nowMs) => {
      if (asked++ < nacks) relay.nack(nowMs);
    });
    swim.tick(accusedMs(swim) + 249);
    expect(swim.status().healthScore).toBe(0);
    swim.tick(accusedMs(swim) + 250);
    expect(swim.status().healthScore).toBe(score);
  });

  test.each(["lan", "wan"] as const)("a nack that comes after the verdict, as Go's do, counts too (%s)", (name) => {
    const { probeTimeoutMs, probeIntervalMs } = PROFILES[name];
    const { swim, relays } = suspecting(PROFILES[name]);
    expect(relays).toHaveLength(3);
    const lateMs = 2 * probeTimeoutMs + 20 - probeIntervalMs; // after the verdict
    expect(lateMs).toBeGreaterThan(0);
    runTo(swim, accusedMs(swim) + lateMs, answering(swim, [3, 4, 5]));
    expect(swim.status().healthScore).toBe(0);
    for (const relay of relays) relay.nack(accusedMs(swim) + lateMs);
    runTo(swim, accusedMs(swim) + 2.5 * probeTimeoutMs - probeIntervalMs, answering(swim, [3, 4, 5]));
    expect(swim.status().healthScore).toBe(0);
  });

  test("until that is known, the next probe takes as long as if no nack came", () => {
    const { swim } = suspecting();
    const all = runTo(swim, accusedMs(swim) + 3_900);
    // Nobody answers it: with a score of 3 its verdict is spoken after 4 s, not after 1.
    expect(told(all)).toEqual([]);
    expect(told(runTo(swim, accusedMs(swim) + 4_000)).length).toBeGreaterThan(0);
  });

  test("a late timer raises the score, and the time does not count against others", () => {
    const swim = acquainted();
    runTo(swim, 6_000, answering(swim, [3, 4, 5]));
    const before = told(swim.tick(16_000));
    expect(before).toEqual([]);
    expect(swim.status().healthScore).toBe(7);
    const events = told(runTo(swim, 16_400, answering(swim, [2, 3, 4, 5])));
    expect(events).toEqual([]);
  });

  test("also when a packet comes before the late timer, and then once only", () => {
    const swim = acquainted();
    swim.received({ type: "nack", seqNo: 1 }, STRANGER, 9_000);
    const { healthScore } = swim.status();
    expect(healthScore).toBeGreaterThanOrEqual(3);
    swim.tick(9_001);
    expect(swim.status().healthScore).toBe(healthScore);
  });

  test("a suspicion waits for as long as this process stood still", () => {
    const swim = acquainted();
    swim.received({ type: "suspect", node: "b", incarnation: 1, from: "c" }, at(3), 5_000);
    swim.lagged(60_000, 65_000);
    expect(told(swim.tick(65_000))).toEqual([]);
    swim.received(aliveFrom("b", 2, 2), at(2), 65_001);
    expect(swim.member("b")?.state).toBe("alive");
  });
});

describe("answers", () => {
  const ping = { type: "ping", seqNo: 42, node: "me" } as const;
  const ack = { type: "ack", seqNo: 42, payload: null };
  test.each([
    ["where the ping came from", ping, 200],
    ["where it says", { ...ping, sourceAddr: at(7).addr, sourcePort: 1 }, 7],
    ["where it came from if the port is missing", { ...ping, sourceAddr: at(7).addr }, 200],
    ["where it came from if the address is none", { ...ping, sourceAddr: Uint8Array.of(1, 2, 3), sourcePort: 1 }, 200],
    ["to an empty name", { ...ping, node: "" }, 200],
  ])("%s", (_name, message, to) => {
    expect(sent(swimWith([]).received(message, STRANGER, 5)).slice(0, 1)).toEqual([{ to, message: ack }]);
  });

  test("no ping for another name", () => {
    expect(swimWith([]).received({ ...ping, node: "other" }, STRANGER, 5)).toEqual([]);
  });

  test("with news joined to the ack", () => {
    const answers = sent(swimWith(["b"]).received({ ...ping, sourceNode: "c" }, STRANGER, 5));
    expect(answers.map(({ message }) => message.type)).toEqual(["ack", "alive", "alive"]);
  });
});

describe("pings for others", () => {
  const request = { type: "indirectPing", seqNo: 9, target: at(3).addr, port: 7946, node: "c", nack: true } as const;
  const relay = () => {
    const swim = acquainted();
    const effects = swim.received({ ...request, sourceAddr: at(2).addr, sourcePort: 7946 }, STRANGER, 5_000);
    const [asked] = sent(effects);
    return { swim, asked, seqNo: asked?.message.type === "ping" ? asked.message.seqNo : 0 };
  };

  test("the answer is passed on, once", () => {
    const { swim, asked, seqNo } = relay();
    expect(asked).toMatchObject({ to: 3, message: { type: "ping", node: "c", sourceNode: "me" } });
    const passed = sent(swim.received({ type: "ack", seqNo, payload: null }, at(3), 5_010));
    expect(passed).toEqual([{ to: 2, message: { type: "ack", seqNo: 9, payload: null } }]);
    expect(swim.received({ type: "ack", seqNo, payload: null }, at(3), 5_011)).toEqual([]);
  });

  test("without an answer a nack goes out before the asker's verdict, and a late answer is still passed on", () => {
    const { swim, seqNo } = relay();
    const all = runTo(swim, 5_499, answering(swim, [2, 4, 5]));
    const nacks = all.filter((effect) => sent([effect]).some(({ message }) => message.type === "nack"));
    expect(nacks.map(({ atMs }) => atMs)).toEqual([5_400]);
    expect(sent(swim.received({ type: "ack", seqNo, payload: null }, at(3), 5_499))[0]?.to).toBe(2);
  });

  test("where little of the asker's interval is left, as with wan, a nack goes out the sooner", () => {
    const swim = acquainted(NAMES, { profile: PROFILES.wan });
    swim.received({ ...request, sourceAddr: at(2).addr, sourcePort: 7946 }, STRANGER, 5_000);
    const all = runTo(swim, 10_000, answering(swim, [2, 4, 5]));
    const nacks = all.filter((effect) => sent([effect]).some(({ message }) => message.type === "nack"));
    expect(nacks.map(({ atMs }) => atMs)).toEqual([6_600]);
  });

  test("so many at a time", () => {
    const swim = acquainted();
    for (let i = 0; i < 1_024; i++) swim.received(request, STRANGER, 5_000);
    expect(swim.received(request, STRANGER, 5_000)).toEqual([]);
  });
});

describe("TCP only", () => {
  const tcpOnly = (options = {}) => {
    const swim = swimWith(NAMES, options);
    const answer = (effect: Effect, nowMs: number) => {
      if (effect.do === "streamPing") swim.streamPinged(effect.seqNo, "answered", nowMs);
    };
    return { swim, answer, all: runTo(swim, 5_000, answer) };
  };

  test("members that answer over TCP and never over UDP are found out within a second", () => {
    const { swim, all } = tcpOnly();
    expect(swim.status()).toMatchObject({ tcpOnlyMembers: 4, healthScore: 0 });
    expect(of(all, "pushPull").length).toBeLessThanOrEqual(2 * NAMES.length + 1);
    expect(told(all)).toEqual([]);
  });

  test("they are asked over TCP at once, and quiet means quiet", () => {
    const { swim, answer } = tcpOnly();
    const all = runTo(swim, 25_000, answer);
    const over = (kind: Effect["do"]) => all.filter((effect) => effect.do === kind).map(({ atMs }) => atMs);
    expect(over("packet")).toEqual(expect.arrayContaining(over("streamPing")));
    expect(of(all, "streamPing").length).toBeLessThanOrEqual(21);
    expect(of(all, "streamPing").length).toBeGreaterThanOrEqual(19);
    expect(of(all, "pushPull")).toEqual([]);
  });

  test("news is exchanged with them soon, spread out, and not twice", () => {
    const { swim, answer } = tcpOnly();
    swim.received(aliveFrom("new", 9), at(9), 5_000);
    const all = runTo(swim, 6_500, answer).filter((effect) => effect.do === "pushPull");
    expect(all.map((effect) => effect.do === "pushPull" && effect.node).sort()).toEqual([...NAMES, "new"]);
    all.slice(1).forEach((effect, i) => void expect(effect.atMs - (all[i]?.atMs ?? 0)).toBeGreaterThanOrEqual(150));
  });

  test("an answer over UDP ends it", () => {
    const { swim } = tcpOnly();
    runTo(swim, 12_000, answering(swim, [2, 3, 4, 5]));
    expect(swim.status().tcpOnlyMembers).toBe(0);
  });

  test("one is dead after the least time when our own looks fail again and again", () => {
    const { swim, answer } = tcpOnly({ profile: PROFILES.lan });
    const all = runTo(swim, 20_000, (effect, nowMs) => {
      if (effect.do !== "streamPing" || effect.node !== "b") answer(effect, nowMs);
    });
    const when = (what: string) => all.find((effect) => told([effect])[0] === what)?.atMs ?? 0;
    expect(when("dead b") - when("state b")).toBeGreaterThanOrEqual(4_000);
    expect(when("dead b") - when("state b")).toBeLessThanOrEqual(6_000);
  });

  test.each([
    ["refused", 0],
    ["silent", 2],
  ] as const)("pings that a member's machine answers by %s: our own health score reaches %i", (outcome, score) => {
    const { swim, answer } = tcpOnly({ profile: PROFILES.lan });
    const scores: number[] = [];
    runTo(swim, 20_000, (effect, nowMs) => {
      if (effect.do === "streamPing" && effect.node === "b") swim.streamPinged(effect.seqNo, outcome, nowMs);
      else answer(effect, nowMs);
      scores.push(swim.status().healthScore);
    });
    expect([Math.max(...scores), swim.member("b")?.state]).toEqual([score, "dead"]);
  });

  test("who never answered at all is taken for one of them where the others are, and dies as soon", () => {
    const swim = swimWith(NAMES);
    const all = runTo(swim, 30_000, (effect, nowMs) => {
      if (effect.do === "streamPing" && effect.node !== "b") swim.streamPinged(effect.seqNo, "answered", nowMs);
    });
    const when = (what: string) => all.find((effect) => told([effect])[0] === what)?.atMs ?? 0;
    expect(when("dead b") - when("state b")).toBeGreaterThanOrEqual(4_000);
    expect(when("dead b") - when("state b")).toBeLessThanOrEqual(6_000);
    expect(told(all).filter((event) => event.startsWith("dead"))).toEqual(["dead b"]);
  });

  test("but not where others answer over UDP: these can confirm", () => {
    const swim = swimWith(NAMES);
    const all = runTo(swim, 40_000, answering(swim, [3, 4, 5]));
    const when = (what: string) => all.find((effect) => told([effect])[0] === what)?.atMs ?? 0;
    expect(when("dead b") - when("state b")).toBe(24_000);
    expect(swim.status().tcpOnlyMembers).toBe(0);
  });
});
