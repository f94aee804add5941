import { GossipFuzz } from "../support/gossip-fuzz.ts";

/** `node scripts/fuzz-gossip.ts <seed>` does the same with 1,000,000 packets. */
test("20,000 mutated packets and 500 mutated streams: nothing but refusals, little memory, no message without the key", () => {
  const seed = Number.parseInt(process.env["CASK_FUZZ_SEED"] ?? "", 10) || Date.now() % 1_000_000;
  const report = new GossipFuzz(seed).run(20_000, 500);
  expect({ seed, faults: report.faults }).toEqual({ seed, faults: [] });
  expect({ seed, ...report }).toMatchObject({ packets: 20_000, streams: 500 });
  expect(report.messages).toBeGreaterThan(1_000);
  expect(Object.keys(report.refusals).sort()).toEqual(
    expect.arrayContaining([
      "compound",
      "crc",
      "key",
      "label",
      "limit",
      "lzw",
      "msgpack",
      "short",
      "text",
      "type",
      "vsn",
    ]),
  );
  expect(report.packetMaxBytes).toBeLessThan(1024 * 1024);
}, 60_000);
