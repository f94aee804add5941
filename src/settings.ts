import { availableParallelism } from "node:os";
import { SEGMENT_THRESHOLD_MAX_BYTES } from "./core/limits.ts";
import {
  type ReadValue,
  readBaseUrl,
  readBoolean,
  readBytes,
  readChoice,
  readHostPort,
  readNeighbors,
  readNodeId,
  readSeconds,
  readSecret,
  readText,
  readWhole,
} from "./core/setting-values.ts";

/** One row of the table in the README. `value`: the default, where it is a fixed one. */
export interface Setting<T> {
  readonly read: ReadValue<T>;
  readonly value?: T;
  readonly shown: string;
  readonly unit: string;
  readonly meaning: string;
  readonly secret?: true;
}

const GIB = 2 ** 30;

/** Every environment variable that a node knows. The README's table is tested against this one. */
export const SETTINGS = {
  CASK_PORT: {
    read: readWhole(0, 65_535),
    value: 8080,
    shown: "8080",
    unit: "port",
    meaning: "Port that serves HTTP; 0 takes any free one",
  },
  CASK_HOST: {
    read: readText,
    value: "0.0.0.0",
    shown: "all interfaces",
    unit: "address",
    meaning: "Address to listen on",
  },
  CASK_BASE_URL: {
    read: readBaseUrl,
    shown: "http://localhost:PORT",
    unit: "URL",
    meaning: "Where clients and other nodes reach this node; required with neighbors",
  },
  CASK_UUID: {
    read: readNodeId,
    shown: "made and kept",
    unit: "text",
    meaning: "Name of the node, unique in the cluster, for its whole life",
  },
  CASK_WRITEABLE: {
    read: readBoolean,
    value: true,
    shown: "true",
    unit: "true, false",
    meaning: "`false`: serve blobs, but take no new ones",
  },
  CASK_BACKEND: {
    read: readChoice("disk", "memory", "s3"),
    value: "disk",
    shown: "disk",
    unit: "disk, memory, s3",
    meaning: "Where blobs are kept (`memory` forgets them)",
  },
  CASK_DISK_BACKEND_ROOT: {
    read: readText,
    value: "data/node",
    shown: "data/node",
    unit: "folder",
    meaning: "Data folder of the disk backend; made if missing",
  },
  CASK_STATE_DIR: {
    read: readText,
    shown: "the data folder",
    unit: "folder",
    meaning: "What the node must remember: UUID, members",
  },
  CASK_NEIGHBORS: {
    read: readNeighbors,
    value: [],
    shown: "none",
    unit: "list",
    meaning: "Base URLs or gossip addresses (host:port) of other nodes, with commas; one is enough",
  },
  CASK_REPLICATION: {
    read: readWhole(1, 1000),
    shown: "3; alone 1",
    unit: "copies",
    meaning: "Durable copies that an upload must make to succeed",
  },
  CASK_MAX_REPLICATION: {
    read: readWhole(1, 1000),
    shown: "replication + 1",
    unit: "copies",
    meaning: "Copies beyond these are surplus; not below CASK_REPLICATION",
  },
  CASK_CLUSTER_SECRET: {
    read: readSecret,
    shown: "none",
    unit: "text",
    meaning: "Shared by all nodes, 8 characters or more; required with neighbors",
    secret: true,
  },
  CASK_CLUSTER_SECRET_OLD: {
    read: readSecret,
    shown: "none",
    unit: "text",
    meaning: "Accepted too, while the secret is being changed",
    secret: true,
  },
  CASK_HEARTBEAT_INTERVAL: {
    read: readSeconds(0.1),
    value: 5_000,
    shown: "5",
    unit: "seconds",
    meaning: "Between two looks whether the others must be told something new of this node",
  },
  CASK_AAE_INTERVAL: {
    read: readSeconds(0),
    value: 0,
    shown: "0",
    unit: "seconds",
    meaning: "Between two files of the scrub",
  },
  CASK_GOSSIP_PORT: {
    read: readWhole(0, 65_535),
    value: 7946,
    shown: "7946",
    unit: "port",
    meaning: "Port of the gossip protocol, UDP and TCP; 0 takes any free one",
  },
  CASK_KEEP_FREE: {
    read: readBytes(0),
    value: GIB,
    shown: "1GiB",
    unit: "bytes",
    meaning: "With less free space the node takes no new blobs",
  },
  CASK_MAX_UPLOAD_SIZE: {
    read: readBytes(1),
    value: 2 * GIB,
    shown: "2GiB",
    unit: "bytes",
    meaning: "Largest file that is taken",
  },
  CASK_MAX_PROCS: {
    read: readWhole(1, 1024),
    value: defaultThreads(availableParallelism()),
    shown: "the cores, 8 at most; 1 with fewer than 4",
    unit: "threads",
    meaning: "Threads that serve requests",
  },
  CASK_READ_TIMEOUT: {
    read: readSeconds(0.1),
    value: 30_000,
    shown: "30",
    unit: "seconds",
    meaning: "A client that sends nothing for so long is given up",
  },
  CASK_WRITE_TIMEOUT: {
    read: readSeconds(0.1),
    value: 30_000,
    shown: "30",
    unit: "seconds",
    meaning: "A client that takes nothing for so long is cut off",
  },
  CASK_SSL_CERT: {
    read: readText,
    shown: "none",
    unit: "file",
    meaning: "Certificate chain (PEM); also CASK_SSL_CERTIFICATE",
  },
  CASK_SSL_CERTIFICATE: {
    read: readText,
    shown: "none",
    unit: "file",
    meaning: "The longer spelling of CASK_SSL_CERT",
  },
  CASK_SSL_KEY: { read: readText, shown: "none", unit: "file", meaning: "Private key (PEM) of the certificate" },
  CASK_SSL_CA: {
    read: readText,
    shown: "none",
    unit: "file",
    meaning: "Authorities (PEM) to trust in other nodes, besides the usual ones",
  },
  CASK_VNODES: {
    read: readWhole(1, 4096),
    value: 128,
    shown: "128",
    unit: "points",
    meaning: "Points of the node on the ring: its share of the keys",
  },
  CASK_LOG_LEVEL: {
    read: readChoice("trace", "debug", "info", "warn", "error", "fatal", "silent"),
    value: "info",
    shown: "info",
    unit: "level",
    meaning: "trace, debug, info, warn, error, fatal or silent",
  },
  CASK_S3_BUCKET: { read: readText, shown: "none", unit: "text", meaning: "Bucket of the S3 backend; it must exist" },
  CASK_S3_ACCESS_KEY: {
    read: readText,
    shown: "from the machine",
    unit: "text",
    meaning: "Access key of the S3 backend; else what AWS's own tools would find",
    secret: true,
  },
  CASK_S3_SECRET_KEY: {
    read: readText,
    shown: "from the machine",
    unit: "text",
    meaning: "Secret key of the S3 backend; goes with the access key",
    secret: true,
  },
  CASK_S3_REGION: { read: readText, shown: "from the machine", unit: "text", meaning: "Region of the bucket" },
  CASK_S3_ENDPOINT: {
    read: readBaseUrl,
    shown: "AWS",
    unit: "URL",
    meaning: "Server of the bucket, where it is not AWS",
  },
  CASK_S3_PREFIX: {
    read: readText,
    shown: "the UUID",
    unit: "text",
    meaning: "Prefix of this node's objects: each node has its own",
  },
  CASK_S3_FORCE_PATH_STYLE: {
    read: readBoolean,
    value: false,
    shown: "false",
    unit: "true, false",
    meaning: "Name the bucket in the path, not in the host",
  },
  CASK_GOSSIP_ENCRYPTION: {
    read: readChoice("true", "accept", "false"),
    value: "true",
    shown: "true",
    unit: "true, accept, false",
    meaning: "Encrypt gossip; `accept` reads both; `false` for Go nodes: the secret goes in clear",
  },
  CASK_GOSSIP_PROFILE: {
    read: readChoice("lan", "local", "wan"),
    value: "lan",
    shown: "lan",
    unit: "lan, local, wan",
    meaning: "Timing of gossip; `local` is what Go nodes use",
  },
  CASK_GOSSIP_ADVERTISE: {
    read: readHostPort,
    shown: "from the base URL",
    unit: "host:port",
    meaning: "Gossip address that others are told, where it is not the own one",
  },
  CASK_RECONCILE_INTERVAL: {
    read: readSeconds(0.1),
    value: 60_000,
    shown: "60",
    unit: "seconds",
    meaning: "Between two comparisons with other owners",
  },
  CASK_REPAIR_GRACE: {
    read: readSeconds(0),
    value: 600_000,
    shown: "600",
    unit: "seconds",
    meaning: "A node gone for less is not repaired around",
  },
  CASK_REPAIR_RATE: {
    read: readBytes(1),
    value: 20_000_000,
    shown: "20MB",
    unit: "bytes/second",
    meaning: "Most that repair sends",
  },
  CASK_SCRUB_RATE: {
    read: readBytes(1),
    value: 20_000_000,
    shown: "20MB",
    unit: "bytes/second",
    meaning: "Most that the scrub reads",
  },
  CASK_TRIM_GRACE: {
    read: readSeconds(0),
    value: 300_000,
    shown: "300",
    unit: "seconds",
    meaning: "The cluster must be stable for so long before surplus is deleted",
  },
  CASK_TRIM_DRY_RUN: {
    read: readBoolean,
    value: false,
    shown: "false",
    unit: "true, false",
    meaning: "Log which surplus copies would be deleted, and delete none",
  },
  CASK_CACHE_BYTES: {
    read: readBytes(0),
    value: 64 * 2 ** 20,
    shown: "64MiB",
    unit: "bytes",
    meaning: "Memory for verified small blobs; 0: none are kept there",
  },
  CASK_SEGMENT_THRESHOLD: {
    read: readBytes(0, SEGMENT_THRESHOLD_MAX_BYTES),
    value: 256 * 2 ** 10,
    shown: "256KiB",
    unit: "bytes",
    meaning: "Blobs up to this size share large files on the disk; 0: each is a file of its own",
  },
} as const satisfies Record<string, Setting<unknown>>;

/** With few cores a thread more only gets in the way of the one that stores. */
export function defaultThreads(cores: number): number {
  return cores < 4 ? 1 : Math.min(cores, 8);
}
