import { Forget } from "../../src/cluster/forget.ts";
import type { Member, MemberState } from "../../src/cluster/membership.ts";
import { CaskError } from "../../src/core/errors.ts";
import { silentLogger } from "../../src/core/log.ts";
import type { Announcement } from "../../src/peer/protocol.ts";
import { announcementOf } from "../support/announcements.ts";

function setUp() {
  const members = new Map<string, Member>();
  const forgotten: string[] = [];
  const calls: string[] = [];
  const deaf = new Map<string, Error>();
  const add = (uuid: string, state: MemberState, said: Partial<Announcement> = {}) =>
    members.set(uuid, {
      announcement: announcementOf(uuid, said),
      state,
      stateSinceMs: 0,
      isMet: true,
      knownStore: "",
    });
  const forget = new Forget({
    cluster: {
      uuid: "self",
      baseUrl: "http://self",
      member: (uuid) => members.get(uuid),
      members: () => [...members.values()],
      hasForgotten: (uuid) => forgotten.includes(uuid),
      forget: async (uuid) => {
        forgotten.push(uuid);
        return members.delete(uuid);
      },
    },
    client: {
      forget: async (baseUrl, uuid) => {
        calls.push(`${baseUrl} ${uuid}`);
        const trouble = deaf.get(baseUrl);
        if (trouble) throw trouble;
      },
    },
    log: silentLogger(),
  });
  return { forget, add, forgotten, calls, deaf };
}

test("each live member is told once; who could not be told is named, with the reason", async () => {
  const { forget, add, forgotten, calls, deaf } = setUp();
  add("gone", "dead");
  add("b", "alive");
  add("c", "suspect");
  add("d", "alive");
  add("away", "left");
  add("go", "alive", { version: "unknown", start_nonce: "" });
  deaf.set("http://d:8080", new CaskError("PEER_FAILED", "answered 400: gone is alive"));
  const { told, notTold } = await forget.forget("gone", false);
  expect(told).toEqual(["http://self", "http://b:8080", "http://c:8080"]);
  expect(notTold).toEqual(
    expect.arrayContaining([
      { base_url: "http://d:8080", reason: "answered 400: gone is alive" },
      { base_url: "http://away:8080", reason: "it is left: tell it when it is back" },
    ]),
  );
  expect(notTold).toHaveLength(2);
  expect(forgotten).toEqual(["gone"]);
  expect(calls.sort()).toEqual(["http://b:8080 gone", "http://c:8080 gone", "http://d:8080 gone"]);
});

test("asked again, the others are told again", async () => {
  const { forget, add, calls, deaf } = setUp();
  add("gone", "dead");
  add("b", "alive");
  deaf.set("http://b:8080", new Error("no answer"));
  expect((await forget.forget("gone", false)).notTold).toHaveLength(1);
  deaf.clear();
  expect((await forget.forget("gone", false)).notTold).toEqual([]);
  expect(calls).toHaveLength(2);
});

test("what another node passes on is not passed on again, and is remembered also where that member was never known", async () => {
  const { forget, add, forgotten, calls } = setUp();
  add("b", "alive");
  expect(await forget.forget("gone", true)).toEqual({ told: ["http://self"], notTold: [] });
  expect([forgotten, calls]).toEqual([["gone"], []]);
});

test.each([
  ["a live member", "b", /b is alive: stop it first/],
  ["nobody", "nobody", /no member with that UUID/],
  ["this node", "self", /this node itself/],
])("refused: %s", async (_name, uuid, message) => {
  const { forget, add, forgotten } = setUp();
  add("b", "alive");
  await expect(forget.forget(uuid, false)).rejects.toMatchObject({ code: "BAD_REQUEST" });
  await expect(forget.forget(uuid, false)).rejects.toThrow(message);
  expect(forgotten).toEqual([]);
});

test("a live member is not forgotten on another node's word either", async () => {
  const { forget, add, forgotten } = setUp();
  add("b", "suspect");
  await expect(forget.forget("b", true)).rejects.toMatchObject({ code: "BAD_REQUEST" });
  expect(forgotten).toEqual([]);
});
