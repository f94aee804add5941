import fc from "fast-check";
import { type KnownMember, Membership, type MembershipChange } from "../../src/cluster/membership.ts";
import { MEMBERS_MAX_COUNT } from "../../src/core/limits.ts";
import type { Announcement } from "../../src/peer/protocol.ts";
import { announcementOf } from "../support/announcements.ts";

const INTERVAL = 1_000;
const empty = () => new Membership(INTERVAL, [], 0);
const stateOf = (members: Membership, uuid: string) => members.get(uuid)?.state;

describe("silence", () => {
  test("for three intervals is suspect, for six dead, and a word brings back to life", () => {
    const members = empty();
    expect(members.heard(announcementOf("a"), 0)).toMatchObject({ uuid: "a", from: "unknown", to: "alive" });
    expect(members.tick(3 * INTERVAL)).toEqual([]);
    expect(members.tick(3 * INTERVAL + 1)).toMatchObject([{ uuid: "a", from: "alive", to: "suspect" }]);
    expect(members.tick(6 * INTERVAL)).toEqual([]);
    expect(members.tick(6 * INTERVAL + 1)).toMatchObject([{ from: "suspect", to: "dead" }]);
    expect(members.tick(100 * INTERVAL)).toEqual([]);
    const said = announcementOf("a", { sequence: 2 });
    expect(members.heard(said, 100 * INTERVAL)).toMatchObject({ from: "dead", to: "alive" });
    expect(members.tick(103 * INTERVAL)).toEqual([]);
  });

  test("is counted from the last word: what is said in time keeps alive for ever", () => {
    const members = empty();
    for (let at = 0; at < 100; at++) {
      members.heard(announcementOf("a", { sequence: at }), at * 3 * INTERVAL);
      expect(members.tick((at + 1) * 3 * INTERVAL)).toEqual([]);
    }
    expect(members.get("a")).toMatchObject({ state: "alive", stateSinceMs: 0, heardAtMs: 297 * INTERVAL });
  });
});

describe("who left on purpose", () => {
  test("stays left, however long", () => {
    const members = empty();
    members.heard(announcementOf("a"), 0);
    expect(members.heard(announcementOf("a", { sequence: 2, leaving: true }), 0)).toMatchObject({ to: "left" });
    expect(members.tick(1e9)).toEqual([]);
    expect(stateOf(members, "a")).toBe("left");
  });

  test("is not brought back by what its process sent before, only by another process", () => {
    const members = empty();
    members.heard(announcementOf("a", { sequence: 5, leaving: true }), 0);
    expect(members.heard(announcementOf("a", { sequence: 4 }), 1)).toBeNull();
    expect(members.heard(announcementOf("a", { sequence: 9 }), 2)).toBeNull();
    expect(stateOf(members, "a")).toBe("left");
    const restarted = announcementOf("a", { start_nonce: "other", started_ms: 2_000 });
    expect(members.heard(restarted, 3)).toMatchObject({ from: "left", to: "alive" });
  });

  test("and comes back with a clock that was set back is taken in at once", () => {
    const members = empty();
    members.heard(announcementOf("a", { leaving: true, started_ms: 5_000 }), 0);
    members.heard(announcementOf("a", { start_nonce: "other", started_ms: 1 }), 1);
    expect(stateOf(members, "a")).toBe("alive");
  });
});

