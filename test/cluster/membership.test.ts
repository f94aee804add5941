import fc from "fast-check";
import { type KnownMember, type MemberState, Membership } from "../../src/cluster/membership.ts";
import { MEMBERS_MAX_COUNT } from "../../src/core/limits.ts";
import type { Announcement } from "../../src/peer/protocol.ts";
import { announcementOf } from "../support/announcements.ts";

const empty = () => new Membership([], 0);

test("a member is as gossip last saw it, and since when", () => {
  const members = empty();
  expect(members.observed(announcementOf("a"), "alive", 5)).toMatchObject({ uuid: "a", from: "unknown", to: "alive" });
  expect(members.observed(announcementOf("a", { writeable: false }), "alive", 6)).toBeNull();
  expect(members.get("a")).toMatchObject({ state: "alive", stateSinceMs: 5, announcement: { writeable: false } });
  expect(members.observed(announcementOf("a"), "suspect", 7)).toMatchObject({ from: "alive", to: "suspect" });
  expect(members.observed(announcementOf("a"), "dead", 8)).toMatchObject({ from: "suspect", to: "dead" });
  expect(members.get("a")).toMatchObject({ state: "dead", stateSinceMs: 8 });
});

test("the dead and those that left stay on the list: a 404 needs their word, too", () => {
  const members = empty();
  members.observed(announcementOf("a"), "dead", 0);
  members.observed(announcementOf("b"), "left", 0);
  expect(members.known().map(({ uuid }) => uuid)).toEqual(["a", "b"]);
});

describe("the store that a UUID is known with", () => {
  test("stays the old one until the node says that it knows of its new disk", () => {
    const members = empty();
    members.observed(announcementOf("a", { store: "old" }), "alive", 0);
    const wiped = announcementOf("a", { store: "new", start_nonce: "2", started_ms: 2_000 });
    members.observed(wiped, "alive", 1);
    expect(members.get("a")?.knownStore).toBe("old");
    expect(members.known()).toMatchObject([{ store: "old" }]);
    members.observed({ ...wiped, incomplete: true }, "alive", 2);
    expect(members.get("a")?.knownStore).toBe("new");
    members.observed(wiped, "alive", 3);
    expect(members.get("a")?.knownStore).toBe("new");
  });
});

describe("members read from disk", () => {
  const known: KnownMember = { uuid: "a", baseUrl: "http://a", store: "s", points: 128, replication: 2 };

  test("are dead until gossip sees them, and known as they were", () => {
    const members = new Membership([known], 50);
    expect(members.get("a")).toMatchObject({ state: "dead", stateSinceMs: 50, knownStore: "s" });
    expect(members.known()).toEqual([known]);
    expect(members.observed(announcementOf("a"), "alive", 60)).toMatchObject({ from: "unknown", to: "alive" });
  });

  test("an operator can have them forgotten", () => {
    const members = new Membership([known], 0);
    const { version } = members;
    expect(members.forget("a")).toBe(true);
    expect(members.forget("a")).toBe(false);
    expect(members.forgotten()).toEqual(["a"]);
    expect(members.all()).toEqual([]);
    expect(members.version).toBeGreaterThan(version);
  });
});

test("there is a bound on members; those that are in may go on", () => {
  const members = empty();
  for (let i = 0; i < MEMBERS_MAX_COUNT; i++) members.observed(announcementOf(`n${i}`), "alive", 0);
  const oneMore = () => members.observed(announcementOf("one-more"), "alive", 0);
  expect(oneMore).toThrow(expect.objectContaining({ code: "OVERLOADED" }));
  members.observed(announcementOf("n0", { writeable: false }), "alive", 1);
  expect(members.get("n0")?.announcement.writeable).toBe(false);
});

test("the version grows with what a view shows, and with nothing else", () => {
  const members = empty();
  members.observed(announcementOf("a"), "alive", 0);
  const grows = (said: Partial<Announcement>, state: MemberState = "alive") => {
    const { version } = members;
    members.observed(announcementOf("a", said), state, 1);
    return members.version > version;
  };
  expect(grows({})).toBe(false);
  expect(grows({ free_bytes: 5, version: "9", neighbors: [{ uuid: "b", base_url: "http://b", replication: 3 }] })).toBe(
    false,
  );
  expect(grows({ writeable: false })).toBe(true);
  expect(grows({ writeable: false, points: 17 })).toBe(true);
  expect(grows({ writeable: false, points: 17, replication: 2 })).toBe(true);
  const moved = { writeable: false, points: 17, replication: 2, base_url: "http://moved" };
  expect(grows(moved)).toBe(true);
  expect(grows(moved, "suspect")).toBe(true);
});

test("whatever gossip tells, each change begins where the one before it ended", () => {
  const event = fc.record({
    uuid: fc.constantFrom("a", "b"),
    state: fc.constantFrom<MemberState>("alive", "suspect", "dead", "left"),
  });
  fc.assert(
    fc.property(fc.array(event, { maxLength: 60 }), (events) => {
      const members = empty();
      const states = new Map<string, string>();
      for (const { uuid, state } of events) {
        const change = members.observed(announcementOf(uuid), state, 0);
        expect(change !== null).toBe(states.get(uuid) !== state);
        if (change) expect(change).toMatchObject({ from: states.get(uuid) ?? "unknown", to: state });
        states.set(uuid, state);
      }
    }),
  );
});
