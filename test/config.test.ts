import { execFileSync, spawnSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import path from "node:path";
import { parseEnv } from "node:util";
import { type LoadedConfig, loadConfig } from "../src/config.ts";
import { GOSSIP_METADATA_REST_BYTES } from "../src/core/limits.ts";
import { defaultThreads, SETTINGS, type Setting } from "../src/settings.ts";
import { SETTING_ROWS } from "./support/setting-rows.ts";
import { PROJECT_ROOT } from "./support/source-files.ts";
import { TemporaryFolders } from "./support/temporary-folder.ts";

type Environment = Record<string, string>;
const SECRET = "a-good-secret";
const folders = new TemporaryFolders();
afterAll(() => folders.removeAll());

/** The message of the refusal, or fails. */
function refusal(env: Environment): string {
  let loaded: LoadedConfig;
  try {
    loaded = loadConfig(env);
  } catch (error) {
    expect(error).toMatchObject({ code: "BAD_CONFIG" });
    return (error as Error).message;
  }
  throw new Error(`taken: ${JSON.stringify(loaded.config)}`);
}

/** Rows that have tests of their own below. */
const TLS_ROWS = ["CASK_SSL_CERT", "CASK_SSL_CERTIFICATE", "CASK_SSL_KEY", "CASK_SSL_CA"];

test("every setting has a test here", () => {
  const tested = [...SETTING_ROWS.map(({ name }) => name), ...TLS_ROWS];
  expect(tested.sort()).toEqual(Object.keys(SETTINGS).sort());
});

describe.each(SETTING_ROWS)("$name", ({ name, read, unset, good, value, bad, beside = {} }) => {
  test("has its default when it is not set, or set to nothing", () => {
    expect(read(loadConfig({}).config)).toEqual(unset);
    if (!("secret" in SETTINGS[name])) expect(read(loadConfig({ [name]: "" }).config)).toEqual(unset);
  });

  test("is read, without a warning", () => {
    const { config, warnings } = loadConfig({ ...beside, [name]: good });
    expect(read(config)).toEqual(value);
    expect(warnings).toEqual([]);
  });

  for (const text of bad) {
    test(`is refused by name when it is "${text}"`, () => {
      expect(refusal({ ...beside, [name]: text })).toContain(`${name}: `);
    });
  }
});

describe("the table", () => {
  const rows = Object.entries(SETTINGS as Record<string, Setting<unknown>>);

  test("each default that is shown is one that would be read to the same value", () => {
    for (const [name, { read, value, shown }] of rows) {
      if (value === undefined || name === "CASK_HOST" || name === "CASK_NEIGHBORS" || name === "CASK_MAX_PROCS")
        continue;
      expect([name, read(shown)]).toEqual([name, value]);
    }
    expect(SETTINGS.CASK_MAX_PROCS.value).toBe(defaultThreads(availableParallelism()));
    expect([1, 2, 3, 4, 8, 64].map(defaultThreads)).toEqual([1, 1, 1, 4, 8, 8]);
  });

  test("each row has a unit and a meaning that fits on a line", () => {
    for (const [, { unit, meaning }] of rows) {
      expect(unit).not.toBe("");
      expect(meaning.length).toBeLessThan(100);
      expect(meaning).not.toContain("|");
    }
  });
});

test("all that is wrong is in one message, each line with its variable", () => {
  const message = refusal({
    CASK_PORT: "eighty",
    CASK_REPLICATION: "none",
    CASK_MAX_REPLICATION: "2",
    CASK_NEIGHBORS: "http://b:1",
    CASK_KEEP_FREE: "lots",
    CASK_SSL_CERT: "/no/such/file",
    CASK_BACKEND: "s3",
    CASK_S3_ACCESS_KEY: "an access key",
  });
  const lines = message.split("\n");
  expect(lines[0]).toMatch(/settings are wrong/);
  const named = lines.slice(1).map((line) => line.trim().replace(/:.*/, ""));
  expect(named.sort()).toEqual([
    "CASK_BASE_URL",
    "CASK_CLUSTER_SECRET",
    "CASK_KEEP_FREE",
    "CASK_MAX_REPLICATION",
    "CASK_PORT",
    "CASK_REPLICATION",
    "CASK_S3_BUCKET",
    "CASK_S3_SECRET_KEY",
    "CASK_SSL_KEY",
  ]);
  expect(message).toContain(
    'CASK_KEEP_FREE: expected bytes: a number, or one with a unit such as 512MiB, 1GiB or 10GB, not "lots"',
  );
});

describe("secrets", () => {
  const two = { CASK_NEIGHBORS: "http://b:1", CASK_BASE_URL: "http://a:1" };

  test.each(["CASK_CLUSTER_SECRET", "CASK_CLUSTER_SECRET_OLD"])("C41: an empty %s is refused", (name) => {
    expect(refusal({ [name]: "" })).toContain(`${name}: is empty`);
  });

  test("C41: a wrong secret is named, but never printed", () => {
    for (const secret of ["seven77", "hunter22\n", "x".repeat(300)]) {
      const message = refusal({ CASK_CLUSTER_SECRET: secret, CASK_CLUSTER_SECRET_OLD: secret });
      expect(message).toContain("CASK_CLUSTER_SECRET: ");
      expect(message).toContain("CASK_CLUSTER_SECRET_OLD: ");
      expect(message).not.toContain(secret.trim());
    }
  });

  test("C41: no secret is among the settings that are shown, nor in a warning", () => {
    const secrets = Object.entries(SETTINGS as Record<string, Setting<unknown>>).filter(([, { secret }]) => secret);
    expect(secrets.map(([name]) => name)).toEqual(
      expect.arrayContaining(["CASK_CLUSTER_SECRET", "CASK_S3_SECRET_KEY"]),
    );
    const { config, warnings } = loadConfig(Object.fromEntries(secrets.map(([name]) => [name, "hunter22-hunter22"])));
    expect(JSON.stringify([config.shown, warnings])).not.toContain("hunter22");
    for (const [name] of secrets) expect(config.shown).toContainEqual(expect.objectContaining({ name, value: "set" }));
  });

  test("nodes with neighbors need one, and a base URL", () => {
    const message = refusal({ CASK_NEIGHBORS: "http://b:1" });
    expect(message).toContain("CASK_CLUSTER_SECRET: is missing");
    expect(message).toContain("CASK_BASE_URL: is missing");
  });

  test("one that is wrong is not called missing as well", () => {
    for (const secret of ["", "short"]) {
      expect(refusal({ ...two, CASK_CLUSTER_SECRET: secret })).not.toContain("is missing");
    }
  });
});

describe("C39: settings that would do nothing beside others", () => {
  test("an old secret without a new one is refused", () => {
    expect(refusal({ CASK_CLUSTER_SECRET_OLD: SECRET })).toContain("CASK_CLUSTER_SECRET_OLD: is set without");
  });

  test("a data folder for a node that keeps blobs in memory is a warning", () => {
    const { warnings } = loadConfig({ CASK_BACKEND: "memory", CASK_DISK_BACKEND_ROOT: "/srv/cask" });
    expect(warnings).toEqual([expect.stringMatching(/^CASK_DISK_BACKEND_ROOT .* CASK_BACKEND=memory/)]);
  });
});

describe("replication", () => {
  test("a maximum below it is refused, an equal one taken", () => {
    expect(refusal({ CASK_REPLICATION: "4", CASK_MAX_REPLICATION: "3" })).toContain(
      "CASK_MAX_REPLICATION: is 3, below",
    );
    expect(refusal({ CASK_MAX_REPLICATION: "2" })).toContain("CASK_REPLICATION, which is 3");
    const { config } = loadConfig({ CASK_REPLICATION: "4", CASK_MAX_REPLICATION: "4" });
    expect(config.replicationSettings).toEqual({ replication: 4, maxReplication: 4 });
  });
});

describe("C28: what gossip must carry has 512 bytes", () => {
  const long = { CASK_BASE_URL: `http://${"a".repeat(100)}.example`, CASK_UUID: "u".repeat(64) };
  const inClear = { ...long, CASK_GOSSIP_ENCRYPTION: "false" };

  test("longer settings are refused at the start, by name", () => {
    const message = refusal({ ...inClear, CASK_CLUSTER_SECRET: "s".repeat(256) });
    expect(message).toMatch(/CASK_BASE_URL, CASK_UUID and CASK_CLUSTER_SECRET .* 512 bytes/);
    expect(message).not.toContain("ssss");
    expect(refusal({ CASK_BASE_URL: `http://${"a".repeat(240)}` })).toMatch(/CASK_BASE_URL, CASK_UUID .* 512 bytes/);
  });

  test("a long secret takes no room where it does not travel", () => {
    expect(() => loadConfig({ ...long, CASK_CLUSTER_SECRET: "s".repeat(256) })).not.toThrow();
  });

  test("what fits is taken, and characters that JSON escapes count double", () => {
    const most = 512 - GOSSIP_METADATA_REST_BYTES - JSON.stringify(["", "", ""]).length;
    const room = most - long.CASK_BASE_URL.length - long.CASK_UUID.length;
    expect(() => loadConfig({ ...inClear, CASK_CLUSTER_SECRET: "s".repeat(room) })).not.toThrow();
    refusal({ ...inClear, CASK_CLUSTER_SECRET: "s".repeat(room + 1) });
    refusal({ ...inClear, CASK_CLUSTER_SECRET: '"'.repeat(room) });
  });
});

describe("gossip in clear, as Go nodes speak it", () => {
  const env = { CASK_CLUSTER_SECRET: "a good secret", CASK_GOSSIP_ENCRYPTION: "false" };

  test("says what that means, and that Go nodes have 16 points", () => {
    expect(loadConfig(env).warnings).toEqual([
      expect.stringMatching(/^CASK_GOSSIP_ENCRYPTION is false: .*secret/),
      expect.stringMatching(/^CASK_VNODES is not 16/),
    ]);
    expect(loadConfig({ ...env, CASK_VNODES: "16" }).warnings).toHaveLength(1);
    expect(loadConfig({ ...env, CASK_GOSSIP_ENCRYPTION: "true" }).warnings).toEqual([]);
  });
});

const hasOpenssl = spawnSync("openssl", ["version"]).status === 0; // to make certificates with

(hasOpenssl ? describe : describe.skip)("TLS", () => {
  const files = async () => {
    const folder = await folders.make();
    const make = (name: string) => {
      const [cert, key] = [path.join(folder, `${name}.pem`), path.join(folder, `${name}.key`)];
      const args = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"];
      execFileSync("openssl", [...args, "-out", cert, "-keyout", key], { stdio: "ignore" });
      return { cert, key };
    };
    const garbage = path.join(folder, "garbage.pem");
    writeFileSync(garbage, "this is no certificate\n");
    return { one: make("one"), other: make("other"), garbage };
  };
  let made: Awaited<ReturnType<typeof files>>;
  beforeAll(async () => {
    made = await files();
  });

  test("a pair is read, and the base URL is https by default", () => {
    const { cert, key } = made.one;
    const { config, warnings } = loadConfig({ CASK_SSL_CERT: cert, CASK_SSL_KEY: key, CASK_SSL_CA: cert });
    const files = { certFile: cert, keyFile: key };
    expect(config.tls).toEqual({ cert: readFileSync(cert, "utf8"), key: readFileSync(key, "utf8"), ...files });
    expect(config.baseUrl).toBe("https://localhost:8080");
    expect(config.sslCa).toBe(cert);
    expect(warnings).toEqual([]);
    expect(loadConfig({}).config).toMatchObject({ tls: undefined, sslCa: undefined });
  });

  test("the longer spelling CASK_SSL_CERTIFICATE is the same; both may be set if they are equal", () => {
    const { cert, key } = made.one;
    expect(loadConfig({ CASK_SSL_CERTIFICATE: cert, CASK_SSL_KEY: key }).config.tls).toBeDefined();
    const both = { CASK_SSL_CERT: cert, CASK_SSL_CERTIFICATE: cert, CASK_SSL_KEY: key };
    expect(loadConfig(both).config.tls).toBeDefined();
    expect(refusal({ ...both, CASK_SSL_CERTIFICATE: made.other.cert })).toContain("CASK_SSL_CERTIFICATE differ");
  });

  test("C39: a pair with an http base URL is refused, not ignored", () => {
    const env = { CASK_SSL_CERT: made.one.cert, CASK_SSL_KEY: made.one.key };
    expect(refusal({ ...env, CASK_BASE_URL: "http://a:1" })).toContain('CASK_BASE_URL: is "http://a:1"');
    expect(loadConfig({ ...env, CASK_BASE_URL: "https://a:1" }).config.baseUrl).toBe("https://a:1");
  });

  test("https without a pair is a proxy's: a warning", () => {
    expect(loadConfig({ CASK_BASE_URL: "https://a:1" }).warnings).toEqual([
      expect.stringMatching(/^CASK_BASE_URL is https/),
    ]);
  });

  test("half a pair is refused, and the other half named", () => {
    expect(refusal({ CASK_SSL_CERT: made.one.cert })).toContain("CASK_SSL_KEY: is missing");
    expect(refusal({ CASK_SSL_CERTIFICATE: made.one.cert })).toContain("CASK_SSL_KEY: is missing");
    expect(refusal({ CASK_SSL_KEY: made.one.key })).toContain("CASK_SSL_CERT: is missing");
  });

  test("files that are missing, no certificate, or no pair are refused by name", () => {
    const { one, other, garbage } = made;
    for (const [cert, key] of [
      ["/no/such/cert", one.key],
      [one.cert, "/no/such/key"],
      [garbage, one.key],
      [one.cert, garbage],
      [one.cert, other.key],
    ] as const) {
      expect(refusal({ CASK_SSL_CERT: cert, CASK_SSL_KEY: key })).toContain(`${cert} and ${key} are no pair`);
    }
  });

  test("authorities that are missing or no certificate are refused, not ignored", () => {
    expect(refusal({ CASK_SSL_CA: "/no/such/file" })).toContain("CASK_SSL_CA: /no/such/file");
    expect(refusal({ CASK_SSL_CA: made.garbage })).toContain("CASK_SSL_CA: ");
  });
});

describe("names", () => {
  test("Kubernetes' CASK_PORT has a message of its own", () => {
    expect(refusal({ CASK_PORT: "tcp://10.0.0.1:8080" })).toMatch(/CASK_PORT: .*Kubernetes.*enableServiceLinks/);
  });

  test.each(["CASK_SERVICE_HOST", "CASK_SERVICE_PORT", "CASK_SERVICE_PORT_HTTP", "CASK_PORT_8080_TCP_ADDR"])(
    "Kubernetes' %s is a warning",
    (name) => {
      const { warnings } = loadConfig({ [name]: "10.0.0.1" });
      expect(warnings).toEqual([expect.stringMatching(new RegExp(`^${name} was put there by Kubernetes`))]);
    },
  );

  test("an unknown name is a warning with the nearest known one, and its value is not shown", () => {
    expect(loadConfig({ CASK_CLUSTER_SECRT: "hunter22" }).warnings).toEqual([
      "CASK_CLUSTER_SECRT is not a setting of cask and is ignored; did you mean CASK_CLUSTER_SECRET?",
    ]);
    expect(loadConfig({ CASK_WALLPAPER_OF_THE_NODE: "blue" }).warnings).toEqual([
      "CASK_WALLPAPER_OF_THE_NODE is not a setting of cask and is ignored",
    ]);
  });

  test("variables of other programs are none of ours", () => {
    expect(loadConfig({ PORT: "x", CASKET_PORT: "y", NODE_ENV: "production" }).warnings).toEqual([]);
  });
});

describe("s3", () => {
  const env = { CASK_BACKEND: "s3", CASK_S3_BUCKET: "blobs" };

  test("needs a bucket; the two keys go together, and may both be left to the machine", () => {
    expect(refusal({ CASK_BACKEND: "s3" })).toContain("CASK_S3_BUCKET: is missing");
    expect(refusal({ ...env, CASK_S3_SECRET_KEY: "SK" })).toContain("CASK_S3_ACCESS_KEY: is missing");
    expect(loadConfig(env).config.s3?.credentials).toBeUndefined();
    const keys = { CASK_S3_ACCESS_KEY: "AK", CASK_S3_SECRET_KEY: "SK" };
    expect(loadConfig({ ...env, ...keys }).config.s3?.credentials).toEqual({
      accessKeyId: "AK",
      secretAccessKey: "SK",
    });
  });

  test("C39: its settings are not silently ignored with another backend", () => {
    const { config, warnings } = loadConfig({ CASK_S3_BUCKET: "blobs" });
    expect(config.s3).toBeUndefined();
    expect(warnings).toEqual(["CASK_S3_BUCKET is set, but does nothing with CASK_BACKEND=disk"]);
  });

  test("C39: nor is a data folder with s3", () => {
    expect(loadConfig({ ...env, CASK_DISK_BACKEND_ROOT: "/srv" }).warnings).toEqual([
      "CASK_DISK_BACKEND_ROOT is set, but does nothing with CASK_BACKEND=s3",
    ]);
  });
});

describe("neighbors", () => {
  test("neighbors are base URLs, gossip addresses, or both", () => {
    const env = { CASK_CLUSTER_SECRET: "a good secret", CASK_BASE_URL: "http://a:8080" };
    const { config, warnings } = loadConfig({ ...env, CASK_NEIGHBORS: "http://b:8080, c:7946,[::1]:7946" });
    expect(warnings).toEqual([]);
    expect(config.neighbors).toEqual([
      { kind: "url", url: "http://b:8080" },
      { kind: "gossip", host: "c", port: 7946 },
      { kind: "gossip", host: "::1", port: 7946 },
    ]);
  });
});

test("the settings that are shown have each name once, with what was set or the default", () => {
  const { shown } = loadConfig({ CASK_PORT: "9000" }).config;
  expect(shown.map(({ name }) => name)).toEqual(Object.keys(SETTINGS));
  expect(shown.find(({ name }) => name === "CASK_PORT")?.value).toBe("9000");
  expect(shown.find(({ name }) => name === "CASK_KEEP_FREE")?.value).toBe("1GiB (default)");
});

test("a node in memory remembers in a folder of its own, one for each port", () => {
  const { config } = loadConfig({ CASK_BACKEND: "memory", CASK_PORT: "9001" });
  expect(config.stateDir).toBe(path.resolve("data/state-9001"));
});

test.each(readdirSync(path.join(PROJECT_ROOT, "env")))("env/%s is taken, without a warning", (name) => {
  const env = parseEnv(readFileSync(path.join(PROJECT_ROOT, "env", name), "utf8"));
  expect(loadConfig(env as Environment).warnings).toEqual([]);
});

test("the process ends with 2, says everything on standard error, and has opened nothing", async () => {
  const folder = await folders.make();
  const { status, stdout, stderr } = spawnSync(process.execPath, [path.join(PROJECT_ROOT, "src/main.ts")], {
    cwd: folder,
    env: { CASK_PORT: "none", CASK_REPLICATION: "0", CASK_CLUSTER_SECRET: "", CASK_DISK_BACKEND_ROOT: "blobs" },
    encoding: "utf8",
  });
  expect(stdout).toBe("");
  expect(stderr.trimEnd().split("\n")).toEqual([
    expect.stringContaining("settings are wrong"),
    expect.stringContaining("CASK_CLUSTER_SECRET: is empty"),
    expect.stringContaining("CASK_PORT: "),
    expect.stringContaining("CASK_REPLICATION: "),
  ]);
  expect(status).toBe(2);
  expect(readdirSync(folder)).toEqual([]);
});
