/**
 * `npm run mixed-cluster [-- --minutes=30 --loss=0.1 --profile=local]`: three nodes of ours and two of Go's memberlist, encrypted, while the kernel drops a share of
 * all packets between their gossip ports (root, iptables, Go). Nobody is killed: every death is a false one. Ends with code 1 if there was any.
 */
import { spawnSync } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { deriveGossipKey } from "../src/gossip/keyring.ts";
import { MemberlistPeer, whyNoMemberlist } from "../test/support/memberlist-peer.ts";
import { ProcessCluster, SECRET } from "../test/support/processes.ts";

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "30" },
    loss: { type: "string", default: "0.1" },
    profile: { type: "string", default: "local" },
  },
});
const reason = whyNoMemberlist();
if (reason) throw new Error(`mixed-cluster: ${reason}`);
const cluster = await ProcessCluster.start(3, { CASK_GOSSIP_PROFILE: values.profile });
const ports = cluster.nodes.map((node) => node.settings["CASK_GOSSIP_PORT"] as string);
const peers: MemberlistPeer[] = [];
for (const name of ["go-1", "go-2"]) {
  const meta = JSON.stringify({ uuid: name, base_url: "http://127.0.0.1:1", writeable: true, neighbors: null });
  const key = deriveGossipKey(SECRET).toString("hex");
  const peer = await MemberlistPeer.start({
    name,
    profile: values.profile,
    meta,
    key,
    join: `127.0.0.1:${ports[0]}`,
  });
  peers.push(peer);
  ports.push((peer.address as string).split(":")[1] as string);
}
await sleep(3_000);
const minutes = Number(values.minutes);
try {
  drop("-I");
  const endMs = performance.now() + minutes * 60_000;
  while (performance.now() < endMs) {
    await sleep(60_000);
    console.log(
      `${Math.round((endMs - performance.now()) / 60_000)} minutes left; deaths seen so far: ${deaths().length}`,
    );
  }
} finally {
  drop("-D");
}
await sleep(2_000);
const agreed = await everybodyAlive();
for (const death of deaths()) console.log(death);
const suspicions = cluster.nodes.map(({ output }) => output.match(/ is suspect /g)?.length ?? 0);
console.log(
  `mixed-cluster: ${minutes} minutes, ${values.profile}, with ${values.loss} of the packets lost: ${deaths().length} false deaths; all see all alive at the end: ${agreed}; ` +
    `suspicions seen by ours: ${suspicions.join(", ")}`,
);
await Promise.all(peers.map((peer) => peer.kill()));
await cluster.stop();
process.exit(deaths().length === 0 && agreed ? 0 : 1);

function drop(how: "-I" | "-D"): void {
  for (const port of ports) {
    for (const protocol of ["udp", "tcp"]) {
      const match = ["-i", "lo", "-p", protocol, "--dport", port, "-m", "statistic", "--mode", "random"];
      const rule = ["-w", how, "INPUT", ...match, "--probability", values.loss, "-j", "DROP"];
      const { status, stderr } = spawnSync("iptables", rule, { encoding: "utf8" });
      if (status !== 0) throw new Error(`iptables: ${stderr}`);
    }
  }
}

function deaths(): string[] {
  const ours = cluster.nodes.flatMap(({ name, output }) =>
    output
      .split("\n")
      .filter((line) => line.includes(" is dead "))
      .map((line) => `${name}: ${line}`),
  );
  const theirs = peers.flatMap(({ events }, i) =>
    events.filter(({ event }) => event === "leave").map(({ name }) => `go-${i + 1}: ${name} is dead`),
  );
  return [...ours, ...theirs];
}

async function everybodyAlive(): Promise<boolean> {
  const ours = await Promise.all(cluster.nodes.map((node) => node.status()));
  const theirs = await Promise.all(peers.map((peer) => peer.members()));
  return (
    ours.every(({ members }) => members.filter(({ state }) => state === "alive").length === 4) &&
    theirs.every((members) => members.filter(({ state }) => state === "alive").length === 5)
  );
}