describe("C31: late news", () => {
  test("of the same process never overwrite newer ones, in whatever order they come", () => {
    const news = fc.uniqueArray(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 10 });
    fc.assert(
      fc.property(news, (sequences) => {
        const members = empty();
        for (const sequence of sequences) {
          members.heard(announcementOf("a", { sequence, writeable: sequence % 2 === 0 }), 0);
        }
        const last = Math.max(...sequences);
        expect(members.get("a")?.announcement).toMatchObject({ sequence: last, writeable: last % 2 === 0 });
      }),
    );
  });

  test("are no sign of life", () => {
    const members = empty();
    members.heard(announcementOf("a", { sequence: 9 }), 0);
    members.heard(announcementOf("a", { sequence: 8 }), 5 * INTERVAL);
    expect(members.tick(5 * INTERVAL)).toMatchObject([{ to: "suspect" }]);
  });

  test("of a process that was replaced do not bring it back, nor does its farewell end the new one", () => {
    const members = empty();
    const before = announcementOf("a", { sequence: 7, base_url: "http://old" });
    const after = announcementOf("a", { start_nonce: "new", started_ms: 2_000, base_url: "http://new" });
    members.heard(before, 0);
    members.heard(after, 1);
    expect(members.heard({ ...before, sequence: 8 }, 2)).toBeNull();
    expect(members.heard({ ...before, sequence: 9, leaving: true }, 3)).toBeNull();
    expect(members.get("a")).toMatchObject({ state: "alive", announcement: { base_url: "http://new" } });
  });

  test("a wall clock that was set back keeps a restarted node out until the old process is dead, not longer", () => {
    const members = empty();
    members.heard(announcementOf("a", { started_ms: 5_000 }), 0);
    const restarted = announcementOf("a", { start_nonce: "new", started_ms: 1_000 });
    expect(members.heard(restarted, 1)).toBeNull();
    members.tick(7 * INTERVAL);
    expect(members.heard({ ...restarted, sequence: 2 }, 7 * INTERVAL)).toMatchObject({ from: "dead", to: "alive" });
  });

  test("of a Go node, which numbers nothing, are taken as they come", () => {
    const members = empty();
    const go = announcementOf("a", { start_nonce: "", started_ms: 0, sequence: 0 });
    members.heard(go, 0);
    members.heard({ ...go, writeable: false }, 1);
    expect(members.get("a")?.announcement.writeable).toBe(false);
    members.heard({ ...go, leaving: true }, 2);
    members.heard(go, 3);
    expect(stateOf(members, "a")).toBe("alive");
  });
});

describe("the store that a UUID is known with", () => {
  test("stays the old one until the node says that it knows of its new disk", () => {
    const members = empty();
    members.heard(announcementOf("a", { store: "old" }), 0);
    const wiped = announcementOf("a", { store: "new", start_nonce: "2", started_ms: 2_000 });
    members.heard(wiped, 1);
    expect(members.get("a")?.knownStore).toBe("old");
    expect(members.known()).toMatchObject([{ store: "old" }]);
    members.heard({ ...wiped, sequence: 2, incomplete: true }, 2);
    expect(members.get("a")?.knownStore).toBe("new");
    members.heard({ ...wiped, sequence: 3 }, 3);
    expect(members.get("a")?.knownStore).toBe("new");
  });
});

describe("members read from disk", () => {
  const known: KnownMember = { uuid: "a", baseUrl: "http://a", store: "s", points: 128, replication: 2 };

  test("are dead until they are heard, and known as they were", () => {
    const members = new Membership(INTERVAL, [known], 50);
    expect(members.get("a")).toMatchObject({ state: "dead", stateSinceMs: 50, knownStore: "s" });
    expect(members.tick(1e6)).toEqual([]);
    expect(members.known()).toEqual([known]);
    expect(members.heard(announcementOf("a"), 60)).toMatchObject({ from: "dead", to: "alive" });
  });

  test("an operator can have them forgotten", () => {
    const members = new Membership(INTERVAL, [known], 0);
    const { version } = members;
    expect(members.forget("a")).toBe(true);
    expect(members.forget("a")).toBe(false);
    expect(members.all()).toEqual([]);
    expect(members.version).toBeGreaterThan(version);
  });
});

