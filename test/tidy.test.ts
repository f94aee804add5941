import { sourceFiles } from "./support/source-files.ts";
import { tidyViolations } from "./support/tidy-rules.ts";

test("the code is tidy", () => {
  expect(tidyViolations([...sourceFiles("src"), ...sourceFiles("test"), ...sourceFiles("scripts")])).toEqual([]);
});

describe("the rules catch", () => {
  const check = (path: string, text: string) => tidyViolations([{ path, text }]);

  test.each([
    ["process.env", "const a = process.env.CASK_PORT;"],
    ["the wall clock", "const now = Date.now();"],
    ["timers", "setTimeout(() => done(), 5);"],
    ["chance", "const r = Math.random();"],
    ["console", "console.log(1);"],
    ["default exports", "export default 1;"],
    ["any", "function f(a: any) {}"],
    ["an error caught without a name", "try { a(); } catch { b(); }"],
    ["left-overs", "const a = 1; const TODO = 2;"],
  ])("%s", (_name, text) => {
    expect(check("src/core/a.ts", text)).toHaveLength(1);
  });

  test("but not in comments, nor where it belongs", () => {
    expect(check("src/core/a.ts", "// Date.now() would jump\n/* process.env */")).toEqual([]);
    expect(check("src/core/clock.ts", "const now = Date.now();")).toEqual([]);
  });

  test("names and sizes", () => {
    expect(check("src/core/utils.ts", "")).toHaveLength(1);
    expect(check("src/core/myFile.ts", "")).toHaveLength(1);
    expect(check("src/core/a.ts", "a;\n".repeat(401))).toHaveLength(1);
    expect(check("test/a.test.ts", "a;\n".repeat(401))).toEqual([]);
    const long = `export function f() {\n${"  a;\n".repeat(70)}}\n`;
    expect(check("src/core/a.ts", long)).toEqual([expect.stringContaining("a function of 72 lines")]);
    expect(
      check("src/core/a.ts", `class A {\n  async f(): Promise<void> {\n${"    a;\n".repeat(70)}  }\n}\n`),
    ).toHaveLength(1);
  });
});
