import { spawnSync } from "node:child_process";
import { type NodeProcess, ProcessCluster, until } from "../support/processes.ts";

/** UDP between gossip ports on loopback dropped by the kernel; removed again in any case. */
class UdpBlock {
  private readonly ports: readonly string[];

  constructor(ports: readonly string[]) {
    this.ports = ports;
    this.change("-I");
  }

  lift(): void {
    this.change("-D");
  }

  private change(how: "-I" | "-D"): void {
    for (const port of this.ports) {
      const rule = ["-w", how, "INPUT", "-i", "lo", "-p", "udp", "--dport", port, "-j", "DROP"];
      const { status, stderr } = spawnSync("iptables", rule, { encoding: "utf8" });
      if (status !== 0) throw new Error(`iptables: ${stderr}`);
    }
  }
}

const probe = process.getuid?.() === 0 ? spawnSync("iptables", ["-w", "-L", "INPUT", "-n"]).status === 0 : false;
if (!probe) console.log("tcp-only.test: skipped, needs root and iptables to drop UDP");
const withIptables = probe ? test : test.skip;

withIptables(
  "where UDP is blocked all stay alive; a join is known to all in 3 s, a leave in 3 s, a death in 10 s",
  async () => {
    const cluster = await ProcessCluster.prepare(4, { CASK_GOSSIP_PROFILE: "lan", CASK_REPLICATION: "2" });
    const nodes = cluster.nodes as [NodeProcess, NodeProcess, NodeProcess, NodeProcess];
    const block = new UdpBlock(nodes.map((node) => node.settings["CASK_GOSSIP_PORT"] as string));
    const seenBy = async (watchers: readonly NodeProcess[], uuid: string, state: string, withinMs: number) => {
      const startedMs = performance.now();
      const isSeen = async (node: NodeProcess) =>
        (await node.status()).members.some((member) => member.uuid === uuid && member.state === state);
      await until(`${uuid} is ${state} for all`, async () => (await Promise.all(watchers.map(isSeen))).every(Boolean));
      const ms = Math.round(performance.now() - startedMs);
      expect([state, ms < withinMs, ms]).toEqual([state, true, ms]);
      return ms;
    };
    const staysAlive = async (watched: readonly NodeProcess[], ms: number) => {
      const untilMs = performance.now() + ms;
      await until(
        "time has passed",
        async () => {
          for (const node of watched) {
            const { members } = await node.status();
            expect(members.map(({ state }) => state)).toEqual(watched.slice(1).map(() => "alive"));
          }
          return performance.now() > untilMs;
        },
        ms + 10_000,
      );
    };
    try {
      const [first, second, third, fourth] = nodes;
      for (const node of [first, second, third]) node.start();
      await cluster.untilMet([first, second, third]);
      // Longer than the least suspicion: who is only reachable over TCP is not taken for dead.
      await staysAlive([first, second, third], 12_000);
      fourth.start();
      await until("it listens", async () => (await fetch(`${fourth.url}/healthz`)).ok);
      const joinMs = await seenBy([first, second, third], "node3", "alive", 3_000);
      await staysAlive(nodes, 4_000);
      await fourth.kill();
      const deathMs = await seenBy([first, second, third], "node3", "dead", 10_000);
      fourth.start();
      await seenBy([first, second, third], "node3", "alive", 5_000);
      await fourth.kill(); // before anybody could find out how to reach it
      const earlyDeathMs = await seenBy([first, second, third], "node3", "dead", 10_000);
      const leaving = third.stop();
      const leaveMs = await seenBy([first, second], "node2", "left", 3_000);
      expect(await leaving).toBe(0);
      console.log(
        `without UDP: a join was known to all after ${joinMs} ms, a death ${deathMs} ms, one just after joining ${earlyDeathMs} ms, a leave ${leaveMs} ms`,
      );
    } finally {
      block.lift();
      await cluster.stop();
    }
  },
  90_000,
);
