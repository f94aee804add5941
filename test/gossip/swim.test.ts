import { readFileSync } from "node:fs";
import fc from "fast-check";
import { MEMBERS_MAX_COUNT } from "../../src/core/limits.ts";
import { addrOf, sameEndpoint } from "../../src/gossip/endpoint.ts";
import { type PacketMessage, Refused, VSN } from "../../src/gossip/messages.ts";
import type { GossipMember } from "../../src/gossip/swim-contract.ts";
import { openMessages, PLAIN_WIRE } from "../support/gossip-vectors.ts";
import {
  aliveFrom,
  answering,
  at,
  entry,
  newSwim,
  runTo,
  STRANGER,
  sent,
  swimWith,
  told,
} from "../support/swim-under-test.ts";

interface Malformed {
  name: string;
  via: string;
  hex?: string;
  receiver?: object;
  nodesBefore?: { name: string; addr: string; port: number; incarnation: number; metaBytes: number; state: "alive" }[];
  result: { nodes?: { name: string; state: string; incarnation: number }[]; gossips?: string[]; sent?: object[] };
}

const fixture = JSON.parse(readFileSync(new URL("../fixtures/memberlist.json", import.meta.url), "utf8"));
const malformed = (fixture.malformed as Malformed[]).filter(
  ({ via, hex, receiver, result, nodesBefore }) =>
    via === "packet" && hex && !receiver && (result.nodes || result.gossips || nodesBefore),
);

/** Where we differ, on purpose: what we refuse would end a Go Cask process, or could never be a member. */
const REFUSED: Record<string, string> = {
  "alive, Vsn of 3 bytes": "version",
  "alive, Vsn of 1 byte": "version",
  "alive, Vsn nil": "version",
  "alive, no address": "address",
  "alive, address of 3 bytes": "address",
  "alive, metadata of 600 bytes": "metadata",
  "alive, empty name": "name",
  "alive about the receiver itself, incarnation 2^32-1": "incarnation",
};

describe("what memberlist does with odd messages", () => {
  test.each(malformed.map((it) => [it.name, it] as const))("%s", (name, { hex, nodesBefore = [], result }) => {
    const swim = newSwim({ name: "node-a", endpoint: { addr: addrOf("127.0.0.1") ?? new Uint8Array(), port: 7946 } });
    runTo(swim, 2_000); // until the own announcement is out
    for (const before of nodesBefore)
      if (before.name !== "node-a")
        swim.received(
          {
            type: "alive",
            node: before.name,
            addr: Buffer.from(before.addr, "hex"),
            port: before.port,
            meta: Buffer.alloc(before.metaBytes, "m"),
            vsn: VSN,
            incarnation: before.incarnation,
          },
          STRANGER,
          2_000,
        );
    const membersBefore = swim.members();
    const messages = plainMessages(Buffer.from(hex ?? "", "hex"));
    for (const message of messages) swim.received(message, STRANGER, 2_000);
    if (REFUSED[name]) {
      if (messages.length > 0) expect(swim.status().refused).toEqual({ [REFUSED[name]]: 1 });
      expect(swim.members()).toEqual(membersBefore);
      return;
    }
    for (const node of result.nodes ?? [])
      expect(swim.member(node.name)).toMatchObject({ state: node.state, incarnation: node.incarnation });
    if (!result.nodes) expect(swim.members()).toEqual(membersBefore);
    // The member that we know already is news too: look for what is said after it.
    const queued = broadcasts(swim);
    for (const hexOf of result.gossips ?? []) expect(queued).toContain(hexOf);
  });

  test("are all looked at", () => {
    expect(malformed.length).toBeGreaterThanOrEqual(20);
    expect(Object.keys(REFUSED).filter((name) => !malformed.some((it) => it.name === name))).toEqual([]);
  });
});

/** None where the decoder refuses already. */
function plainMessages(packet: Buffer): PacketMessage[] {
  try {
    return openMessages(PLAIN_WIRE, packet);
  } catch (error) {
    if (error instanceof Refused) return [];
    throw error;
  }
}

/** What an ack to a stranger carries besides. */
function broadcasts(swim: ReturnType<typeof newSwim>): string[] {
  const effects = swim.received({ type: "ping", seqNo: 1, node: "" }, STRANGER, 2_000);
  return effects.flatMap((effect) =>
    effect.do === "packet" ? effect.parts.map((part) => Buffer.from(part).toString("hex")) : [],
  );
}

