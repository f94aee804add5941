import { noticesOf } from "../../src/http/pages/notices.ts";
import { operations } from "../../src/http/pages/operations.ts";
import { repairSection } from "../../src/http/pages/repair-section.ts";
import type { MemberStatus, Status } from "../../src/http/status.ts";

type Repair = Status["repair"];

const REPAIR: Repair = {
  inventory: { ready: true, keys: 10 },
  repair: { waiting: 0, retries: 0, sent_bytes: 0 },
  quarantined: 0,
  quarantined_since_start: 0,
  reconcile: { passes: 2, parts: 0, partsDone: 0, missingCopies: 0, lastPassSeconds: 1 },
  scrub: {
    passes: 1,
    visited: 5,
    of: 10,
    corrupt: 0,
    unreadable: 0,
    bytes: 100,
    lastPassSeconds: 60,
    secondsLeft: 30,
    lastUnreadable: null,
  },
  trim: { waiting: 0, deleted: 0, refused: 0, blockedBecause: null, dryRun: false },
  drain: { state: "no", since: null, keys: 10, vouched: 0, lacking: 0, text: "not being emptied" },
};

function member(said: Partial<MemberStatus> = {}): MemberStatus {
  return {
    uuid: "b",
    base_url: "http://b",
    state: "alive",
    writeable: true,
    version: "0.1.0",
    replication: 2,
    max_replication: 3,
    points: 128,
    free_bytes: 1,
    incomplete: false,
    draining: false,
    state_since_seconds: 60,
    probe_ms: 1,
    ...said,
  };
}

interface Said {
  readonly node?: Partial<Status["node"]>;
  readonly repair?: { readonly [K in keyof Repair]?: Partial<Repair[K]> | number | null };
  readonly members?: readonly MemberStatus[];
  readonly disagreements?: readonly string[];
  readonly workers?: Status["workers"];
}

function statusOf({ node, repair = {}, members = [member()], disagreements = [], workers = [] }: Said = {}): Status {
  const merged = Object.fromEntries(
    Object.entries(REPAIR).map(([name, value]) => {
      const said = repair[name as keyof Repair];
      if (said === undefined) return [name, value];
      return [name, typeof said === "object" && said !== null ? { ...(value as object), ...said } : said];
    }),
  ) as Repair;
  return {
    node: {
      uuid: "self",
      base_url: "http://self",
      version: "0.1.0",
      backend: "disk",
      store: "s",
      started: "2026-01-01T00:00:00.000Z",
      writeable: true,
      read_only_because: null,
      free_bytes: 1,
      joined: true,
      incomplete: false,
      ...node,
    },
    replication: { wanted: 2, max: 3 },
    disagreements,
    members: [...members],
    cache: { blobs: 0, bytes: 0, max_bytes: 0, hits: 0, misses: 0 },
    s3: null,
    gossip: null,
    repair: merged,
    workers,
  };
}

const worker = (name: string, state: "paused" | "failing" | "waiting", lastError: string | null = null) => ({
  name,
  state,
  steps: 1,
  failures: 0,
  lastError,
  lastStepAtMs: null,
});

