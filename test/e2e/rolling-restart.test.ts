import { rollingRestart } from "../support/rolling-restart.ts";

test("all four nodes are restarted, one after the other, under load: nothing fails at the others, nothing is lost", async () => {
  const report = await rollingRestart({ nodes: 4, replication: 3, requestsPerSecond: 20, rounds: [{}] });
  expect(report).toMatchObject({ failedGets: [], failedPuts: [], lost: [], restarts: 4 });
  expect(report.gets + report.puts).toBeGreaterThan(100);
}, 120_000);