test("C26: whatever comes first, before anything else happened, is taken", () => {
  const messages: PacketMessage[] = [
    { type: "ack", seqNo: 1, payload: null },
    { type: "nack", seqNo: 1 },
    { type: "ping", seqNo: 1, node: "me" },
    { type: "indirectPing", seqNo: 1, node: "b", target: at(2).addr, port: 1, nack: true },
    { type: "suspect", node: "me", incarnation: 1, from: "b" },
    { type: "dead", node: "b", incarnation: 1, from: "b" },
    aliveFrom("b", 2),
    { type: "user", bytes: Buffer.from("hi") },
  ];
  for (const message of messages) expect(() => newSwim().received(message, STRANGER, 0)).not.toThrow();
  expect(() => newSwim().streamPinged(1, "silent", 0)).not.toThrow();
  expect(() => newSwim().lagged(1_000, 0)).not.toThrow();
  expect(newSwim().received({ type: "user", bytes: Buffer.from("hi") }, STRANGER, 0)).toEqual([
    { do: "user", bytes: Buffer.from("hi") },
  ]);
});

describe("C25: halves that parted and forgot each other", () => {
  const state = (swim: ReturnType<typeof newSwim>) =>
    ({ type: "pushPull", join: true, nodes: swim.localState(), userState: new Uint8Array() }) as const;

  test("are one again by one exchange between any two", () => {
    const [left, right] = [swimWith(["b", "c"]), newSwim({ name: "x", endpoint: at(20) })];
    right.received(aliveFrom("y", 21), at(21), 0);
    const fromLeft = state(left);
    expect(told(left.merge(state(right), 100_000))).toEqual(expect.arrayContaining(["joined x", "joined y"]));
    expect(told(right.merge(fromLeft, 100_000))).toEqual(expect.arrayContaining(["joined me", "joined b", "joined c"]));
  });

  test("and who still takes the others for dead is told by them that they live", () => {
    const left = swimWith(["x"]);
    const right = newSwim({ name: "x", endpoint: at(2) });
    left.received({ type: "dead", node: "x", incarnation: 1, from: "me" }, at(1), 1);
    right.merge(state(left), 2);
    expect(right.member("x")).toMatchObject({ state: "alive", incarnation: 2 });
    left.merge(state(right), 3);
    expect(left.member("x")).toMatchObject({ state: "alive", incarnation: 2 });
  });

  test("the recently dead are called on, so a short partition heals without seeds", () => {
    const swim = swimWith(["b", "c"]);
    swim.received({ type: "dead", node: "b", incarnation: 1, from: "c" }, at(3), 0);
    const all = runTo(swim, 12_000, answering(swim, [3]));
    expect(all.some((effect) => effect.do === "pushPull" && effect.node === "b")).toBe(true);
  });
});

test("a restart under the same name, with a lower incarnation, is refuted back into the cluster", () => {
  for (const was of ["alive", "suspect", "dead", "left"] as const) {
    const swim = newSwim();
    const nodes = [
      entry("me", 1, { incarnation: 7, state: was, meta: Buffer.from("of the former life") }),
      entry("b", 2),
    ];
    swim.merge({ type: "pushPull", join: true, nodes, userState: new Uint8Array() }, 10);
    expect(swim.member("me")).toMatchObject({ state: "alive", incarnation: 8 });
  }
});

describe("leaving", () => {
  test("tells some at once, over both ways, and is over when it was said often enough", () => {
    const swim = swimWith(["b", "c", "d"]);
    runTo(swim, 3_000, answering(swim, [2, 3, 4]));
    const effects = swim.leave(3_000);
    const leave = { type: "dead", node: "me", incarnation: 1, from: "me" };
    expect(sent(effects)).toHaveLength(3);
    for (const { message } of sent(effects)) expect(message).toEqual(leave);
    expect(effects.filter((effect) => effect.do === "pushPull")).toHaveLength(3);
    // Said often enough after one more interval; the exchanges take a little longer.
    runTo(swim, 3_250);
    expect(swim.hasLeft()).toBe(false);
    runTo(swim, 3_500);
    expect(swim.hasLeft()).toBe(true);
  });

  test("alone, there is nobody to tell", () => {
    const swim = newSwim();
    swim.leave(10);
    expect(swim.hasLeft()).toBe(true);
  });

  test("what is said of us afterwards does not bring us back, and pings are still answered", () => {
    const swim = swimWith(["b"]);
    swim.leave(10);
    swim.received(aliveFrom("me", 1, 9, { meta: Buffer.from("x") }), at(2), 11);
    swim.received({ type: "suspect", node: "me", incarnation: 9, from: "b" }, at(2), 12);
    swim.updateMeta(Buffer.from("x"), 13);
    expect(swim.member("me")).toMatchObject({ state: "left", incarnation: 1 });
    expect(swim.localState()[0]).toMatchObject({ name: "me", state: "left" });
    const [ack] = sent(swim.received({ type: "ping", seqNo: 3, node: "me" }, at(2), 14));
    expect(ack?.message).toMatchObject({ type: "ack", seqNo: 3 });
  });
});

test("a leave without time for exchanges is not over before it was said often enough", () => {
  const swim = swimWith(["b", "c", "d", "e", "f", "g", "h", "i", "j", "k"]);
  swim.leave(0);
  runTo(swim, 350);
  expect(swim.hasLeft()).toBe(false);
  runTo(swim, 1_000);
  expect(swim.hasLeft()).toBe(true);
});

