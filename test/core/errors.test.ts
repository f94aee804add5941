import { readFile } from "node:fs/promises";
import { runInNewContext } from "node:vm";
import { asCaskError, CaskError, ERROR_CODES, hasCode, messageOf, systemCode } from "../../src/core/errors.ts";

test("every code says what it means, in a sentence", () => {
  for (const [code, { meaning }] of Object.entries(ERROR_CODES)) {
    expect(code).toMatch(/^[A-Z_]+$/);
    expect(meaning).toMatch(/^[A-Z].*\.$/s);
  }
});

test("an error knows its code, its cause and whether a retry may help", () => {
  const cause = new Error("disk");
  const error = new CaskError("STORAGE_FAILED", "cannot write", cause);
  expect(error).toMatchObject({
    code: "STORAGE_FAILED",
    message: "cannot write",
    cause,
    retry: true,
    name: "CaskError",
  });
  expect(new CaskError("BAD_KEY", "no key")).toMatchObject({ retry: false });
  expect("cause" in new CaskError("BAD_KEY", "no key")).toBe(false);
  expect(hasCode(error, "STORAGE_FAILED")).toBe(true);
  expect(hasCode(error, "BAD_KEY")).toBe(false);
  expect(hasCode({ code: "BAD_KEY" }, "BAD_KEY")).toBe(false);
});

test("what a library threw is wrapped once, with its message", () => {
  const wrapped = asCaskError(new Error("socket hang up"), "PEER_FAILED", "node b");
  expect(wrapped).toMatchObject({ code: "PEER_FAILED", message: "node b: socket hang up" });
  expect(asCaskError(wrapped, "INTERNAL", "again")).toBe(wrapped);
});

describe("messageOf", () => {
  test.each([
    ["the message", new Error("broken"), "broken"],
    ["the code of one without a message", Object.assign(new Error(""), { code: "ECONNREFUSED" }), "ECONNREFUSED"],
    ["the name of one that says nothing else", new RangeError(""), "RangeError"],
    ["text", "just text", "just text"],
    ["a number", 5, "5"],
    ["null", null, "null"],
    ["undefined", undefined, "undefined"],
    ["an object that is no error", { message: 5 }, "[object Object]"],
  ])("gives %s", (_name, thrown, expected) => {
    expect(messageOf(thrown)).toBe(expected);
  });

  test("reads errors of another realm", () => {
    expect(messageOf(runInNewContext("new Error('from elsewhere')"))).toBe("from elsewhere");
  });
});

describe("systemCode", () => {
  test("is the code of what Node's core throws", async () => {
    const error = await readFile("/does/not/exist").catch((thrown: unknown) => thrown);
    expect(systemCode(error)).toBe("ENOENT");
  });

  test("is undefined for all else, a CaskError too", () => {
    const others = [new CaskError("BAD_KEY", "no"), new Error("plain"), null, undefined, "ENOENT", { code: 5 }];
    for (const thrown of others) expect(systemCode(thrown)).toBeUndefined();
  });
});
