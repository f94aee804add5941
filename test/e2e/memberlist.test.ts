import { setTimeout as sleep } from "node:timers/promises";
import { deriveGossipKey } from "../../src/gossip/keyring.ts";
import { MemberlistPeer, whyNoMemberlist } from "../support/memberlist-peer.ts";
import { type NodeProcess, ProcessCluster, SECRET, type Status, until } from "../support/processes.ts";

const reason = whyNoMemberlist();
if (reason) console.log(`memberlist.test: skipped, ${reason}`);
const withGo = reason ? describe.skip : describe;

const KINDS = {
  "in clear, as Go Cask": { settings: { CASK_GOSSIP_ENCRYPTION: "false", CASK_VNODES: "16" }, flags: {} },
  encrypted: { settings: {}, flags: { key: deriveGossipKey(SECRET).toString("hex") } },
} as const;
const CASES = Object.entries(KINDS).flatMap(([name, kind]) =>
  (["local", "lan", "wan"] as const).map((profile) => ({ name, profile, ...kind })),
);

/** A death takes half a minute at the least with the timing of wan: its formula is tested elsewhere. */
const whereDeathsAreQuick = (profile: string) => (profile === "wan" ? test.skip : test);

/** Metadata as a Go Cask node has them. */
function caskMeta(uuid: string, writeable = true): string {
  return JSON.stringify({ uuid, base_url: "http://127.0.0.1:1", writeable, secret: SECRET, neighbors: null });
}

