import { Counter, Gauge, Histogram, Registry } from "@prometheus-io/client";

const SECONDS_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** Figures that are looked up when somebody asks for the metrics. */
export interface MetricSources {
  /** Nodes in the cluster that are alive or suspect, this one included. */
  readonly clusterSize: () => number;
  /** Null where there is no such figure; then the metric is left out. */
  readonly diskFreeBytes: () => number | null;
  /** Null on a node without gossip. */
  readonly gossip: () => GossipFigures | null;
  readonly repair: () => RepairFigures;
  readonly cache?: () => CacheAmounts;
  /** Null where blobs are not kept in S3. */
  readonly s3?: () => S3Amounts | null;
}

/** Of the blobs in memory; hits and misses since the start. */
export interface CacheAmounts {
  readonly blobs: number;
  readonly bytes: number;
  readonly hits: number;
  readonly misses: number;
}

/** What was asked of S3 since the start. */
export interface S3Amounts {
  readonly requests: Readonly<Record<string, number>>;
  readonly bytes_in: number;
  readonly bytes_out: number;
  readonly retries: number;
  readonly failures: number;
}

/** What repair is at. */
export interface RepairFigures {
  readonly inventory: { readonly keys: number | null };
  /** Copies in quarantine now. */
  readonly quarantined: number | null;
  readonly repair: { readonly waiting: number; readonly retries: number; readonly sent_bytes: number };
  readonly reconcile: {
    readonly passes: number;
    readonly missingCopies: number | null;
    readonly lastPassSeconds: number | null;
  };
  readonly scrub: {
    readonly passes: number;
    readonly visited: number;
    readonly bytes: number;
    readonly unreadable: number;
    readonly lastPassSeconds: number | null;
    readonly secondsLeft: number | null;
  };
  readonly trim: { readonly waiting: number; readonly refused: number };
  readonly drain: { readonly vouched: number; readonly lacking: number };
}

interface Amount {
  readonly count: number;
  readonly bytes: number;
}

/** What went through the gossip port since the start, and how this node does. */
export interface GossipFigures {
  readonly healthScore: number;
  readonly packetsIn: Amount;
  readonly packetsOut: Amount;
  readonly streamBytesIn: number;
  readonly streamBytesOut: number;
  /** By type, and by reason: from fixed lists. */
  readonly messagesIn: Readonly<Record<string, Amount>>;
  readonly messagesOut: Readonly<Record<string, Amount>>;
  readonly drops: Readonly<Record<string, number>>;
  readonly members: ReadonlyArray<{ readonly name: string; readonly probeMs: number | null }>;
}

/** The metrics of one node, in the names of Go Cask where it had one. One registry a node: several can run in one process. */
export class Metrics {
  readonly rebalances: Counter;
  readonly rebalanceFailures: Counter;
  readonly rebalanceNoops: Counter;
  readonly rebalanceDeletes: Counter;
  readonly joins: Counter;
  readonly leaves: Counter;
  readonly quarantines: Counter;
  readonly requests: Histogram<"door" | "method" | "status">;
  readonly putCopies: Counter<"result">;
  private readonly registry = new Registry();

  constructor(sources: MetricSources) {
    const registers = [this.registry];
    const counter = (name: string, help: string) => new Counter({ name, help, registers });
    this.rebalances = counter("cask_rebalance_total", "Keys whose copies were compared with where they should be");
    this.rebalanceFailures = counter(
      "cask_rebalance_failure_total",
      "Rebalances that could not reach what they wanted",
    );
    this.rebalanceNoops = counter("cask_rebalance_noop_total", "Rebalances that found every copy in its place");
    this.rebalanceDeletes = counter("cask_rebalance_delete_total", "Surplus copies deleted");
    this.joins = counter("cask_cluster_joins_total", "Nodes that became alive, as this node saw it");
    this.leaves = counter("cask_cluster_leaves_total", "Nodes that died or left, as this node saw it");
    this.quarantines = counter("cask_quarantined_total", "Corrupt copies moved to quarantine");
    this.putCopies = new Counter({
      name: "cask_put_total",
      help: "Uploads by result: success, too_few_copies, refused",
      labelNames: ["result"],
      registers,
    });
    this.requests = new Histogram({
      name: "cask_http_request_duration_seconds",
      help: "Time from the head of a request to the end of its answer",
      labelNames: ["door", "method", "status"],
      buckets: SECONDS_BUCKETS,
      registers,
    });
    this.gauges(sources);
    this.gossipMetrics(sources);
    this.repairMetrics(sources);
    this.s3Metrics(sources);
    this.cacheMetrics(sources);
  }