describe("what an operator reads first", () => {
  test("all is well, once that is known", () => {
    expect(noticesOf(statusOf())).toEqual([{ level: "good", text: expect.stringMatching(/^All is well/) }]);
    const [only] = noticesOf(statusOf({ repair: { reconcile: { missingCopies: null } } }));
    expect(only).toMatchObject({ level: "good", text: expect.stringContaining("has not ended yet") });
  });

  const cases: Array<[string, Said, string, RegExp]> = [
    ["copies are missing", { repair: { reconcile: { missingCopies: 1 } } }, "warn", /^1 copy .* missing/],
    ["damaged copies", { repair: { quarantined: 2 } }, "warn", /^2 damaged copies in quarantine/],
    [
      "unreadable ones",
      { repair: { scrub: { unreadable: 1, lastUnreadable: "k: EIO" } } },
      "bad",
      /check the disk.*EIO/,
    ],
    [
      "a dead member",
      { members: [member(), member({ uuid: "c", state: "dead" })] },
      "bad",
      /has not answered for 60 s/,
    ],
    ["too few writers", { members: [] }, "bad", /^Only 1 node takes new blobs, and 2/],
    ["settings that differ", { disagreements: ["http://b keeps 1"] }, "warn", /^http:\/\/b keeps 1.*No surplus/],
    ["a worker that fails", { workers: [worker("scrub", "failing", "EIO")] }, "bad", /"scrub" fails.*EIO/],
    ["a worker that is paused", { workers: [worker("trim", "paused")] }, "warn", /"trim" is paused/],
    ["no neighbor met", { node: { joined: false } }, "warn", /not met its neighbors/],
    ["read-only", { node: { read_only_because: "the disk is nearly full" } }, "warn", /the disk is nearly full/],
    ["being filled again", { node: { incomplete: true } }, "warn", /being filled again/],
    ["being emptied", { repair: { drain: { state: "draining", text: "3 of 9" } } }, "warn", /being emptied: 3 of 9/],
    ["emptied", { repair: { drain: { state: "done", text: "switch it off" } } }, "good", /^Emptied: switch it off/],
  ];
  test.each(cases)("%s", (_name, said, level, text) => {
    expect(noticesOf(statusOf(said))).toContainEqual({ level, text: expect.stringMatching(text) });
  });

  test("the worst comes first", () => {
    const said = { repair: { quarantined: 2 }, workers: [worker("scrub", "failing", "EIO")] };
    expect(noticesOf(statusOf(said)).map(({ level }) => level)).toEqual(["bad", "warn"]);
  });

  test("a Go member with settings of its own is no news: disagreements name what matters", () => {
    const go = member({ version: "unknown", replication: 1, max_replication: 4, points: 16 });
    expect(noticesOf(statusOf({ members: [member(), go] }))).toMatchObject([{ level: "good" }]);
  });
});

describe("the section about copies", () => {
  const text = (repair: NonNullable<Said["repair"]>) => repairSection(statusOf({ repair })).text;

  test("says how far the pass is, and when it ends", () => {
    expect(text({})).toContain("pass 2: 5 of 10 (50 %), about 30 s left; the last complete pass took 60 s");
  });

  test("says what holds trimming back, and that nothing is deleted in a dry run", () => {
    const shown = text({ trim: { waiting: 7, blockedBecause: "a reason", dryRun: true, refused: 2 } });
    expect(shown).toContain("7 copies may go");
    expect(shown).toContain("held back: a reason");
    expect(shown).toContain("nothing is deleted");
  });

  test("shows the progress of emptying", () => {
    const drain = { state: "draining" as const, vouched: 4, lacking: 1, text: "4 of 10 blobs" };
    expect(text({ drain })).toContain("4 of 10 blobs (40 %); 1 blob could not be handed over yet");
  });

  test("does not know before it has counted", () => {
    const shown = text({ inventory: { keys: null }, reconcile: { missingCopies: null }, quarantined: null });
    for (const words of ["being counted", "not known yet", "the disk does not say"]) expect(shown).toContain(words);
  });

  test("C45: escapes what comes from elsewhere", () => {
    expect(text({ scrub: { unreadable: 1, lastUnreadable: "<script>" } })).toContain("&lt;script&gt;");
  });
});

describe("the buttons", () => {
  test("pause what runs, resume what is paused", () => {
    const { text } = operations(statusOf({ workers: [worker("scrub", "waiting"), worker("trim", "paused")] }));
    expect(text).toContain('formaction="/workers/scrub/pause/"');
    expect(text).toContain('formaction="/workers/trim/resume/"');
  });

  test("empty a node, or keep it; Enter presses none", () => {
    expect(operations(statusOf()).text).toContain('<button formaction="/drain/">');
    const { text } = operations(statusOf({ repair: { drain: { state: "draining" } } }));
    expect(text).toContain('formaction="/drain/" name="cancel" value="true"');
    expect(text.indexOf("<button disabled hidden>")).toBe(text.indexOf("<button"));
  });

  test("forget those that are gone, and no others", () => {
    const members = (["alive", "suspect", "dead", "left"] as const).map((state) => member({ uuid: state, state }));
    const { text } = operations(statusOf({ members }));
    expect([...text.matchAll(/name="uuid" value="(\w+)"/g)].map((match) => match[1])).toEqual(["dead", "left"]);
  });
});
