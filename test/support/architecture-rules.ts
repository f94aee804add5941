import path from "node:path";
import type { SourceFile } from "./source-files.ts";

/** Folders are floors: imports go down only. */
const FLOORS: Record<string, number> = {
  http: 4,
  blobs: 3,
  cluster: 2,
  storage: 1,
  placement: 1,
  gossip: 1,
  peer: 1,
  core: 0,
};

/** Files above all floors, and which of each other they may import. */
const TOP: Record<string, readonly string[]> = {
  "src/main.ts": ["src/node.ts", "src/config.ts"],
  "src/node.ts": ["src/config.ts", "src/serving.ts", "src/version.ts"],
  "src/serving.ts": ["src/config.ts"],
  "src/config.ts": ["src/settings.ts"],
  "src/settings.ts": [],
  "src/version.ts": [],
};
const MAY_IMPORT_FLOORS: Record<string, readonly string[]> = {
  "src/main.ts": ["core"],
  "src/node.ts": Object.keys(FLOORS),
  "src/serving.ts": Object.keys(FLOORS),
  "src/config.ts": ["core"],
  "src/settings.ts": ["core"],
  "src/version.ts": [],
};

interface Import {
  readonly from: string;
  readonly to: string;
}

/** Every import that breaks the rules, with the reason. */
export function architectureViolations(files: readonly SourceFile[]): string[] {
  const imports = files.flatMap(importsOf);
  return [...imports.flatMap(violation), ...unknownFolders(files), ...circles(imports)];
}

function importsOf({ path: from, text }: SourceFile): Import[] {
  const pattern = /(?:import|export)\s[^;"']*?from\s*["'](\.[^"']+)["']|import\s*\(?\s*["'](\.[^"']+)["']/g;
  return [...text.matchAll(pattern)].map((match) => ({
    from,
    to: path.posix.join(path.posix.dirname(from), (match[1] ?? match[2]) as string),
  }));
}

function folderOf(file: string): string | undefined {
  const [, folder, ...rest] = file.split("/");
  return rest.length > 0 ? folder : undefined;
}

function violation({ from, to }: Import): string[] {
  const [source, target] = [folderOf(from), folderOf(to)];
  if (source === undefined) {
    const allowed = target === undefined ? TOP[from]?.includes(to) : MAY_IMPORT_FLOORS[from]?.includes(target);
    return allowed ? [] : [`${from} imports ${to}: not one of those that it may put together`];
  }
  if (target === undefined) return [`${from} imports ${to}: that file is above all floors`];
  if (source === target) return [];
  const [up, down] = [FLOORS[source] ?? -1, FLOORS[target] ?? 99];
  if (down > up) return [`${from} (floor ${up}) imports ${to} (floor ${down}): imports go down only`];
  return down === up ? [`${from} imports ${to}: sideways between two folders of floor ${up}`] : [];
}

function unknownFolders(files: readonly SourceFile[]): string[] {
  return files.flatMap(({ path: file }) => {
    const folder = folderOf(file);
    const known = folder === undefined ? file in TOP : folder in FLOORS;
    return known ? [] : [`${file}: lies on no floor; say in this test on which`];
  });
}

function circles(imports: readonly Import[]): string[] {
  const targets = new Map<string, string[]>();
  for (const { from, to } of imports) targets.set(from, [...(targets.get(from) ?? []), to]);
  const done = new Set<string>();
  const found: string[] = [];
  const visit = (file: string, trail: readonly string[]) => {
    if (trail.includes(file)) {
      found.push(`circle: ${[...trail.slice(trail.indexOf(file)), file].join(" -> ")}`);
      return;
    }
    if (done.has(file)) return;
    for (const target of targets.get(file) ?? []) visit(target, [...trail, file]);
    done.add(file);
  };
  for (const file of targets.keys()) visit(file, []);
  return found;
}