test("there is a bound on members; those that are in may go on", () => {
  const members = empty();
  for (let i = 0; i < MEMBERS_MAX_COUNT; i++) members.heard(announcementOf(`n${i}`), 0);
  expect(() => members.heard(announcementOf("one-more"), 0)).toThrow(expect.objectContaining({ code: "OVERLOADED" }));
  members.heard(announcementOf("n0", { sequence: 2, writeable: false }), 1);
  expect(members.get("n0")?.announcement.writeable).toBe(false);
});

test("the version grows with what a view shows, and with nothing else", () => {
  const members = empty();
  members.heard(announcementOf("a"), 0);
  const grows = (said: Partial<Announcement>) => {
    const { version } = members;
    members.heard(announcementOf("a", { sequence: 99, ...said }), 1);
    return members.version > version;
  };
  expect(grows({})).toBe(false);
  expect(grows({ free_bytes: 5, version: "9", neighbors: [{ uuid: "b", base_url: "http://b" }] })).toBe(false);
  expect(grows({ writeable: false })).toBe(true);
  expect(grows({ writeable: false, points: 17 })).toBe(true);
  expect(grows({ writeable: false, points: 17, replication: 2 })).toBe(true);
  expect(grows({ writeable: false, points: 17, replication: 2, base_url: "http://moved" })).toBe(true);
  const { version } = members;
  members.tick(4 * INTERVAL);
  expect(members.version).toBeGreaterThan(version);
});

describe("whatever happens", () => {
  type Event = { readonly uuid: string; readonly afterMs: number; readonly process: number; readonly leaving: boolean };
  const event = fc.record({
    uuid: fc.constantFrom("a", "b"),
    afterMs: fc.integer({ min: 0, max: 4 * INTERVAL }),
    process: fc.integer({ min: 1, max: 3 }),
    leaving: fc.boolean(),
  });

  /** Says what happened, with a tick after each; answers the changes. */
  function play(
    members: Membership,
    events: readonly Event[],
    then: (changes: MembershipChange[], nowMs: number) => void,
  ) {
    let nowMs = 0;
    events.forEach(({ uuid, afterMs, process, leaving }, sequence) => {
      nowMs += afterMs;
      const said = { start_nonce: `p${process}`, started_ms: process, sequence, leaving };
      const heard = members.heard(announcementOf(uuid, said), nowMs);
      then(heard ? [heard] : [], nowMs);
      then(members.tick(nowMs), nowMs);
    });
  }

  test("each change begins where the one before it ended", () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 60 }), (events) => {
        const members = empty();
        const states = new Map<string, string>();
        play(members, events, (changes) => {
          for (const { uuid, from, to } of changes) {
            expect(from).toBe(states.get(uuid) ?? "unknown");
            expect(to).not.toBe(from);
            states.set(uuid, to);
          }
        });
        for (const { announcement, state } of members.all()) expect(states.get(announcement.uuid)).toBe(state);
      }),
    );
  });

  test("after a tick a member's state is what its silence says, unless it left or had died", () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 60 }), (events) => {
        const members = empty();
        play(members, events, (_changes, nowMs) => {
          members.tick(nowMs);
          for (const { state, heardAtMs } of members.all()) {
            const intervals = (nowMs - heardAtMs) / INTERVAL;
            if (state === "alive") expect(intervals).toBeLessThanOrEqual(3);
            if (state === "suspect") expect(intervals > 3 && intervals <= 6).toBe(true);
            if (state === "dead") expect(intervals).toBeGreaterThan(6);
          }
        });
      }),
    );
  });

  test("who left is alive again by another process only", () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 60 }), (events) => {
        const members = empty();
        const left = new Map<string, string>();
        play(members, events, () => {
          for (const { announcement, state } of members.all()) {
            const { uuid, start_nonce } = announcement;
            if (state === "left") left.set(uuid, start_nonce);
            else if (left.get(uuid) === start_nonce) throw new Error(`${start_nonce} of ${uuid} is ${state} again`);
            else left.delete(uuid);
          }
        });
      }),
    );
  });
});
