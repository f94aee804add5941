import { type Key, keyOfBytes } from "../../../src/core/key.ts";
import { SeededRandom } from "../../../src/core/random.ts";
import type { Backend, Stat } from "../../../src/storage/backend.ts";
import type { FileSystem } from "../../../src/storage/file-system.ts";
import { bytesOf, fetchBlob, listKeys, storeBlob } from "../store-blob.ts";
import { SimDisk } from "./sim-disk.ts";
import type { SimProcess } from "./sim-process.ts";
import { openSimRoot, SIM_LAYOUT } from "./sim-root.ts";

const LIVES_COUNT = 2;
const BLOBS_COUNT = 12;
const CALLS_OF_OPENING = 1_100;
const CALLS_OF_WORK = 250;

export interface CrashResult {
  readonly faults: string[];
  /** Puts that had been answered when the power went, over all lives. */
  readonly acknowledged: number;
  /** In which call each life ended. */
  readonly endedIn: string[];
}

/** The storage that is tried. */
export interface CrashedStorage {
  open(disk: SimDisk, options: { random: SeededRandom; process?: SimProcess }): Promise<Backend>;
  /** Spoils the copy of a key on the disk; answers whether there was one. */
  spoil(disk: SimDisk, backend: Backend, key: Key): Promise<boolean>;
  /** What a worker does in the background, one call at a time. */
  tidy?(backend: Backend): Promise<unknown>;
}

/** Files alone. `through`: how a defect is put in. */
export function filesOnly(through: (files: FileSystem) => FileSystem = (files) => files): CrashedStorage {
  return {
    // Who looks afterwards has no defect: it has no process of its own.
    open: (disk, options) => openSimRoot(disk, options.process ? { ...options, through } : options),
    spoil: async (disk, _backend, key) => {
      if (!disk.has(SIM_LAYOUT.blob(key))) return false;
      disk.rot(SIM_LAYOUT.blob(key), (is) => is.subarray(0, -1));
      return true;
    },
  };
}

/** What is certain of a blob: it must be there, must not be there, or nothing (something was under way). */
type Certainty = "there" | "gone" | "unknown";

/**
 * Some lives of the production backend on one simulated disk, each of which ends by a power cut at some call. In each, blobs are put, deleted,
 * quarantined and spoilt at random, several at a time; after each cut all that was acknowledged must be so, and nothing partial be there.
 */
export async function crashAtRandomCalls(seed: number, storage: CrashedStorage = filesOnly()): Promise<CrashResult> {
  const random = new SeededRandom(seed);
  const blobs = Array.from({ length: BLOBS_COUNT }, (_, i) =>
    bytesOf(1 + Math.floor(random.next() ** 3 * 9_000), i + 1),
  );
  const certain = new Map<Key, Certainty>(blobs.map((bytes) => [keyOfBytes(bytes), "gone"]));
  /** Copies that lost their last byte to the disk, until they are replaced or removed. */
  const spoilt = new Set<Key>();
  const faults: string[] = [];
  const endedIn: string[] = [];
  let acknowledged = 0;
  let disk = new SimDisk();

  for (let life = 0; life < LIVES_COUNT; life++) {
    const process = disk.start();
    const dead = Promise.withResolvers<void>();
    let callsLeft = Math.floor(random.next() * CALLS_OF_WORK) + (random.next() < 0.8 ? CALLS_OF_OPENING : 0);
    disk.beforeCall = ({ name, path }, by) => {
      if (by !== process || callsLeft-- > 0) return undefined;
      if (!process.isDead) endedIn.push(`${name} ${path.split("/").slice(3, 4)}`);
      process.kill();
      dead.resolve();
      return undefined;
    };
    const work = (async () => {
      const backend = await storage.open(disk, { random, process });
      const act = actions({
        storage,
        backend,
        disk,
        blobs,
        certain,
        spoilt,
        random,
        onAcknowledged: () => acknowledged++,
      });
      // They go on until the process dies: then none of their calls ends any more.
      await Promise.all(
        [0, 1, 2].map(async () => {
          while (!process.isDead) await act();
        }),
      );
    })();
    await Promise.race([work, dead.promise]);
    disk = disk.crash(random);
    disk.beforeCall = () => undefined;
    faults.push(
      ...(await look(disk, { storage, blobs, certain, spoilt })).map(
        (fault) => `seed ${seed}, life ${life}, ${endedIn.at(-1)}: ${fault}`,
      ),
    );
    if (faults.length > 0) break;
  }
  return { faults, acknowledged, endedIn };
}

