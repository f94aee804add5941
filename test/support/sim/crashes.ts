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
/** A step that was aimed at may not be made so often. */
const AIMED_STEPS_MAX_COUNT = 400;

export interface CrashResult {
  readonly faults: string[];
  /** Puts that had been answered when the power went, over all lives. */
  readonly acknowledged: number;
  /** In which call each life ended. */
  readonly endedIn: string[];
}

export interface Life {
  readonly random: SeededRandom;
  /** Without one it is who looks afterwards: nothing happens to it. */
  readonly process?: SimProcess;
  /** To be called before each step that is no call of the disk. It may kill the process. */
  readonly onStep?: (step: string) => void;
}

/** The storage that is tried. */
export interface CrashedStorage {
  open(disk: SimDisk, life: Life): Promise<Backend>;
  /** Spoils the copy of a key on the disk; answers whether there was one. */
  spoil(disk: SimDisk, backend: Backend, key: Key): Promise<boolean>;
  /** What a worker does in the background, one call at a time. */
  tidy?(backend: Backend): Promise<unknown>;
  /** Stores bytes. Default: in some chunks. */
  store?(backend: Backend, bytes: Buffer): Promise<unknown>;
  /** Default: up to 9,000 bytes. */
  blobSizes?(random: SeededRandom): readonly number[];
  /** In which step, and at the how-manieth of them, a life ends. Default: at any step. */
  aim?(random: SeededRandom): { readonly step: string; readonly time: number };
  /** Is a call of the disk a step? Default: each is. */
  isStep?(path: string): boolean;
  /** What is there and should not be, besides stages. */
  garbage?(): readonly string[];
  /** A copy whose delete was under way may be seen, and yet vanish a little later. */
  readonly deletesMayBeLate?: boolean;
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
  const sizes = storage.blobSizes?.(random) ?? smallSizes(random);
  const blobs = sizes.map((size, i) => bytesOf(size, i + 1));
  const certain = new Map<Key, Certainty>(blobs.map((bytes) => [keyOfBytes(bytes), "gone"]));
  /** Copies that lost their last byte to the disk, until they are replaced or removed. */
  const spoilt = new Set<Key>();
  /** Of which a copy was put into quarantine. */
  const quarantined = new Set<Key>();
  const faults: string[] = [];
  const endedIn: string[] = [];
  let acknowledged = 0;
  let disk = new SimDisk();

  for (let life = 0; life < LIVES_COUNT; life++) {
    const process = disk.start();
    const dead = Promise.withResolvers<void>();
    const isLast = lastStep(storage, random);
    const onStep = (step: string) => {
      if (process.isDead || !isLast(step)) return;
      endedIn.push(step);
      process.kill();
      dead.resolve();
    };
    disk.beforeCall = ({ name, path }, by) => {
      if (by === process && (storage.isStep?.(path) ?? true)) onStep(`${name} ${path.split("/").slice(3, 4)}`);
      return undefined;
    };
    const work = (async () => {
      const backend = await storage.open(disk, { random, process, onStep });
      const act = actions({
        storage,
        backend,
        disk,
        blobs,
        certain,
        spoilt,
        quarantined,
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
      ...(await look(disk, { storage, blobs, certain, spoilt, quarantined })).map(
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
  readonly quarantined: Set<Key>;
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
  quarantined,
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
      await (storage.store?.(backend, bytes) ?? storeInChunks(backend, bytes));
      certain.set(key, "there");
      onAcknowledged();
    } else {
      const seen = (await backend.stat(key))?.seen;
      if (seen === undefined) certain.set(key, before === "there" ? "unknown" : "gone");
      else {
        const isRemoved = await (kind < 0.9 ? backend.delete(key, seen) : backend.quarantine(key, seen));
        // Not removed: it was moved since it was looked at.
        certain.set(key, isRemoved ? "gone" : (before as Certainty));
        if (isRemoved && kind >= 0.9) quarantined.add(key);
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

function storeInChunks(backend: Backend, bytes: Buffer): Promise<unknown> {
  return storeBlob(backend, bytes, { chunkBytes: Math.max(4_000, bytes.length >> 3) });
}

interface LookOptions {
  readonly storage: CrashedStorage;
  readonly blobs: readonly Buffer[];
  readonly certain: Map<Key, Certainty>;
  readonly spoilt: Set<Key>;
  readonly quarantined: ReadonlySet<Key>;
}

/** Makes certain, too, what was not: the next life builds on what this one finds. */
async function look(disk: SimDisk, { storage, blobs, certain, spoilt, quarantined }: LookOptions): Promise<string[]> {
  const faults: string[] = [];
  const backend = await storage.open(disk, { random: new SeededRandom(1) }).catch((error: Error) => error);
  if (backend instanceof Error) return [`it does not open: ${backend.message}`];
  const listed = new Set(await listKeys(backend));
  for (const blob of blobs) {
    const key = keyOfBytes(blob);
    const certainty = certain.get(key);
    const found = await fetchBlob(backend, key);
    const isSpoilt = spoilt.delete(key) && found !== null && differsAtTheEnd(found, blob);
    if (found && !found.equals(blob) && !isSpoilt) faults.push(`${key} is partial: ${found.length} bytes`);
    const mayVanish = certainty === "unknown" && storage.deletesMayBeLate;
    const hasVanished = mayVanish && !found && listed.has(key);
    if ((found !== null) !== listed.has(key) && !hasVanished) faults.push(`${key} is read and listed differently`);
    if (certainty === "there" && !found) faults.push(`${key} was acknowledged, and is lost`);
    if (certainty === "gone" && found) faults.push(`${key} was removed, and is back`);
    if (quarantined.has(key) && !(await backend.isQuarantined(key)))
      faults.push(`${key} is not in quarantine any more`);
    certain.set(key, !found || isSpoilt ? "gone" : mayVanish ? "unknown" : "there");
    if (isSpoilt) await backend.delete(key, ((await backend.stat(key)) as Stat).seen);
  }
  const leftovers = disk.namesIn(SIM_LAYOUT.stage).length;
  if (leftovers > 0) faults.push(`${leftovers} leftovers in stage/`);
  faults.push(...(storage.garbage?.() ?? []));
  await backend.close();
  return faults;
}

/** Is this step the one at which the life ends? */
function lastStep(storage: CrashedStorage, random: SeededRandom): (step: string) => boolean {
  const aim = storage.aim?.(random);
  if (!aim) {
    let stepsLeft = Math.floor(random.next() * CALLS_OF_WORK) + (random.next() < 0.8 ? CALLS_OF_OPENING : 0);
    return () => stepsLeft-- <= 0;
  }
  let [timesLeft, stepsLeft] = [aim.time, AIMED_STEPS_MAX_COUNT];
  return (step) => {
    if (step === aim.step) timesLeft--;
    return timesLeft <= 0 || stepsLeft-- <= 0;
  };
}

function smallSizes(random: SeededRandom): number[] {
  return Array.from({ length: BLOBS_COUNT }, () => 1 + Math.floor(random.next() ** 3 * 9_000));
}

/** Its last byte is missing or another one. */
function differsAtTheEnd(found: Buffer, blob: Buffer): boolean {
  const rest = blob.length - 1;
  return found.length <= blob.length && found.subarray(0, rest).equals(blob.subarray(0, rest)) && !found.equals(blob);
}
