import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { MUTANTS, type Mutant, mutated } from "../test/support/mutants.ts";

/**
 * `npm run mutants [-- --seeds 200] [--only NAME]`: puts each defect back into a copy of the code and lets the simulator look for it. Ends with
 * code 1 if it misses one.
 */

const { values } = parseArgs({ options: { seeds: { type: "string", default: "200" }, only: { type: "string" } } });
const ROOT = path.resolve(import.meta.dirname, "..");
const write = (line: string) => process.stdout.write(`${line}\n`);

const chosen = MUTANTS.filter(({ name }) => values.only === undefined || name === values.only);
const missed: string[] = [];
for (const mutant of chosen) {
  const begun = performance.now();
  const found = hunt(mutant);
  const seconds = ((performance.now() - begun) / 1_000).toFixed(0);
  write(`${mutant.name.padEnd(24)} ${found ?? "NOT FOUND"} (${seconds} s): ${mutant.what}`);
  if (found === null) missed.push(mutant.name);
}
write(missed.length === 0 ? `all ${chosen.length} defects were found` : `missed: ${missed.join(", ")}`);
process.exitCode = missed.length === 0 ? 0 : 1;

/** The line that says after how many seeds it was found; null: it was not. */
function hunt(mutant: Mutant): string | null {
  const folder = mkdtempSync(path.join(tmpdir(), "cask-mutant-"));
  try {
    for (const name of ["src", "test/support", "scripts", "package.json"]) {
      cpSync(path.join(ROOT, name), path.join(folder, name), { recursive: true });
    }
    symlinkSync(path.join(ROOT, "node_modules"), path.join(folder, "node_modules"));
    for (const edit of mutant.edits) {
      const file = path.join(folder, edit.file);
      writeFileSync(file, mutated(readFileSync(file, "utf8"), edit));
    }
    const args =
      mutant.hunter === undefined
        ? ["scripts/sim.ts", "--processes", "1", "--seeds", values.seeds as string, "--until-breach"]
        : [`scripts/${mutant.hunter}.ts`, "20000", "--until-breach"];
    const { stdout, stderr } = spawnSync(process.execPath, args, { cwd: folder, encoding: "utf8" });
    const line = /^found after .*$/m.exec(stdout)?.[0];
    if (line === undefined && stderr !== "") throw new Error(`the simulator broke on ${mutant.name}: ${stderr}`);
    return line ?? null;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
