import { readFileSync } from "node:fs";
import path from "node:path";
import { VERSION } from "../src/version.ts";
import { PROJECT_ROOT } from "./support/source-files.ts";

test("the version in the code is the one in package.json", () => {
  const { version } = JSON.parse(readFileSync(path.join(PROJECT_ROOT, "package.json"), "utf8")) as { version: string };
  expect(VERSION).toBe(version);
});
