import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import path from "node:path";
import { createSecureContext } from "node:tls";
import { cleanEnv, makeValidator } from "envalid";
import { SystemClock } from "./core/clock.ts";
import { CaskError, messageOf } from "./core/errors.ts";
import { GOSSIP_METADATA_BYTES, GOSSIP_METADATA_REST_BYTES } from "./core/limits.ts";
import type { LogLevel } from "./core/log.ts";
import { type NeighborAddress, nearestName } from "./core/setting-values.ts";
import { SETTINGS, type Setting } from "./settings.ts";

type Name = keyof typeof SETTINGS;
type Row<N extends Name> = (typeof SETTINGS)[N];
type ValueOf<N extends Name> = ReturnType<Row<N>["read"]> | (Row<N> extends { value: unknown } ? never : undefined);
type Values = { readonly [N in Name]: ValueOf<N> };

/** The settings of a node, checked. Times in milliseconds, sizes in bytes. */
export interface Config {
  readonly port: number;
  readonly host: string;
  readonly baseUrl: string;
  readonly uuid: string | undefined;
  readonly writeable: boolean;
  readonly backend: "disk" | "memory" | "s3";
  readonly diskBackendRoot: string;
  readonly stateDir: string;
  /** Undefined with another backend. */
  readonly s3:
    | {
        readonly bucket: string;
        /** Empty: the UUID. */
        readonly prefix: string;
        readonly region: string | undefined;
        readonly endpoint: string | undefined;
        readonly forcePathStyle: boolean;
        readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string } | undefined;
      }
    | undefined;
  readonly neighbors: readonly NeighborAddress[];
  readonly replicationSettings: {
    readonly replication: number | undefined;
    readonly maxReplication: number | undefined;
  };
  readonly clusterSecret: string | undefined;
  readonly clusterSecretOld: string | undefined;
  /** Both, as far as they are set. */
  readonly secrets: readonly string[];
  readonly heartbeatIntervalMs: number;
  readonly keepFreeBytes: number;
  readonly maxUploadBytes: number;
  readonly cacheBytes: number;
  /** The one that owns the data among them. */
  readonly threads: number;
  readonly segmentBlobMaxBytes: number;
  readonly readTimeoutMs: number;
  readonly writeTimeoutMs: number;
  readonly tls: Tls | undefined;
  readonly sslCa: string | undefined;
  readonly vnodes: number;
  /** Times in milliseconds, rates in bytes a second. */
  readonly repair: {
    readonly graceMs: number;
    readonly reconcileIntervalMs: number;
    readonly repairBytesPerSecond: number;
    readonly scrubBytesPerSecond: number;
    readonly scrubIntervalMs: number;
    readonly trimGraceMs: number;
    readonly trimDryRun: boolean;
  };
  readonly gossip: {
    readonly port: number;
    readonly encryption: "true" | "accept" | "false";
    readonly profile: "lan" | "local" | "wan";
    readonly advertise: { readonly host: string; readonly port: number } | undefined;
  };
  readonly logLevel: LogLevel;
  /** Each setting as it is in use, for the page /config/. */
  readonly shown: ReadonlyArray<{ readonly name: string; readonly value: string; readonly meaning: string }>;
}

/** A certificate and its key, and the files that they are in. */
export interface Tls {
  readonly cert: string;
  readonly key: string;
  readonly certFile: string;
  readonly keyFile: string;
}

export interface LoadedConfig {
  readonly config: Config;
  readonly warnings: readonly string[];
}

type Environment = Readonly<Record<string, string | undefined>>;

/** The only reader of process.env. */
export function loadConfigFromEnvironment(): LoadedConfig {
  return loadConfig(process.env);
}

/** Rejects with BAD_CONFIG; its message names every variable that is wrong, what was given and what is expected. */
export function loadConfig(env: Environment): LoadedConfig {
  const problems: string[] = [];
  const warnings: string[] = [];
  const given = givenSettings(env, problems, warnings);
  const values = readValues(given, problems);
  const tls = readTls(values, problems, warnings);
  checkTogether({ values, given, problems, warnings });
  if (problems.length > 0) {
    const list = problems.map((problem) => `  ${problem}`).join("\n");
    throw new CaskError("BAD_CONFIG", `cask cannot start, its settings are wrong:\n${list}`);
  }
  return { config: toConfig(values, given, tls), warnings };
}

