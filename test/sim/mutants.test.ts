import { readFileSync } from "node:fs";
import path from "node:path";
import { MUTANTS, mutated } from "../support/mutants.ts";
import { PROJECT_ROOT } from "../support/source-files.ts";

/** `npm run mutants` lets the simulator look for them. */
test.each(MUTANTS)("the defect $name can still be put back", ({ edits }) => {
  for (const edit of edits) {
    const text = readFileSync(path.join(PROJECT_ROOT, edit.file), "utf8");
    expect(mutated(text, edit)).not.toBe(text);
  }
});
