import fc from "fast-check";
import {
  nearestName,
  type ReadValue,
  readBaseUrl,
  readBoolean,
  readBytes,
  readChoice,
  readNeighbors,
  readNodeId,
  readSeconds,
  readSecret,
  readWhole,
} from "../../src/core/setting-values.ts";

type Row = readonly [name: string, read: ReadValue<unknown>, text: string, value: unknown];

const GOOD: readonly Row[] = [
  ["a whole number", readWhole(1, 10), "10", 10],
  ["seconds", readSeconds(0.1), "5", 5_000],
  ["fractions of seconds", readSeconds(0), "0.25", 250],
  ["no seconds", readSeconds(0), "0", 0],
  ["bytes", readBytes(0), "1073741824", 2 ** 30],
  ["MiB", readBytes(0), "512MiB", 512 * 2 ** 20],
  ["GiB with a fraction and a space", readBytes(0), "1.5 GiB", 1.5 * 2 ** 30],
  ["GB", readBytes(0), "10GB", 10e9],
  ["units in any case", readBytes(0), "2tib", 2 * 2 ** 40],
  ["true", readBoolean, "TRUE", true],
  ["yes", readBoolean, "yes", true],
  ["0", readBoolean, "0", false],
  ["a choice", readChoice("lan", "wan"), "wan", "wan"],
  ["a secret", readSecret, "eight888", "eight888"],
  ["a secret with spaces inside", readSecret, "correct horse battery", "correct horse battery"],
  ["a UUID", readNodeId, "fb78e738-9ad7-4648-b8d1-3382b1a6ed13", "fb78e738-9ad7-4648-b8d1-3382b1a6ed13"],
  ["a URL", readBaseUrl, "http://host:8080", "http://host:8080"],
  ["a URL with slashes at its end", readBaseUrl, "https://Host/cask//", "https://host/cask"],
  ["a URL with an empty query", readBaseUrl, "http://host/?", "http://host"],
  ["a URL with an empty fragment", readBaseUrl, "http://host/cask#", "http://host/cask"],
];

const BAD: ReadonlyArray<readonly [name: string, read: ReadValue<unknown>, text: string]> = [
  ["a whole number that is too large", readWhole(1, 10), "11"],
  ["a whole number with a sign", readWhole(1, 10), "+5"],
  ["a whole number in hexadecimal", readWhole(1, 100), "0x10"],
  ["a fraction for a whole number", readWhole(1, 10), "1.5"],
  ["no number", readWhole(1, 10), "ten"],
  ["seconds with a unit", readSeconds(0), "5s"],
  ["negative seconds", readSeconds(0), "-1"],
  ["too few seconds", readSeconds(0.1), "0.05"],
  ["more seconds than a timer holds", readSeconds(0), "3000000"],
  ["bytes with an unknown unit", readBytes(0), "5 elephants"],
  ["a unit that every object has", readBytes(0), "5constructor"],
  ["bytes without a number", readBytes(0), "GiB"],
  ["more bytes than can be counted", readBytes(0), "99999999TiB"],
  ["fewer bytes than it takes", readBytes(1), "0"],
  ["negative bytes", readBytes(0), "-5"],
  ["no truth value", readBoolean, "maybe"],
  ["a truth value that every object has", readBoolean, "constructor"],
  ["no choice", readChoice("lan", "wan"), "man"],
  ["a short secret", readSecret, "seven77"],
  ["a long secret", readSecret, "x".repeat(257)],
  ["a secret of spaces", readSecret, "          "],
  ["a secret with a line end, as files have", readSecret, "eight888\n"],
  ["a secret that a header cannot carry", readSecret, "пароль-пароль"],
  ["a UUID with a slash", readNodeId, "../etc"],
  ["a long UUID", readNodeId, "x".repeat(65)],
  ["a URL without a scheme", readBaseUrl, "host:8080"],
  ["a URL with another scheme", readBaseUrl, "ftp://host"],
  ["a URL with a query", readBaseUrl, "http://host/?a=b"],
  ["a URL with a password", readBaseUrl, "http://me:secret@host/"],
];

test.each(GOOD)("reads %s", (_name, read, text, value) => {
  expect(read(text)).toBe(value);
});

test.each(BAD)("refuses %s, and says what is expected", (_name, read, text) => {
  expect(() => read(text)).toThrow(/^expected /);
});

test("whole numbers: exactly those within the bounds", () => {
  const read = readWhole(3, 4096);
  fc.assert(
    fc.property(fc.integer({ min: -10, max: 10_000 }), (value) => {
      if (value >= 3 && value <= 4096) expect(read(String(value))).toBe(value);
      else expect(() => read(String(value))).toThrow("from 3 to 4096");
    }),
  );
});

describe("neighbors", () => {
  test("are base URLs and gossip addresses, with commas and spaces between them", () => {
    expect(readNeighbors(" http://a:8080/ , b.example:7946,[::1]:7946,, ")).toEqual([
      { kind: "url", url: "http://a:8080" },
      { kind: "gossip", host: "b.example", port: 7946 },
      { kind: "gossip", host: "::1", port: 7946 },
    ]);
    expect(readNeighbors(" , ")).toEqual([]);
  });

  test.each(["host", "host:", "host:0", "host:70000", "a b:80", "ftp://host", "host:80/path", ":80"])(
    "refuses %p",
    (text) => {
      expect(() => readNeighbors(`http://good:1,${text}`)).toThrow();
    },
  );
});

describe("nearestName", () => {
  const known = ["CASK_PORT", "CASK_HOST", "CASK_REPLICATION", "CASK_MAX_REPLICATION"];

  test.each([
    ["CASK_PROT", "CASK_PORT"],
    ["CASK_REPLICATON", "CASK_REPLICATION"],
    ["CASK_REPLICATIONS", "CASK_REPLICATION"],
    ["CASK_MAXREPLICATION", "CASK_MAX_REPLICATION"],
  ])("%s: did you mean %s?", (typed, meant) => {
    expect(nearestName(typed, known)).toBe(meant);
  });

  test("nothing is near to something else altogether", () => {
    expect(nearestName("CASK_COLOUR_OF_THE_LABEL", known)).toBeUndefined();
    expect(nearestName("CASK_X", [])).toBeUndefined();
  });
});
