import { existsSync, readdirSync, readFileSync } from "node:fs";
import { ERROR_CODES } from "../src/core/errors.ts";
import { STATUS_OF_CODE } from "../src/http/error-answer.ts";
import { SETTINGS } from "../src/settings.ts";

const readme = readFileSync("README.md", "utf8");
const scripts = (JSON.parse(readFileSync("package.json", "utf8")) as { scripts: Record<string, string> }).scripts;

function rowsOf(text: string, pattern: RegExp): string[] {
  return text.split("\n").filter((line) => pattern.test(line));
}

test("the README's table has each setting with its default, unit and meaning, and no other", () => {
  const expected = Object.entries(SETTINGS).map(([name, setting]) => {
    return `| \`${name}\` | ${setting.shown} | ${setting.unit} | ${setting.meaning} |`;
  });
  expect(rowsOf(readme, /^\| `CASK_/)).toEqual(expected);
});

test("docs/errors.md has each code with its status and meaning, and no other", () => {
  const expected = Object.entries(ERROR_CODES).map(([code, { retry, meaning }]) => {
    const status = STATUS_OF_CODE[code as keyof typeof ERROR_CODES];
    return `| \`${code}\` | ${status} | ${retry ? "may help" : "no"} | ${meaning} |`;
  });
  expect(rowsOf(readFileSync("docs/errors.md", "utf8"), /^\| `[A-Z_]+` \|/)).toEqual(expected);
});

test("every command that the README names exists", () => {
  const named = [...readme.matchAll(/npm run (?:--silent )?([a-z0-9-]+)/g)].map((match) => match[1] as string);
  expect(named.length).toBeGreaterThan(5);
  expect(named.filter((name) => !(name in scripts))).toEqual([]);
  const files = Object.values(scripts).flatMap((script) => script.match(/(scripts|bench)\/[a-z0-9-]+\.ts/g) ?? []);
  expect(files.filter((file) => !existsSync(file))).toEqual([]);
});

test("every link of the documents leads somewhere", () => {
  const documents = ["README.md", ...readdirSync("docs", { recursive: true }).map((name) => `docs/${name}`)];
  const broken = documents
    .filter((name) => name.endsWith(".md"))
    .flatMap((name) => {
      const folder = name.includes("/") ? name.slice(0, name.lastIndexOf("/") + 1) : "";
      const links = [...readFileSync(name, "utf8").matchAll(/\]\((?!https?:)([^)#]+)/g)].map((match) => match[1]);
      return links.filter((link) => !existsSync(folder + link)).map((link) => `${name}: ${link}`);
    });
  expect(broken).toEqual([]);
});

test("docs/operations.md has a row for each metric, and for no other", () => {
  const names = new Set(readFileSync("src/core/metrics.ts", "utf8").match(/"cask_[a-z0-9_]+"/g));
  const rows = rowsOf(readFileSync("docs/operations.md", "utf8"), /^\| `cask_/).map((row) => row.split("`")[1]);
  expect(rows.sort()).toEqual([...names].map((name) => name.slice(1, -1)).sort());
});