/** A variable that is set to nothing counts as not set, but an empty secret is a mistake that must not pass. */
function givenSettings(env: Environment, problems: string[], warnings: string[]): Record<string, string> {
  const given: Record<string, string> = {};
  for (const [name, value] of Object.entries(env)) {
    if (!name.startsWith("CASK_") || value === undefined) continue;
    if (!Object.hasOwn(SETTINGS, name)) {
      warnings.push(unknownName(name));
    } else if (name === "CASK_PORT" && value.startsWith("tcp://")) {
      problems.push(
        `CASK_PORT: "${value}" was put there by Kubernetes for a service named "cask": set enableServiceLinks: false in the pod, or name the service otherwise`,
      );
    } else if (value === "" && name.startsWith("CASK_CLUSTER_SECRET")) {
      problems.push(`${name}: is empty; set at least 8 characters, or do not set it at all`);
    } else if (value !== "") {
      given[name] = value;
    }
  }
  return given;
}

function unknownName(name: string): string {
  if (/^CASK_(SERVICE_|PORT_\d+_)/.test(name)) {
    return `${name} was put there by Kubernetes for a service named "cask"; it is ignored (enableServiceLinks: false avoids it)`;
  }
  const nearest = nearestName(name, Object.keys(SETTINGS));
  return `${name} is not a setting of cask and is ignored${nearest ? `; did you mean ${nearest}?` : ""}`;
}

/** In place of a wrong value stands the default, so that the other checks can go on and find all that is wrong. */
function readValues(given: Record<string, string>, problems: string[]): Values {
  const specs = Object.fromEntries(
    Object.entries(SETTINGS as Record<string, Setting<unknown>>).map(([name, { read, value }]) => [
      name,
      makeValidator(read)({ default: value as undefined }),
    ]),
  );
  const defaults: Record<string, unknown> = {};
  const values = cleanEnv(given, specs, {
    reporter: ({ errors }) => {
      for (const [name, error] of Object.entries(errors)) {
        const { secret, value } = SETTINGS[name as Name] as Setting<unknown>;
        defaults[name] = value;
        problems.push(`${name}: ${error?.message}${secret ? "" : `, not "${given[name]}"`}`);
      }
    },
  });
  return { ...values, ...defaults } as unknown as Values;
}

/** Both files are read and fitted together here, so that a wrong pair is found before anything is opened. */
function readTls(values: Values, problems: string[], warnings: string[]): Config["tls"] {
  const { CASK_SSL_CERT: short, CASK_SSL_CERTIFICATE: long, CASK_SSL_KEY: keyFile } = values;
  if (short && long && short !== long) problems.push("CASK_SSL_CERT and CASK_SSL_CERTIFICATE differ: set one of them");
  const certFile = short ?? long;
  if (!certFile && !keyFile) return undefined;
  if (!certFile || !keyFile) {
    problems.push(`${certFile ? "CASK_SSL_KEY" : "CASK_SSL_CERT"}: is missing; a certificate and its key go together`);
    return undefined;
  }
  try {
    const tls = readPair({ certFile, keyFile });
    const expired = expiryOf(tls.cert);
    if (expired)
      warnings.push(`CASK_SSL_CERT: ${certFile} has expired (${expired}): others will refuse to speak to this node`);
    return tls;
  } catch (error) {
    problems.push(`CASK_SSL_CERT, CASK_SSL_KEY: ${certFile} and ${keyFile} are no pair: ${messageOf(error)}`);
    return undefined;
  }
}

/** Throws when a file can't be read, or the two are no pair. */
export function readPair({ certFile, keyFile }: Pick<Tls, "certFile" | "keyFile">): Tls {
  const pair = { cert: readFileSync(certFile, "utf8"), key: readFileSync(keyFile, "utf8") };
  createSecureContext(pair);
  return { ...pair, certFile, keyFile };
}

/** When it expired; null: it has not. */
function expiryOf(cert: string): string | null {
  const { validTo, validToDate } = new X509Certificate(cert);
  return validToDate.getTime() < new SystemClock().wallMs() ? validTo : null;
}

interface Checked {
  readonly values: Values;
  readonly given: Readonly<Record<string, string>>;
  readonly problems: string[];
  readonly warnings: string[];
}

