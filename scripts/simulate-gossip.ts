import { parseArgs } from "node:util";
import { GossipSimulator } from "../test/support/gossip-simulator.ts";

/**
 * The long table of docs/gossip.md: `node scripts/simulate-gossip.ts [profile] [largest] [smallest] [--loss=40 --deaths=1 --joins=1]`. Simulated clock and
 * network, production state machine. With 500 nodes and much loss a row takes hours: there `--loss` picks one, and fewer deaths and joins are tried.
 * Each row says its seed; the same seed gives the same row.
 */

const SIZES = [3, 5, 10, 20, 50, 100, 500];
const LOSSES = [0, 0.1, 0.2, 0.3, 0.4];
/** Node-seconds to look for false deaths in, for each row. */
const QUIET_NODE_SECONDS = 12_000;
const DEATHS_NODES = 60;
const DEATH_MAX_MS = 180_000;
const JOIN_MAX_MS = 60_000;

const { values, positionals } = parseArgs({
  options: {
    loss: { type: "string" },
    deaths: { type: "string", default: "4" },
    joins: { type: "string", default: "3" },
  },
  allowPositionals: true,
});
const [profile = "lan", largest = "500", smallest = "1"] = positionals;
if (profile !== "lan" && profile !== "local" && profile !== "wan") throw new Error(`no profile ${profile}`);

const write = (line: string) => process.stdout.write(`${line}\n`);
write(
  "| nodes | loss % | death seen: median s | p99 s | all s | false deaths per hour | join known to all s | packets per node and s | TCP per node and s |",
);
write("|---|---|---|---|---|---|---|---|---|");
for (const size of SIZES.filter((count) => count <= Number(largest) && count >= Number(smallest)))
  for (const loss of LOSSES.filter((share) => values.loss === undefined || share === Number(values.loss) / 100))
    write(row(size, loss, size * 100 + loss * 10));

function row(size: number, loss: number, seed: number): string {
  const simulator = new GossipSimulator({ seed, profile: profile as "lan", loss });
  const nodes = simulator.ready(size);
  simulator.run(20_000);
  const quiet = quietTime(simulator, nodes.length);
  const joins = Array.from({ length: Number(values.joins) }, () => joinTime(simulator)).sort((a, b) => a - b);
  const deaths = deathTimes(simulator, Math.max(Number(values.deaths), Math.ceil(DEATHS_NODES / size)));
  const all = deaths.flat().sort((a, b) => a - b);
  const last = deaths.map((times) => Math.max(...times)).sort((a, b) => a - b);
  const cells = [
    size,
    Math.round(loss * 100),
    seconds(at(all, 0.5)),
    seconds(at(all, 0.99)),
    seconds(at(last, 0.5)),
    quiet.falsePerHour.toFixed(1),
    seconds(at(joins, 0.5)),
    quiet.packets.toFixed(1),
    quiet.streams.toFixed(2),
  ];
  return `| ${cells.join(" | ")} |`;
}

function quietTime(simulator: GossipSimulator, count: number) {
  const ms = Math.max(20_000, (QUIET_NODE_SECONDS / count) * 1_000);
  const sum = (what: "packets" | "streams") => simulator.nodes.reduce((total, node) => total + node[what], 0);
  const before = { packets: sum("packets"), streams: sum("streams"), seen: simulator.seen.length };
  simulator.run(ms);
  const dead = simulator.seen.slice(before.seen).filter(({ event }) => event.kind === "dead");
  // One wrong verdict that all hear of counts once.
  const verdicts = new Set(
    dead.map(({ event }) => (event.kind === "dead" ? `${event.member.name} ${event.member.incarnation}` : "")),
  );
  const nodeSeconds = (count * ms) / 1_000;
  return {
    falsePerHour: (verdicts.size * 3_600_000) / ms,
    packets: (sum("packets") - before.packets) / nodeSeconds,
    streams: (sum("streams") - before.streams) / nodeSeconds,
  };
}

function joinTime(simulator: GossipSimulator): number {
  const running = simulator.nodes.filter(({ state }) => state === "up");
  const node = simulator.add();
  const seed = running[Math.floor(running.length / 2)];
  if (seed) simulator.join(node, seed);
  const known = () => running.every(({ swim }) => swim.member(node.name) !== undefined);
  const ms = simulator.runUntil(known, JOIN_MAX_MS);
  simulator.run(20_000);
  return ms;
}

/** For each death, after how long each of the others saw it. A new node comes for each that died. */
function deathTimes(simulator: GossipSimulator, count: number): number[][] {
  return Array.from({ length: count }, () => {
    const [victim, ...others] = simulator.nodes.filter(({ state }) => state === "up");
    if (!victim) return [];
    const [from, beganMs] = [simulator.seen.length, simulator.nowMs];
    simulator.kill(victim);
    const isGone = (name: string | undefined) => name === "dead" || name === undefined;
    simulator.runUntil(() => others.every(({ swim }) => isGone(swim.member(victim.name)?.state)), DEATH_MAX_MS);
    const times = new Map<string, number>();
    for (const { by, atMs, event } of simulator.seen.slice(from))
      if (event.kind === "dead" && event.member.name === victim.name && !times.has(by)) times.set(by, atMs - beganMs);
    joinTime(simulator);
    return [...times.values()];
  });
}

function at(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
}

function seconds(ms: number): string {
  return Number.isFinite(ms) ? (ms / 1_000).toFixed(ms < 1_000 ? 2 : 1) : "—";
}
