import { GossipFuzz } from "../test/support/gossip-fuzz.ts";

/**
 * `node scripts/fuzz-gossip.ts [seed [packets [streams]]]`: throws mutated packets and streams at gossip's codec, by default 1,000,000 and
 * 20,000. Prints what became of them; ends with 1 when something happened that must not: an exception that is no refusal, a message read
 * without the key, one that would mean something else when passed on, more than 1 MiB for a packet.
 */
const [seed, packets, streams] = [Math.floor(Date.now() / 1000), 1_000_000, 20_000].map((value, i) =>
  Number(process.argv[2 + i] ?? value),
) as [number, number, number];
console.log(`fuzz-gossip: seed ${seed}`);
const startedMs = performance.now();
const { faults, ...report } = new GossipFuzz(seed).run(packets, streams);
console.log({ ...report, seconds: Math.round((performance.now() - startedMs) / 1000), rss: process.memoryUsage().rss });
for (const fault of faults) console.error(fault);
process.exit(faults.length > 0 || report.packetMaxBytes > 1024 * 1024 ? 1 : 0);