function checkTogether({ values, given, problems, warnings }: Checked): void {
  const { CASK_REPLICATION: replication = 3, CASK_MAX_REPLICATION: max, CASK_NEIGHBORS: neighbors } = values;
  if (max !== undefined && max < replication) {
    problems.push(`CASK_MAX_REPLICATION: is ${max}, below CASK_REPLICATION, which is ${replication}`);
  }
  const isGood = (name: Name) => !problems.some((problem) => problem.startsWith(`${name}:`));
  if (neighbors.length > 0 && !values.CASK_CLUSTER_SECRET && isGood("CASK_CLUSTER_SECRET")) {
    problems.push("CASK_CLUSTER_SECRET: is missing; nodes with CASK_NEIGHBORS share a secret of 8 characters or more");
  }
  if (neighbors.length > 0 && !values.CASK_BASE_URL && isGood("CASK_BASE_URL")) {
    problems.push(
      "CASK_BASE_URL: is missing; with CASK_NEIGHBORS the others must know where this node is, such as http://host:8080",
    );
  }
  if (values.CASK_CLUSTER_SECRET_OLD && !values.CASK_CLUSTER_SECRET && isGood("CASK_CLUSTER_SECRET")) {
    problems.push("CASK_CLUSTER_SECRET_OLD: is set without CASK_CLUSTER_SECRET, the one that replaces it");
  }
  if (given["CASK_DISK_BACKEND_ROOT"] !== undefined && values.CASK_BACKEND !== "disk") {
    warnings.push(`CASK_DISK_BACKEND_ROOT is set, but does nothing with CASK_BACKEND=${values.CASK_BACKEND}`);
  }
  checkS3({ values, given, problems, warnings });
  checkBaseUrl(values, problems, warnings);
  checkAuthorities(values.CASK_SSL_CA, problems);
}

function checkS3({ values, given, problems, warnings }: Checked): void {
  if (values.CASK_BACKEND !== "s3") {
    const idle = Object.keys(given).filter((name) => name.startsWith("CASK_S3_"));
    for (const name of idle) warnings.push(`${name} is set, but does nothing with CASK_BACKEND=${values.CASK_BACKEND}`);
    return;
  }
  if (!values.CASK_S3_BUCKET) problems.push("CASK_S3_BUCKET: is missing; CASK_BACKEND=s3 needs a bucket");
  const { CASK_S3_ACCESS_KEY: access, CASK_S3_SECRET_KEY: secret } = values;
  if (Boolean(access) !== Boolean(secret)) {
    problems.push(`${access ? "CASK_S3_SECRET_KEY" : "CASK_S3_ACCESS_KEY"}: is missing; the two keys go together`);
  }
}

function checkBaseUrl(values: Values, problems: string[], warnings: string[]): void {
  const hasTls = Boolean((values.CASK_SSL_CERT ?? values.CASK_SSL_CERTIFICATE) && values.CASK_SSL_KEY);
  const url = values.CASK_BASE_URL;
  if (hasTls && url?.startsWith("http://")) {
    problems.push(`CASK_BASE_URL: is "${url}", but with CASK_SSL_CERT this node serves https: write https://`);
  }
  if (!hasTls && url?.startsWith("https://")) {
    warnings.push(
      "CASK_BASE_URL is https, but this node serves http (no CASK_SSL_CERT): TLS must end at a proxy before it",
    );
  }
  // Go Cask's process ends when its metadata have more; ours are refused where they begin.
  const inClear = values.CASK_GOSSIP_ENCRYPTION === "false" ? (values.CASK_CLUSTER_SECRET ?? "") : "";
  const told = JSON.stringify([values.CASK_UUID ?? "x".repeat(36), url ?? "", inClear]);
  if (Buffer.byteLength(told) + GOSSIP_METADATA_REST_BYTES > GOSSIP_METADATA_BYTES) {
    problems.push(
      `CASK_BASE_URL, CASK_UUID${inClear === "" ? "" : " and CASK_CLUSTER_SECRET"} are too long together: gossip metadata has ${GOSSIP_METADATA_BYTES} bytes`,
    );
  }
  if (values.CASK_GOSSIP_ENCRYPTION === "false" && values.CASK_CLUSTER_SECRET) {
    warnings.push(
      "CASK_GOSSIP_ENCRYPTION is false: whoever reaches the gossip port can read the cluster secret, and take the cluster over; " +
        "set it to accept, then to true, as soon as no Go node is left",
    );
    if (values.CASK_VNODES !== 16) {
      warnings.push(
        "CASK_VNODES is not 16: Go nodes in this cluster place blobs differently; set 16 while there are any",
      );
    }
  }
}

