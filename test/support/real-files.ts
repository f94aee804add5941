import { createHash } from "node:crypto";
import { opendirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

/** Where most machines have many files of all sizes; a folder that is missing is skipped. */
const PLACES = ["/usr/share", "/usr/lib", "/usr/bin", "/usr/include", "/usr/local"];

export interface RealFile {
  readonly path: string;
  readonly sizeBytes: number;
  readonly key: string;
}

/** Files of this machine with different contents, from 1 byte to `maxBytes`: some of the largest, the others from all sizes. */
export function realFiles(count: number, maxBytes: number): RealFile[] {
  const candidates = PLACES.flatMap((place) => [...filesBelow(place)]).filter(
    ({ sizeBytes }) => sizeBytes > 0 && sizeBytes <= maxBytes,
  );
  candidates.sort((a, b) => a.sizeBytes - b.sizeBytes || (a.path < b.path ? -1 : 1));
  const stepped = spread(candidates.slice(0, -20), count * 2);
  const chosen = new Map<string, RealFile>();
  for (const file of [...candidates.slice(-20).reverse(), ...stepped]) {
    if (chosen.size >= count) break;
    const key = `sha1:${createHash("sha1").update(readFileSync(file.path)).digest("hex")}`;
    if (!chosen.has(key)) chosen.set(key, { ...file, key });
  }
  return [...chosen.values()];
}

function* filesBelow(folder: string, depth = 0): Generator<{ path: string; sizeBytes: number }> {
  if (depth > 8) return;
  try {
    const entries = opendirSync(folder);
    for (let entry = entries.readSync(); entry; entry = entries.readSync()) {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) yield* filesBelow(path, depth + 1);
      else if (entry.isFile()) yield { path, sizeBytes: statSync(path).size };
    }
    entries.closeSync();
  } catch (unreadable) {
    if (!["ENOENT", "EACCES"].includes((unreadable as NodeJS.ErrnoException).code ?? "")) throw unreadable;
  }
}

/** Elements at even distances, in an order that mixes small and large. */
function spread<T>(sorted: readonly T[], count: number): T[] {
  const step = Math.max(1, sorted.length / count);
  const picked = Array.from({ length: Math.min(count, sorted.length) }, (_, i) => sorted[Math.floor(i * step)] as T);
  return picked.map((_, i) => picked[(i * 617) % picked.length] as T);
}
