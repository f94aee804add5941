import type { SourceFile } from "./source-files.ts";

interface Ban {
  readonly pattern: RegExp;
  readonly reason: string;
  /** Files that may. */
  readonly allowed: readonly string[];
}

const BANS: readonly Ban[] = [
  { pattern: /\bprocess\.env\b/, reason: "settings are read in config.ts", allowed: ["src/config.ts"] },
  {
    pattern: /\bDate\.now\(|\bnew Date\(\)|\bperformance\.now\(/,
    reason: "take a Clock",
    allowed: ["src/core/clock.ts"],
  },
  { pattern: /(?<!\.)\bset(Timeout|Interval)\(/, reason: "take a Clock", allowed: ["src/core/clock.ts"] },
  {
    pattern: /\bMath\.random\(|\brandomUUID\(|\brandomBytes\(/,
    reason: "take a Random",
    allowed: ["src/core/random.ts"],
  },
  { pattern: /\bconsole\./, reason: "take a Logger", allowed: ["src/main.ts"] },
  { pattern: /\bprocess\.exit\(/, reason: "only main.ts ends the process", allowed: ["src/main.ts"] },
  { pattern: /\bexport default\b/, reason: "exports have names", allowed: [] },
  { pattern: /\bexport \* from\b/, reason: "no barrel files", allowed: [] },
  { pattern: /:\s*any\b|\bas any\b|<any>/, reason: "say what type it is", allowed: [] },
  { pattern: /@ts-(ignore|nocheck|expect-error)/, reason: "mend the types", allowed: [] },
  { pattern: /\bcatch\s*\{/, reason: "a caught error is judged: name it", allowed: [] },
  { pattern: /\b(TODO|FIXME|XXX)\b/, reason: "do it, or open an issue", allowed: [] },
];

const FORBIDDEN_NAMES = /(^|\/)(utils?|helpers?|common|misc|[a-z-]*manager|index)(\.ts|\/)/;
const MAX_SOURCE_LINES = 400;
const MAX_TEST_LINES = 600;
const MAX_FUNCTION_LINES = 70;

/** What a linter can't see, in src/: banned calls, names, sizes. */
export function tidyViolations(files: readonly SourceFile[]): string[] {
  return files.flatMap((file) => [...banned(file), ...badNames(file), ...tooLong(file)]);
}

function banned({ path, text }: SourceFile): string[] {
  if (!path.startsWith("src/")) return [];
  const code = withoutComments(text).split("\n");
  return BANS.filter(({ allowed }) => !allowed.includes(path)).flatMap(({ pattern, reason }) =>
    code.flatMap((line, i) => (pattern.test(line) ? [`${path}:${i + 1}: ${line.trim()} — ${reason}`] : [])),
  );
}

function badNames({ path }: SourceFile): string[] {
  const problems: string[] = [];
  if (FORBIDDEN_NAMES.test(path)) problems.push(`${path}: name it after what it does`);
  if (!/^[a-z0-9./-]+$/.test(path)) problems.push(`${path}: file names are kebab-case`);
  return problems;
}

function tooLong({ path, text }: SourceFile): string[] {
  const lines = text.trimEnd().split("\n");
  const max = path.startsWith("test/") ? MAX_TEST_LINES : MAX_SOURCE_LINES;
  const problems = lines.length > max ? [`${path}: ${lines.length} lines, at most ${max}`] : [];
  return path.startsWith("test/") ? problems : [...problems, ...longFunctions(path, lines)];
}

/** By indentation: the formatter makes it exact. */
function longFunctions(path: string, lines: readonly string[]): string[] {
  const problems: string[] = [];
  const begins =
    /^(\s*)(export )?(default )?(async )?(function\b|(private |protected |static |readonly |override |get |set )*(async )?\*?[\w#]+\s*(<[^>]*>)?\()/;
  for (let i = 0; i < lines.length; i++) {
    const match = begins.exec(lines[i] as string);
    if (
      !match ||
      !/\{$/.test(lines[i] as string) ||
      /^\s*(if|for|while|switch|catch|return|await)\b/.test(lines[i] as string)
    )
      continue;
    const end = lines.findIndex((line, j) => j > i && line.startsWith(`${match[1]}}`));
    if (end - i + 1 > MAX_FUNCTION_LINES)
      problems.push(`${path}:${i + 1}: a function of ${end - i + 1} lines, at most ${MAX_FUNCTION_LINES}`);
  }
  return problems;
}

/** Keeps the line numbers. */
function withoutComments(text: string): string {
  return text
    .replace(/\/\*[\s\S]*?\*\//g, (comment) => comment.replace(/[^\n]/g, " "))
    .replace(/(^|\s)\/\/.*$/gm, "$1");
}