interface ActionsOptions {
  readonly storage: CrashedStorage;
  readonly backend: Backend;
  readonly disk: SimDisk;
  readonly blobs: readonly Buffer[];
  readonly certain: Map<Key, Certainty>;
  readonly spoilt: Set<Key>;
  readonly random: SeededRandom;
  readonly onAcknowledged: () => void;
}

/** One random action on a blob that no other works on. */
function actions({
  storage,
  backend,
  disk,
  blobs,
  certain,
  spoilt,
  random,
  onAcknowledged,
}: ActionsOptions): () => Promise<void> {
  const busy = new Set<Key>();
  let isTidying = false;
  return async () => {
    const bytes = blobs[Math.floor(random.next() * blobs.length)] as Buffer;
    const key = keyOfBytes(bytes);
    if (busy.has(key)) return Promise.resolve();
    busy.add(key);
    const [before, kind] = [certain.get(key), random.next()];
    certain.set(key, "unknown");
    if (kind < 0.65) {
      if (kind < 0.1 && !spoilt.has(key) && (await storage.spoil(disk, backend, key))) spoilt.add(key);
      await storeBlob(backend, bytes, { chunkBytes: 4_000 });
      certain.set(key, "there");
      onAcknowledged();
    } else {
      const seen = (await backend.stat(key))?.seen;
      if (seen === undefined) certain.set(key, before === "there" ? "unknown" : "gone");
      else {
        const isRemoved = await (kind < 0.9 ? backend.delete(key, seen) : backend.quarantine(key, seen));
        // Not removed: it was moved since it was looked at.
        certain.set(key, isRemoved ? "gone" : (before as Certainty));
      }
      if (seen === undefined && before === "there") throw new Error(`${key} has vanished`);
    }
    spoilt.delete(key);
    busy.delete(key);
    if (kind > 0.3 || isTidying) return;
    isTidying = true;
    await storage.tidy?.(backend);
    isTidying = false;
  };
}

interface LookOptions {
  readonly storage: CrashedStorage;
  readonly blobs: readonly Buffer[];
  readonly certain: Map<Key, Certainty>;
  readonly spoilt: Set<Key>;
}

/** Makes certain, too, what was not: the next life builds on what this one finds. */
async function look(disk: SimDisk, { storage, blobs, certain, spoilt }: LookOptions): Promise<string[]> {
  const faults: string[] = [];
  const backend = await storage.open(disk, { random: new SeededRandom(1) });
  const listed = new Set(await listKeys(backend));
  for (const blob of blobs) {
    const key = keyOfBytes(blob);
    const certainty = certain.get(key);
    const found = await fetchBlob(backend, key);
    const isSpoilt = spoilt.delete(key) && found !== null && differsAtTheEnd(found, blob);
    if (found && !found.equals(blob) && !isSpoilt) faults.push(`${key} is partial: ${found.length} bytes`);
    if ((found !== null) !== listed.has(key)) faults.push(`${key} is read and listed differently`);
    if (certainty === "there" && !found) faults.push(`${key} was acknowledged, and is lost`);
    if (certainty === "gone" && found) faults.push(`${key} was removed, and is back`);
    certain.set(key, found && !isSpoilt ? "there" : "gone");
    if (isSpoilt) await backend.delete(key, ((await backend.stat(key)) as Stat).seen);
  }
  const leftovers = disk.namesIn(SIM_LAYOUT.stage).length;
  if (leftovers > 0) faults.push(`${leftovers} leftovers in stage/`);
  await backend.close();
  return faults;
}

/** Its last byte is missing or another one. */
function differsAtTheEnd(found: Buffer, blob: Buffer): boolean {
  const rest = blob.length - 1;
  return found.length <= blob.length && found.subarray(0, rest).equals(blob.subarray(0, rest)) && !found.equals(blob);
}