/** TLS passes over a file without certificates in silence: here it is refused. */
function checkAuthorities(file: string | undefined, problems: string[]): void {
  if (file === undefined) return;
  try {
    new X509Certificate(readFileSync(file));
  } catch (error) {
    problems.push(`CASK_SSL_CA: ${file} is no certificate that can be read (PEM): ${messageOf(error)}`);
  }
}

function s3Of(values: Values): Config["s3"] {
  if (values.CASK_BACKEND !== "s3") return undefined;
  const { CASK_S3_ACCESS_KEY: accessKeyId, CASK_S3_SECRET_KEY: secretAccessKey } = values;
  return {
    bucket: values.CASK_S3_BUCKET ?? "",
    prefix: (values.CASK_S3_PREFIX ?? "").replace(/^\/+|\/+$/g, ""),
    region: values.CASK_S3_REGION,
    endpoint: values.CASK_S3_ENDPOINT,
    forcePathStyle: values.CASK_S3_FORCE_PATH_STYLE,
    credentials: accessKeyId && secretAccessKey ? { accessKeyId, secretAccessKey } : undefined,
  };
}

function toConfig(values: Values, given: Record<string, string>, tls: Config["tls"]): Config {
  const scheme = tls ? "https" : "http";
  const root = path.resolve(values.CASK_DISK_BACKEND_ROOT);
  const ownState = values.CASK_BACKEND === "disk" ? root : path.resolve("data", `state-${values.CASK_PORT}`);
  return {
    port: values.CASK_PORT,
    host: values.CASK_HOST,
    baseUrl: values.CASK_BASE_URL ?? `${scheme}://localhost:${values.CASK_PORT}`,
    uuid: values.CASK_UUID,
    writeable: values.CASK_WRITEABLE,
    backend: values.CASK_BACKEND,
    diskBackendRoot: root,
    stateDir: values.CASK_STATE_DIR ? path.resolve(values.CASK_STATE_DIR) : ownState,
    s3: s3Of(values),
    neighbors: values.CASK_NEIGHBORS,
    replicationSettings: { replication: values.CASK_REPLICATION, maxReplication: values.CASK_MAX_REPLICATION },
    clusterSecret: values.CASK_CLUSTER_SECRET,
    clusterSecretOld: values.CASK_CLUSTER_SECRET_OLD,
    secrets: [values.CASK_CLUSTER_SECRET, values.CASK_CLUSTER_SECRET_OLD].filter((secret) => secret !== undefined),
    heartbeatIntervalMs: values.CASK_HEARTBEAT_INTERVAL,
    keepFreeBytes: values.CASK_KEEP_FREE,
    maxUploadBytes: values.CASK_MAX_UPLOAD_SIZE,
    cacheBytes: values.CASK_CACHE_BYTES,
    threads: values.CASK_MAX_PROCS,
    segmentBlobMaxBytes: values.CASK_SEGMENT_THRESHOLD,
    readTimeoutMs: values.CASK_READ_TIMEOUT,
    writeTimeoutMs: values.CASK_WRITE_TIMEOUT,
    tls,
    sslCa: values.CASK_SSL_CA,
    vnodes: values.CASK_VNODES,
    repair: {
      graceMs: values.CASK_REPAIR_GRACE,
      reconcileIntervalMs: values.CASK_RECONCILE_INTERVAL,
      repairBytesPerSecond: values.CASK_REPAIR_RATE,
      scrubBytesPerSecond: values.CASK_SCRUB_RATE,
      scrubIntervalMs: values.CASK_AAE_INTERVAL,
      trimGraceMs: values.CASK_TRIM_GRACE,
      trimDryRun: values.CASK_TRIM_DRY_RUN,
    },
    gossip: {
      port: values.CASK_GOSSIP_PORT,
      encryption: values.CASK_GOSSIP_ENCRYPTION,
      profile: values.CASK_GOSSIP_PROFILE,
      advertise: values.CASK_GOSSIP_ADVERTISE,
    },
    logLevel: values.CASK_LOG_LEVEL,
    shown: shownSettings(given),
  };
}

function shownSettings(given: Record<string, string>): Config["shown"] {
  return Object.entries(SETTINGS as Record<string, Setting<unknown>>).map(([name, { secret, shown, meaning }]) => {
    const value = given[name];
    if (value === undefined) return { name, value: `${shown} (default)`, meaning };
    return { name, value: secret ? "set" : value, meaning };
  });
}
