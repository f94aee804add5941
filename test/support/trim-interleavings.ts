import { LocalStore } from "../../src/blobs/local-store.ts";
import { Trim } from "../../src/blobs/trim.ts";
import { VerifiedTimes } from "../../src/blobs/verified-times.ts";
import { ClusterView, type ViewNode } from "../../src/cluster/cluster-view.ts";
import { CaskError } from "../../src/core/errors.ts";
import { type Key, keyOfBytes } from "../../src/core/key.ts";
import { silentLogger } from "../../src/core/log.ts";
import { type Random, SeededRandom } from "../../src/core/random.ts";
import type { BlobSource, Peer, RemotePeer } from "../../src/peer/peer.ts";
import type { Seen } from "../../src/storage/backend.ts";
import { MemoryBackend } from "../../src/storage/memory.ts";
import { SimClock, SimTime } from "./sim/sim-clock.ts";
import { storeBlob } from "./store-blob.ts";

const BYTES = Buffer.from("kept by too many");
const KEY = keyOfBytes(BYTES);
const NODES = 4;
const GRACE_MS = 1_000;

/** A disk whose every call takes its own time, and that tells of deletes. */
class SlowBackend extends MemoryBackend {
  onDeleted: () => void = () => undefined;
  wait: () => Promise<void> = () => Promise.resolve();
  failsDelete = false;

  override async stat(key: Key) {
    await this.wait();
    return super.stat(key);
  }

  override async get(key: Key) {
    await this.wait();
    return super.get(key);
  }

  override async delete(key: Key, seen: Seen) {
    await this.wait();
    if (this.failsDelete) {
      // It is done, but the answer is lost: the outcome is not known until somebody asks again.
      this.failsDelete = false;
      if (await super.delete(key, seen)) this.onDeleted();
      throw new CaskError("STORAGE_FAILED", "no answer");
    }
    const deleted = await super.delete(key, seen);
    if (deleted) this.onDeleted();
    return deleted;
  }

  hasCopy(): boolean {
    return this.copies.has(KEY);
  }

  wasHere(): boolean {
    return false;
  }

  digest(): never {
    throw new Error("not asked for here");
  }

  keysIn(): never {
    throw new Error("not asked for here");
  }
}

interface Party {
  readonly uuid: string;
  readonly backend: SlowBackend;
  store: LocalStore;
  trim: Trim;
  clock: SimClock;
}

export interface Interleaving {
  readonly deletes: number;
  /** Whole copies at the end of the worst moment. */
  readonly fewest: number;
}

/**
 * Four nodes that all hold one blob, each with an order of its own in mind, trim at once: messages and disk calls take random times, nodes stall,
 * restart, and are given the blob again. Answers how few copies there ever were.
 */
export async function runInterleaving(seed: number, maxReplication: number): Promise<Interleaving> {
  const random = new SeededRandom(seed);
  const time = new SimTime();
  const parties: Party[] = [];
  let deletes = 0;
  let fewest = NODES;
  const count = () => parties.filter(({ backend }) => backend.hasCopy()).length;
  for (let i = 0; i < NODES; i++) {
    const backend = new SlowBackend(random);
    await storeBlob(backend, BYTES);
    backend.wait = () => pause(time, random);
    backend.onDeleted = () => {
      deletes++;
      fewest = Math.min(fewest, count());
    };
    backend.failsDelete = random.next() < 0.2;
    parties.push({ uuid: `n${i}`, backend } as Party);
  }
  for (const party of parties) begin(party);
  await time.runUntil(GRACE_MS + 1);
  for (const party of parties) {
    time.at(time.nowMs + random.next() * 20, () => void step(party));
    time.at(time.nowMs + 20 + random.next() * 20, () => void step(party));
    if (random.next() < 0.15) time.at(time.nowMs + random.next() * 30, () => begin(party));
    if (random.next() < 0.2) time.at(time.nowMs + random.next() * 30, () => party.clock.freeze(random.next() * 50));
    if (random.next() < 0.2) time.at(time.nowMs + random.next() * 30, () => void put(party));
  }
  await time.runUntil(GRACE_MS + 200);
  return { deletes, fewest: Math.min(fewest, count()) };

  /** A start of its process: what it had in memory is gone. */
  function begin(party: Party): void {
    party.clock?.kill();
    party.clock = new SimClock(time, 0);
    // Which ring it sees, and since when, is its own affair: here always long ago.
    const order = shuffled(
      parties.map(({ uuid }) => uuid),
      random,
    );
    const view = () => viewOf(party, order);
    party.store = new LocalStore({
      uuid: party.uuid,
      backend: party.backend,
      verifiedTimes: new VerifiedTimes(),
      isWriteable: () => true,
      isIncomplete: () => false,
      isDraining: () => false,
      onDiskAnswer: () => undefined,
      onQuarantined: () => undefined,
      view,
      vouchRefusal: () => null,
      trimGraceMs: time.nowMs === 0 ? 0 : GRACE_MS,
      clock: party.clock,
      log: silentLogger(),
    });
    party.trim = new Trim({
      view,
      localStore: party.store,
      graceMs: 0,
      dryRun: false,
      onDeleted: () => undefined,
      clock: party.clock,
      random,
      log: silentLogger(),
    });
  }

  async function step(party: Party): Promise<void> {
    party.trim.add(KEY);
    await party.trim.step(new AbortController().signal).catch(() => undefined);
  }

  async function put(party: Party): Promise<void> {
    const source: BlobSource = {
      sizeBytes: BYTES.length,
      async *read() {
        yield BYTES;
      },
    };
    await party.store.put(KEY, source).catch(() => undefined);
  }

  function viewOf(self: Party, order: readonly string[]): ClusterView {
    const nodes = parties.map(({ uuid }): ViewNode => {
      const peer = (uuid === self.uuid ? self.store : remote(uuid)) as Peer;
      const flags = {
        writeable: true,
        live: true,
        suspect: false,
        awaited: false,
        draining: false,
        unaware: false,
        knownStore: "",
      };
      return { uuid, baseUrl: `http://${uuid}`, peer, ...flags };
    });
    const placement = { order: () => order, segments: () => [] };
    return new ClusterView({
      self: self.uuid,
      nodes,
      placement,
      repairPlacement: placement,
      replication: maxReplication,
      maxReplication,
      lowestReplication: maxReplication,
      ringDigest: "the same everywhere: the guard against other views is off",
      stableSinceMs: 0,
      disagreements: [],
      joined: true,
    });
  }

  function remote(uuid: string): RemotePeer {
    const target = () => parties.find((party) => party.uuid === uuid) as Party;
    const call = async <T>(serve: (store: LocalStore) => Promise<T>): Promise<T> => {
      await pause(time, random);
      const answer = await serve(target().store);
      await pause(time, random);
      return answer;
    };
    return {
      uuid,
      baseUrl: `http://${uuid}`,
      isGo: false,
      has: (keys) => call((store) => store.has(keys)),
      vouch: (request, size) => call((store) => store.vouch(request, size)),
    } as Partial<RemotePeer> as RemotePeer;
  }
}

function pause(time: SimTime, random: Random): Promise<void> {
  return new Promise((resolve) => void time.at(time.nowMs + random.next() * 10, resolve));
}

function shuffled<T>(list: readonly T[], random: Random): T[] {
  const left = [...list];
  return list.map(() => left.splice(Math.floor(random.next() * left.length), 1)[0] as T);
}