describe("gossip", () => {
  test("goes to suspects and the recently dead, not to who left", () => {
    const swim = swimWith(["b", "c", "d"]);
    runTo(swim, 2_000, answering(swim, [2, 3, 4]));
    swim.received({ type: "suspect", node: "b", incarnation: 1, from: "x" }, STRANGER, 2_000);
    swim.received({ type: "dead", node: "c", incarnation: 1, from: "x" }, STRANGER, 2_000);
    swim.received({ type: "dead", node: "d", incarnation: 1, from: "d" }, STRANGER, 2_000);
    const packets = runTo(swim, 2_050).filter((effect) => effect.do === "packet" && effect.parts.length === 3);
    expect(packets.map((effect) => effect.do === "packet" && effect.to.addr.at(-1)).sort()).toEqual([2, 3]);
  });

  test("tells nobody that it lives itself", () => {
    const swim = swimWith(["b", "c"]);
    const told = sent(runTo(swim, 3_000, answering(swim, [2, 3]))).filter(({ message }) => message.type === "alive");
    expect(told.length).toBeGreaterThan(4);
    expect(told.filter(({ to, message }) => message.type === "alive" && to === message.addr?.at(-1))).toEqual([]);
  });

  test("is quiet when there is no news, and when there is nobody to hear it", () => {
    for (const swim of [swimWith(["b"]), newSwim()]) {
      runTo(swim, 5_000, answering(swim, [2]));
      expect(swim.status().queuedBroadcasts).toBe(0);
    }
  });
});

test("new metadata goes out under the next incarnation", () => {
  const swim = swimWith(["b"]);
  expect(told(swim.updateMeta(Buffer.from("new"), 5))).toEqual(["updated me"]);
  const said = sent(runTo(swim, 400)).find(({ message }) => message.type === "alive" && message.node === "me");
  expect(said?.message).toMatchObject({ incarnation: 2, meta: expect.objectContaining({ length: 3 }) });
});

describe("any sequence of messages", () => {
  const name = fc.constantFrom("me", "b", "c", "d");
  const incarnation = fc.oneof(fc.integer({ min: 0, max: 6 }), fc.constantFrom(2 ** 32 - 1, 2 ** 32 - 2 ** 16));
  const last = fc.integer({ min: 1, max: 5 });
  const claim = fc.record({ type: fc.constantFrom("suspect", "dead"), node: name, incarnation, from: name });
  const alive = fc.tuple(name, last, incarnation).map(([node, to, number]) => aliveFrom(node, to, number));
  const nodes = fc.array(
    fc
      .tuple(name, last, incarnation, fc.constantFrom("alive", "suspect", "dead", "left"))
      .map(([node, to, number, state]) => entry(node, to, { incarnation: number, state })),
    { maxLength: 4 },
  );
  const step = fc.oneof(
    claim.map((message) => ({ message: message as PacketMessage })),
    alive.map((message) => ({ message: message as PacketMessage })),
    fc
      .integer({ max: 2 ** 32 - 1, min: 0 })
      .map((seqNo) => ({ message: { type: "ack", seqNo, payload: null } as PacketMessage })),
    nodes.map((merged) => ({ merged })),
    fc.integer({ min: 0, max: 9_000 }).map((waitMs) => ({ waitMs })),
    fc.constant({ meta: Buffer.from("m") }),
  );

  test("leaves us alive, incarnations never lower while a member is known, and everything bounded", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), fc.boolean(), (steps, leaves) => {
        const swim = newSwim();
        let nowMs = 0;
        let before = new Map<string, GossipMember>();
        for (const it of steps) {
          if ("message" in it) swim.received(it.message, at(3), nowMs);
          else if ("merged" in it)
            swim.merge({ type: "pushPull", join: false, nodes: it.merged, userState: new Uint8Array() }, nowMs);
          else if ("meta" in it) swim.updateMeta(it.meta, nowMs);
          else {
            runTo(swim, nowMs + it.waitMs);
            nowMs += it.waitMs;
          }
          const members = swim.members();
          expect(swim.member("me")?.state).toBe("alive");
          expect(new Set(members.map((member) => member.name)).size).toBe(members.length);
          expect(members.length).toBeLessThanOrEqual(Math.min(4, MEMBERS_MAX_COUNT));
          expect(swim.status().queuedBroadcasts).toBeLessThanOrEqual(4);
          expect(swim.nextDueMs()).toBeGreaterThanOrEqual(0);
          for (const member of members) {
            const was = before.get(member.name);
            // Who left may come back elsewhere under any incarnation: memberlist takes it at once.
            if (was && sameEndpoint(was.endpoint, member.endpoint) && was.state !== "left")
              expect(member.incarnation).toBeGreaterThanOrEqual(was.incarnation);
          }
          before = new Map(members.map((member) => [member.name, member]));
        }
        if (leaves) {
          swim.leave(nowMs);
          expect(swim.member("me")?.state).toBe("left");
        }
      }),
      { numRuns: 300 },
    );
  });
});
