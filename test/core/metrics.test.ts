import { Metrics } from "../../src/core/metrics.ts";

const REPAIR = {
  inventory: { keys: 5 },
  quarantined: 6,
  repair: { waiting: 3, retries: 2, sent_bytes: 1 },
  reconcile: { passes: 0, missingCopies: null, lastPassSeconds: null },
  scrub: { passes: 0, visited: 0, bytes: 0, unreadable: 0, lastPassSeconds: null, secondsLeft: null },
  trim: { waiting: 0, refused: 0 },
  drain: { vouched: 0, lacking: 0 },
};

function metricsOf(free: number | null = 1234) {
  return new Metrics({ clusterSize: () => 3, diskFreeBytes: () => free, gossip: () => null, repair: () => REPAIR });
}

test("the eight names of Go Cask are on the page", async () => {
  const { text, contentType } = await metricsOf().page();
  expect(contentType).toMatch(/^text\/plain/);
  for (const name of [
    "cask_rebalance_total",
    "cask_rebalance_failure_total",
    "cask_rebalance_noop_total",
    "cask_rebalance_delete_total",
    "cask_cluster_joins_total",
    "cask_cluster_leaves_total",
    "cask_cluster_total",
    "cask_disk_free_bytes",
  ]) {
    expect(text).toMatch(new RegExp(`^${name} \\d+$`, "m"));
    expect(text).toContain(`# HELP ${name} `);
  }
});

test("figures are looked up when somebody asks", async () => {
  let size = 1;
  const metrics = new Metrics({
    clusterSize: () => size,
    diskFreeBytes: () => 5,
    gossip: () => null,
    repair: () => REPAIR,
  });
  expect((await metrics.page()).text).toMatch(/^cask_cluster_total 1$/m);
  size = 4;
  metrics.joins.inc();
  metrics.joins.inc();
  const { text } = await metrics.page();
  expect(text).toMatch(/^cask_cluster_total 4$/m);
  expect(text).toMatch(/^cask_cluster_joins_total 2$/m);
});

test("C13: unknown free space leaves the metric out, it is not zero", async () => {
  let free: number | null = 10;
  const metrics = new Metrics({
    clusterSize: () => 1,
    diskFreeBytes: () => free,
    gossip: () => null,
    repair: () => REPAIR,
  });
  expect((await metrics.page()).text).toMatch(/^cask_disk_free_bytes 10$/m);
  free = null;
  expect((await metrics.page()).text).not.toMatch(/^cask_disk_free_bytes/m);
  free = 20;
  expect((await metrics.page()).text).toMatch(/^cask_disk_free_bytes 20$/m);
});

test("requests are counted by door, method and status, uploads by result", async () => {
  const metrics = metricsOf();
  metrics.requests.observe({ door: "file", method: "GET", status: "200" }, 0.02);
  metrics.putCopies.inc({ result: "success" });
  const { text } = await metrics.page();
  expect(text).toContain('cask_http_request_duration_seconds_count{door="file",method="GET",status="200"} 1');
  expect(text).toContain('cask_put_total{result="success"} 1');
});

test("two nodes in one process count apart", async () => {
  const [one, other] = [metricsOf(), metricsOf()];
  one.leaves.inc();
  expect((await other.page()).text).toMatch(/^cask_cluster_leaves_total 0$/m);
});

test("what goes through the gossip port is told by direction, type and reason; nothing where there is no gossip", async () => {
  const figures = {
    healthScore: 1,
    packetsIn: { count: 5, bytes: 500 },
    packetsOut: { count: 7, bytes: 700 },
    streamBytesIn: 50,
    streamBytesOut: 60,
    messagesIn: { ping: { count: 4, bytes: 120 } },
    messagesOut: { ack: { count: 3, bytes: 30 } },
    drops: { key: 2 },
    members: [
      { name: "b", probeMs: 2.5 },
      { name: "self", probeMs: null },
    ],
  };
  const { text } = await new Metrics({
    clusterSize: () => 1,
    diskFreeBytes: () => 1,
    gossip: () => figures,
    repair: () => REPAIR,
  }).page();
  for (const line of [
    "cask_gossip_health_score 1",
    'cask_gossip_packets{direction="in"} 5',
    'cask_gossip_packet_bytes{direction="out"} 700',
    'cask_gossip_stream_bytes{direction="in"} 50',
    'cask_gossip_messages_in{type="ping"} 4',
    'cask_gossip_messages_out{type="ack"} 3',
    'cask_gossip_message_bytes_in{type="ping"} 120',
    'cask_gossip_message_bytes_out{type="ack"} 30',
    'cask_gossip_drops{reason="key"} 2',
    'cask_gossip_probe_seconds{member="b"} 0.0025',
  ]) {
    expect(text.split("\n")).toContain(line);
  }
  expect((await metricsOf().page()).text).not.toMatch(/^cask_gossip/m);
});

test("what repair is at is on the page; what is not known is left out", async () => {
  const { text } = await metricsOf().page();
  for (const line of ["cask_keys 5", "cask_quarantined 6", "cask_repair_waiting 5", "cask_surplus_waiting 0"]) {
    expect(text.split("\n")).toContain(line);
  }
  for (const name of ["cask_under_replicated", "cask_scrub_seconds_left", "cask_reconcile_seconds"]) {
    expect(text).not.toMatch(new RegExp(`^${name}`, "m"));
  }
});