  /** The text that a Prometheus server reads, and its content type. */
  async page(): Promise<{ readonly contentType: string; readonly text: string }> {
    return { contentType: this.registry.contentType, text: await this.registry.metrics() };
  }

  private gauges(sources: MetricSources): void {
    const registers = [this.registry];
    new Gauge({
      name: "cask_cluster_total",
      help: "Nodes in the cluster that are alive or suspect, this one included",
      registers,
      collect() {
        this.set(sources.clusterSize());
      },
    });
    new Gauge({
      name: "cask_disk_free_bytes",
      help: "Free bytes where this node keeps its blobs",
      registers,
      collect() {
        const free = sources.diskFreeBytes();
        if (free === null) this.remove();
        else this.set(free);
      },
    });
  }

  private cacheMetrics({ cache }: MetricSources): void {
    if (!cache) return;
    const gauge = (name: string, help: string, value: (from: CacheAmounts) => number) =>
      new Gauge({
        name,
        help,
        registers: [this.registry],
        collect() {
          this.set(value(cache()));
        },
      });
    gauge("cask_cache_blobs", "Verified blobs in memory", (from) => from.blobs);
    gauge("cask_cache_bytes", "What they take", (from) => from.bytes);
    gauge("cask_cache_hits", "Blobs served from memory since the start", (from) => from.hits);
    gauge("cask_cache_misses", "Blobs looked for there in vain since the start", (from) => from.misses);
  }

  private s3Metrics({ s3 }: MetricSources): void {
    const registers = [this.registry];
    const family = (
      name: string,
      help: string,
      label: "kind" | "direction" | undefined,
      values: (from: S3Amounts) => Record<string, number>,
    ) =>
      new Gauge({
        name,
        help,
        labelNames: label === undefined ? [] : [label],
        registers,
        collect() {
          this.reset();
          const figures = s3?.() ?? null;
          if (!figures && label === undefined) this.remove(); // it would show 0
          if (!figures) return;
          for (const [key, value] of Object.entries(values(figures))) {
            if (label === undefined) this.set(value);
            else this.set({ [label]: key }, value);
          }
        },
      });
    family("cask_s3_requests", "Requests to S3 since the start, each attempt counted", "kind", (from) => from.requests);
    family("cask_s3_bytes", "Bytes of blobs to and from S3 since the start", "direction", (from) => ({
      in: from.bytes_in,
      out: from.bytes_out,
    }));
    family("cask_s3_retries", "Requests to S3 that were repeated, since the start", undefined, (from) => ({
      all: from.retries,
    }));
    family("cask_s3_failures", "Requests to S3 that failed in the end, since the start", undefined, (from) => ({
      all: from.failures,
    }));
  }

