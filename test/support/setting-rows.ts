import path from "node:path";
import type { Config } from "../../src/config.ts";
import type { SETTINGS } from "../../src/settings.ts";

const SECRET = "a-good-secret";

export interface SettingRow {
  readonly name: keyof typeof SETTINGS;
  readonly read: (config: Config) => unknown;
  readonly unset: unknown;
  readonly good: string;
  readonly value: unknown;
  /** Values that are refused. None where any text will do. */
  readonly bad: readonly string[];
  /** What must be set beside it. */
  readonly beside?: Readonly<Record<string, string>>;
}

/** Each setting: its default, a good value and bad ones. */
export const SETTING_ROWS: readonly SettingRow[] = [
  { name: "CASK_PORT", read: (c) => c.port, unset: 8080, good: "0", value: 0, bad: ["-1", "65536", "http"] },
  { name: "CASK_HOST", read: (c) => c.host, unset: "0.0.0.0", good: "::1", value: "::1", bad: [] },
  {
    name: "CASK_BASE_URL",
    read: (c) => c.baseUrl,
    unset: "http://localhost:8080",
    good: "http://node-a:8080/",
    value: "http://node-a:8080",
    bad: ["node-a:8080", "/cask", "http://a/?b=c"],
  },
  {
    name: "CASK_UUID",
    read: (c) => c.uuid,
    unset: undefined,
    good: "node-a",
    value: "node-a",
    bad: ["a/b", "x".repeat(65)],
  },
  { name: "CASK_WRITEABLE", read: (c) => c.writeable, unset: true, good: "false", value: false, bad: ["perhaps"] },
  {
    name: "CASK_BACKEND",
    read: (c) => c.backend,
    unset: "disk",
    good: "memory",
    value: "memory",
    bad: ["tape", "DISK"],
  },
  {
    name: "CASK_DISK_BACKEND_ROOT",
    read: (c) => c.diskBackendRoot,
    unset: path.resolve("data/node"),
    good: "/srv/cask",
    value: "/srv/cask",
    bad: [],
  },
  {
    name: "CASK_STATE_DIR",
    read: (c) => c.stateDir,
    unset: path.resolve("data/node"),
    good: "/srv/state/",
    value: "/srv/state",
    bad: [],
  },
  {
    name: "CASK_NEIGHBORS",
    read: (c) => c.neighbors,
    unset: [],
    good: "http://b:1, http://c:2/",
    value: [
      { kind: "url", url: "http://b:1" },
      { kind: "url", url: "http://c:2" },
    ],
    bad: ["b", "http://b:1,c", "b:99999"],
    beside: { CASK_CLUSTER_SECRET: SECRET, CASK_BASE_URL: "http://a:1" },
  },
  {
    name: "CASK_REPLICATION",
    read: (c) => c.replicationSettings.replication,
    unset: undefined,
    good: "2",
    value: 2,
    bad: ["0", "1001", "2.5"],
  },
  {
    name: "CASK_MAX_REPLICATION",
    read: (c) => c.replicationSettings.maxReplication,
    unset: undefined,
    good: "3",
    value: 3,
    bad: ["0", "many"],
  },
  {
    name: "CASK_CLUSTER_SECRET",
    read: (c) => c.clusterSecret,
    unset: undefined,
    good: SECRET,
    value: SECRET,
    bad: ["short"],
  },
  {
    name: "CASK_CLUSTER_SECRET_OLD",
    read: (c) => c.clusterSecretOld,
    unset: undefined,
    good: SECRET,
    value: SECRET,
    bad: ["short"],
    beside: { CASK_CLUSTER_SECRET: "the-new-secret" },
  },
  {
    name: "CASK_HEARTBEAT_INTERVAL",
    read: (c) => c.heartbeatIntervalMs,
    unset: 5_000,
    good: "0.5",
    value: 500,
    bad: ["0", "5s", "9999999"],
  },
  { name: "CASK_KEEP_FREE", read: (c) => c.keepFreeBytes, unset: 2 ** 30, good: "0", value: 0, bad: ["-1", "much"] },
  {
    name: "CASK_MAX_UPLOAD_SIZE",
    read: (c) => c.maxUploadBytes,
    unset: 2 * 2 ** 30,
    good: "5GB",
    value: 5e9,
    bad: ["0", "5 GX"],
  },
  {
    name: "CASK_READ_TIMEOUT",
    read: (c) => c.readTimeoutMs,
    unset: 30_000,
    good: "1.5",
    value: 1_500,
    bad: ["0", "x"],
  },
  {
    name: "CASK_WRITE_TIMEOUT",
    read: (c) => c.writeTimeoutMs,
    unset: 30_000,
    good: "90",
    value: 90_000,
    bad: ["0", "x"],
  },
  {
    name: "CASK_GOSSIP_PORT",
    read: (c) => c.gossip.port,
    unset: 7946,
    good: "0",
    value: 0,
    bad: ["65536", "udp"],
  },
  {
    name: "CASK_GOSSIP_ENCRYPTION",
    read: (c) => c.gossip.encryption,
    unset: "true",
    good: "accept",
    value: "accept",
    bad: ["maybe"],
  },
  {
    name: "CASK_GOSSIP_PROFILE",
    read: (c) => c.gossip.profile,
    unset: "lan",
    good: "wan",
    value: "wan",
    bad: ["moon"],
  },
  {
    name: "CASK_GOSSIP_ADVERTISE",
    read: (c) => c.gossip.advertise,
    unset: undefined,
    good: "10.0.0.1:7946",
    value: { host: "10.0.0.1", port: 7946 },
    bad: ["10.0.0.1", "http://a:1"],
  },
  { name: "CASK_VNODES", read: (c) => c.vnodes, unset: 128, good: "16", value: 16, bad: ["0", "4097"] },
  {
    name: "CASK_LOG_LEVEL",
    read: (c) => c.logLevel,
    unset: "info",
    good: "debug",
    value: "debug",
    bad: ["loud", "INFO"],
  },
  {
    name: "CASK_AAE_INTERVAL",
    read: (c) => c.repair.scrubIntervalMs,
    unset: 0,
    good: "0.5",
    value: 500,
    bad: ["often"],
  },
  {
    name: "CASK_RECONCILE_INTERVAL",
    read: (c) => c.repair.reconcileIntervalMs,
    unset: 60_000,
    good: "5",
    value: 5_000,
    bad: ["0", "soon"],
  },
  { name: "CASK_REPAIR_GRACE", read: (c) => c.repair.graceMs, unset: 600_000, good: "0", value: 0, bad: ["-1"] },
  {
    name: "CASK_REPAIR_RATE",
    read: (c) => c.repair.repairBytesPerSecond,
    unset: 20_000_000,
    good: "5MB",
    value: 5_000_000,
    bad: ["0"],
  },
  {
    name: "CASK_SCRUB_RATE",
    read: (c) => c.repair.scrubBytesPerSecond,
    unset: 20_000_000,
    good: "1MiB",
    value: 1_048_576,
    bad: ["fast"],
  },
  { name: "CASK_TRIM_GRACE", read: (c) => c.repair.trimGraceMs, unset: 300_000, good: "0", value: 0, bad: ["long"] },
  {
    name: "CASK_TRIM_DRY_RUN",
    read: (c) => c.repair.trimDryRun,
    unset: false,
    good: "true",
    value: true,
    bad: ["dry"],
  },
];