withGo.each(CASES)("with two nodes of Go's memberlist, $name, timing of $profile", ({ profile, settings, flags }) => {
  let cluster: ProcessCluster;
  let ours: NodeProcess;
  let go: [MemberlistPeer, MemberlistPeer];

  beforeAll(async () => {
    cluster = await ProcessCluster.prepare(1, {
      ...settings,
      CASK_GOSSIP_PROFILE: profile,
      CASK_CLUSTER_SECRET: SECRET,
      CASK_REPLICATION: "1",
    });
    ours = cluster.node(0);
    const peer = (name: string, more: Record<string, string> = {}) =>
      MemberlistPeer.start({ name, profile, meta: caskMeta(name), ...flags, ...more });
    const first = await peer("go-1");
    // One is our seed, for the other one we are.
    ours.start({ CASK_NEIGHBORS: first.address as string });
    await until("we have joined", async () => (await ours.status()).node.joined);
    const address = (await ours.status()).gossip?.address as string;
    go = [first, await peer("go-2", { join: address })];
  }, 30_000);
  afterAll(async () => {
    await Promise.all(go.map((peer) => peer.kill()));
    await cluster.stop();
  });

  const stateOf = async (uuid: string) => (await ours.status()).members.find((member) => member.uuid === uuid)?.state;
  const stateIs = (uuid: string, state: string) => async () => (await stateOf(uuid)) === state;

  test("all know all, by joining in either direction", async () => {
    for (const uuid of ["go-1", "go-2"]) await until(`we see ${uuid}`, stateIs(uuid, "alive"));
    for (const peer of go) {
      await until("Go sees all", async () => {
        const members = await peer.members();
        return members.length === 3 && members.every(({ state }) => state === "alive");
      });
    }
    const own = (await go[0].members()).find(({ name }) => name === "node0");
    expect(JSON.parse(own?.meta ?? "")).toMatchObject({ uuid: "node0", base_url: ours.url, writeable: true });
  });

  test("news of metadata travel both ways", async () => {
    go[0].command(`meta ${caskMeta("go-1", false)}`);
    await until("we know", async () => {
      const { members } = await ours.status();
      return members.some(({ uuid, writeable }) => uuid === "go-1" && !writeable);
    });
  });

  test("C29: a pause of 3 s is suspected at most, and refuted: on either side", async () => {
    ours.signal("SIGSTOP");
    await sleep(3_000);
    ours.signal("SIGCONT");
    // Not at once: a Go node that is paused while it suspects us wakes up with its time run out.
    for (const peer of go) await until("Go sees us", async () => (await peer.stateOf("node0")) === "alive");
    go[1].signal("SIGSTOP");
    await sleep(3_000);
    go[1].signal("SIGCONT");
    await until("we see go-2", stateIs("go-2", "alive"));
    for (const peer of go) await until("Go sees us", async () => (await peer.stateOf("node0")) === "alive");
    expect(ours.output).not.toMatch(/go-2 .* is dead/);
    for (const peer of go) expect(peer.saw("leave", "node0")).toBe(false);
  }, 30_000);

  const look = async () => {
    const { gossip, members } = await ours.status();
    const { healthScore, messagesIn, messagesOut } = gossip as NonNullable<Status["gossip"]>;
    const count = (amounts: typeof messagesIn, type: string) => amounts[type]?.count ?? 0;
    return {
      scores: `${healthScore},${await go[0].health()}`,
      asked: count(messagesOut, "indirectPing"),
      nacked: count(messagesIn, "nack"),
      nacks: count(messagesOut, "nack"),
      isSuspect: members.some(({ uuid, state }) => uuid === "go-2" && state === "suspect"),
    };
  };

  /** go-2 is silent until a nack went each way. Answers for which part of the time, once it was suspected, both who asked were well. */
  const shareOfHealth = async () => {
    await until("all are well", async () => (await look()).scores === "0,0", 40_000);
    const before = await look();
    go[1].signal("SIGSTOP");
    const scores: string[] = [];
    let answeredMs = Number.POSITIVE_INFINITY;
    const isOver = async () => {
      const { nacked, asked, nacks, scores: now, isSuspect } = await look();
      if (isSuspect) scores.push(now);
      // Of Go's, one to each question, as nobody else is there to answer it; and of ours.
      if (nacked > before.nacked && nacked - before.nacked >= asked - before.asked && nacks > before.nacks)
        answeredMs = Math.min(answeredMs, performance.now());
      return performance.now() > answeredMs + 1_000;
    };
    await until("a nack went each way", isOver, 40_000);
    go[1].signal("SIGCONT");
    await until("we see go-2", stateIs("go-2", "alive"));
    for (const peer of go) await until("Go sees us", async () => (await peer.stateOf("node0")) === "alive");
    await until("Go sees go-2", async () => (await go[0].stateOf("go-2")) === "alive");
    return scores.filter((each) => each === "0,0").length / scores.length;
  };

  test("nacks, both ways: who finds a member silent does not believe that it is unwell itself", async () => {
    let share = 0;
    // Again if need be: a process that was late for a moment is right to believe so.
    for (let times = 0; times < 3 && !(share > 0.8); times++) share = await shareOfHealth();
    expect(share).toBeGreaterThan(0.8);
  }, 240_000);

  whereDeathsAreQuick(profile)(
    "a killed Go node is dead within the time of its formula, and is back when it rejoins with its name",
    async () => {
      const port = (go[1].address as string).split(":")[1] as string;
      await go[1].kill();
      await until("we know", stateIs("go-2", "dead"), 20_000);
      const join = (await ours.status()).gossip?.address as string;
      go[1] = await MemberlistPeer.start({
        name: "go-2",
        profile,
        meta: caskMeta("go-2"),
        port,
        join,
        ...flags,
      });
      await until("it is back", stateIs("go-2", "alive"));
    },
    40_000,
  );

  test("a Go node that leaves is left", async () => {
    go[1].command("leave");
    await until("we know", stateIs("go-2", "left"), 5_000);
  });

  whereDeathsAreQuick(profile)(
    "we are dead when killed, back when started again",
    async () => {
      const again = { CASK_NEIGHBORS: go[0].address as string };
      await ours.kill();
      // The longest suspicion: nobody is left who could confirm it.
      await until("Go knows", async () => (await go[0].stateOf("node0")) === "dead", 30_000);
      ours.start(again);
      await until("we are back", async () => (await go[0].stateOf("node0")) === "alive");
    },
    80_000,
  );

  test("we are left when stopped", async () => {
    const stoppedMs = performance.now();
    expect(await ours.stop()).toBe(0);
    expect(await go[0].stateOf("node0")).toBe("left");
    expect(performance.now() - stoppedMs).toBeLessThan(3_000);
  });
});