  private repairMetrics({ repair }: MetricSources): void {
    const gauge = (name: string, help: string, value: (from: RepairFigures) => number | null) =>
      new Gauge({
        name,
        help,
        registers: [this.registry],
        collect() {
          const figure = value(repair());
          if (figure === null) this.remove();
          else this.set(figure);
        },
      });
    gauge("cask_keys", "Copies that this node holds", (from) => from.inventory.keys);
    gauge(
      "cask_under_replicated",
      "Copies that owners lack, as the last comparison with them found",
      (from) => from.reconcile.missingCopies,
    );
    gauge("cask_repair_waiting", "Keys that wait for repair", ({ repair: r }) => r.waiting + r.retries);
    gauge("cask_repair_sent_bytes", "Bytes of copies sent by repair since the start", (from) => from.repair.sent_bytes);
    gauge("cask_surplus_waiting", "Copies that this node may hold as surplus", (from) => from.trim.waiting);
    gauge(
      "cask_trim_refused",
      "Surplus copies for which too few vouches came, since the start",
      (from) => from.trim.refused,
    );
    gauge(
      "cask_reconcile_passes",
      "Comparisons with all other owners since the start",
      (from) => from.reconcile.passes,
    );
    gauge("cask_reconcile_seconds", "Time of the last one", (from) => from.reconcile.lastPassSeconds);
    gauge("cask_scrub_passes", "Times that every copy was read and hashed", (from) => from.scrub.passes);
    gauge("cask_scrub_visited", "Copies read in this pass", (from) => from.scrub.visited);
    gauge("cask_scrub_bytes", "Bytes read by the scrub since the start", (from) => from.scrub.bytes);
    gauge("cask_scrub_seconds_left", "Estimate of the time to the end of this pass", (from) => from.scrub.secondsLeft);
    gauge(
      "cask_unverified",
      "Copies that could not be read and hashed in this pass and the last",
      (from) => from.scrub.unreadable,
    );
    gauge("cask_quarantined", "Corrupt copies that lie in quarantine now", (from) => from.quarantined);
    gauge("cask_drain_lacking", "Keys that could not be handed over yet", (from) => from.drain.lacking);
  }

  private gossipMetrics({ gossip }: MetricSources): void {
    type Figure = { readonly labels: Record<string, string>; readonly value: number };
    const family = (name: string, help: string, labelNames: string[], figures: (from: GossipFigures) => Figure[]) =>
      new Gauge({
        name,
        help,
        labelNames,
        registers: [this.registry],
        collect() {
          this.reset();
          const from = gossip();
          if (!from && labelNames.length === 0) this.remove(); // it would show 0
          for (const { labels, value } of from ? figures(from) : []) this.set(labels, value);
        },
      });
    const both = (out: number, into: number) => [
      { labels: { direction: "out" }, value: out },
      { labels: { direction: "in" }, value: into },
    ];
    const health = "0 is good; higher: this node is slow, and suspects others later";
    family("cask_gossip_health_score", health, [], (from) => [{ labels: {}, value: from.healthScore }]);
    family("cask_gossip_packets", "UDP packets since the start", ["direction"], (from) =>
      both(from.packetsOut.count, from.packetsIn.count),
    );
    family("cask_gossip_packet_bytes", "Bytes of UDP packets since the start", ["direction"], (from) =>
      both(from.packetsOut.bytes, from.packetsIn.bytes),
    );
    family("cask_gossip_stream_bytes", "Bytes over TCP since the start", ["direction"], (from) =>
      both(from.streamBytesOut, from.streamBytesIn),
    );
    const each = (amounts: GossipFigures["messagesIn"], what: keyof Amount) =>
      Object.entries(amounts).map(([type, amount]) => ({ labels: { type }, value: amount[what] }));
    const inBytes = "Bytes of messages received since the start: in packets without the layers around them";
    const outBytes = "Bytes of messages sent since the start: in packets without the layers around them";
    const byType = ["type"];
    family("cask_gossip_messages_in", "Messages received since the start", byType, (f) => each(f.messagesIn, "count"));
    family("cask_gossip_messages_out", "Messages sent since the start", byType, (f) => each(f.messagesOut, "count"));
    family("cask_gossip_message_bytes_in", inBytes, byType, (from) => each(from.messagesIn, "bytes"));
    family("cask_gossip_message_bytes_out", outBytes, byType, (from) => each(from.messagesOut, "bytes"));
    family("cask_gossip_probe_seconds", "Time of the last answered probe of a member", ["member"], (from) =>
      from.members.flatMap(({ name, probeMs }) =>
        probeMs === null ? [] : [{ labels: { member: name }, value: probeMs / 1000 }],
      ),
    );
    family("cask_gossip_drops", "What was refused since the start", ["reason"], (from) =>
      Object.entries(from.drops).map(([reason, value]) => ({ labels: { reason }, value })),
    );
  }
}
