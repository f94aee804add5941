import { CaskError } from "../../src/core/errors.ts";
import { LOG_LINE_MAX_CHARS, LOG_LINES_MAX_COUNT } from "../../src/core/limits.ts";
import { createLogger, type LogLevel, LogRing, silentLogger } from "../../src/core/log.ts";

function logger(level: LogLevel = "info") {
  const ring = new LogRing();
  const lines: string[] = [];
  const log = createLogger({ level, ring, output: { write: (line: string) => void lines.push(line) } });
  return { log, ring, lines };
}

test("each call is one line of JSON on the output and one line in memory", () => {
  const { log, ring, lines } = logger();
  log.info({ key: "sha1:1", bytes: 5 }, "stored");
  expect(lines).toHaveLength(1);
  const time = expect.stringMatching(/^\d{4}-.*Z$/);
  expect(JSON.parse(lines[0] as string)).toMatchObject({ time, msg: "stored", key: "sha1:1", bytes: 5 });
  expect(lines[0]).toMatch(/\n$/);
  expect(ring.lines()).toEqual([
    {
      time,
      level: "info",
      message: "stored",
      fields: '{"key":"sha1:1","bytes":5}',
    },
  ]);
});

test("line ends in a message do not make a second line", () => {
  const { log, lines } = logger();
  log.warn({ path: "/a\nb" }, "first\n{forged}");
  expect(lines).toHaveLength(1);
  expect((lines[0] as string).trimEnd()).not.toContain("\n");
});

test("lines below the level are left out", () => {
  const { log, ring } = logger("warn");
  log.info({}, "not this");
  log.error({}, "this");
  expect(ring.lines().map(({ message }) => message)).toEqual(["this"]);
});

test("the lines in memory are bounded: the oldest go first", () => {
  const { log, ring } = logger();
  for (let i = 0; i < LOG_LINES_MAX_COUNT + 10; i++) log.info({}, `line ${i}`);
  expect(ring.lines()).toHaveLength(LOG_LINES_MAX_COUNT);
  expect(ring.lines()[0]?.message).toBe("line 10");
  expect(ring.lines().at(-1)?.message).toBe(`line ${LOG_LINES_MAX_COUNT + 9}`);
});

test("long lines are cut in memory", () => {
  const { log, ring } = logger();
  log.info({ long: "f".repeat(10 * LOG_LINE_MAX_CHARS) }, "m".repeat(10 * LOG_LINE_MAX_CHARS));
  const [line] = ring.lines();
  expect(line?.message).toHaveLength(LOG_LINE_MAX_CHARS);
  expect(line?.fields).toHaveLength(LOG_LINE_MAX_CHARS);
});

test.each([
  ["secret", { secret: "hunter22" }],
  ["clusterSecret", { clusterSecret: "hunter22" }],
  ["config.clusterSecret", { config: { clusterSecret: "hunter22" } }],
  ["announcement.secret", { announcement: { secret: "hunter22" } }],
  ["headers", { headers: { "x-cask-cluster-secret": "hunter22", accept: "*/*" } }],
  ["req.headers", { req: { headers: { "x-cask-cluster-secret": "hunter22", accept: "*/*" } } }],
])("C41: a secret in %s is neither put out nor kept", (_name, fields) => {
  const { log, ring, lines } = logger();
  log.child({ worker: "test" }).info(fields, "with a secret");
  expect(lines.join("")).toContain("with a secret");
  expect(lines.join("")).not.toContain("hunter22");
  expect(JSON.stringify(ring.lines())).not.toContain("hunter22");
});

test("an error is told with its message, its stack and its causes", () => {
  const { log, ring } = logger();
  log.error({ err: new Error("outer", { cause: new Error("inner") }) }, "failed");
  expect(ring.lines()[0]?.fields).toContain("outer");
  expect(ring.lines()[0]?.fields).toContain("inner");
});

test("an expected failure is told in one short line: without a stack, and no message twice", () => {
  const { log, lines } = logger();
  const refused = Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED" });
  const away = new CaskError("PEER_FAILED", "http://b:8080 cannot be reached: connect ECONNREFUSED", refused);
  log.warn({ err: away }, "will try again");
  log.warn({ err: new CaskError("STORAGE_FAILED", "the copy can't be made", away) }, "failed");
  expect(lines.map((line) => JSON.parse(line).err)).toEqual([
    { code: "PEER_FAILED", message: "http://b:8080 cannot be reached: connect ECONNREFUSED" },
    {
      code: "STORAGE_FAILED",
      message: "the copy can't be made: http://b:8080 cannot be reached: connect ECONNREFUSED",
    },
  ]);
});

test.each([
  ["INTERNAL", new CaskError("INTERNAL", "the stage has no file")],
  ["a cause without a code", new CaskError("STORAGE_FAILED", "not read", new TypeError("x is not a function"))],
])("a defect keeps its stack: %s", (_name, defect) => {
  const { log, lines } = logger();
  log.error({ err: defect }, "failed");
  expect(JSON.parse(lines[0] as string).err.stack).toContain("log.test");
});

test("the silent logger takes everything and says nothing", () => {
  const log = silentLogger();
  expect(() => log.child({}).fatal({ err: new Error("x") }, "nobody hears")).not.toThrow();
});
