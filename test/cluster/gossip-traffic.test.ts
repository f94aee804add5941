import { ClusterNetwork } from "../support/cluster-network.ts";

test("messages and their bytes are counted by type: what one sends is what the other gets", async () => {
  const network = new ClusterNetwork();
  const a = await network.node({ uuid: "a" });
  const b = await network.node({ uuid: "b", seeds: [a.gossipAddress] });
  await network.until("they have met", 5_000, () => b.gossip.members().length === 2);
  await network.pass(20_000);
  const [first, second] = [a, b].map(({ gossip }) => gossip.status());
  await network.stop();
  for (const type of ["ping", "ack", "alive", "pushPull"] as const) {
    expect(first?.messagesIn[type]?.count).toBeGreaterThan(0);
    expect(first?.messagesIn[type]).toEqual(second?.messagesOut[type]);
    expect(second?.messagesIn[type]).toEqual(first?.messagesOut[type]);
  }
  // Over TCP went exchanges alone, and each is counted with all that it took.
  expect(first?.messagesIn.pushPull?.bytes).toBe(first?.streamBytesIn);
  expect(second?.messagesOut.pushPull?.bytes).toBe(second?.streamBytesOut);
});
