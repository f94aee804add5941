import { architectureViolations } from "./support/architecture-rules.ts";
import { sourceFiles } from "./support/source-files.ts";

test("imports go down only, never sideways, never in a circle", () => {
  expect(architectureViolations(sourceFiles("src"))).toEqual([]);
});

describe("the rules catch", () => {
  const check = (path: string, text: string, ...more: Array<{ path: string; text: string }>) =>
    architectureViolations([{ path, text }, ...more]);

  test.each([
    ["up", "src/core/key.ts", 'import { Get } from "../blobs/get.ts";', "down only"],
    ["up, types too", "src/cluster/a.ts", 'import type { Get } from "../blobs/get.ts";', "down only"],
    ["up, over several lines", "src/peer/a.ts", 'import {\n  type A,\n  B,\n} from "../cluster/b.ts";', "down only"],
    ["sideways", "src/storage/disk.ts", 'import { Ring } from "../placement/ring.ts";', "sideways"],
    ["re-exports", "src/core/a.ts", 'export { x } from "../http/app.ts";', "down only"],
    ["dynamic imports", "src/core/a.ts", 'const a = await import("../http/app.ts");', "down only"],
    [
      "the composition root from below",
      "src/http/app.ts",
      'import { createNode } from "../node.ts";',
      "above all floors",
    ],
    ["settings from below", "src/blobs/put.ts", 'import type { Config } from "../config.ts";', "above all floors"],
    ["main reaching for a floor", "src/main.ts", 'import { Get } from "./blobs/get.ts";', "may put together"],
    ["a folder without a floor", "src/utils/a.ts", "", "no floor"],
  ])("%s", (_name, path, text, reason) => {
    expect(check(path, text)).toEqual([expect.stringContaining(reason)]);
  });

  test("circles", () => {
    const found = check("src/core/a.ts", 'import "./b.ts";', {
      path: "src/core/b.ts",
      text: 'import { a } from "./a.ts";',
    });
    expect(found).toEqual([expect.stringContaining("circle: src/core/a.ts -> src/core/b.ts -> src/core/a.ts")]);
  });
});
