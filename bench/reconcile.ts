/**
 * `npm run bench-reconcile [-- KEYS]`: what a pass of reconciliation costs between two nodes that hold the same keys, and when they differ in ten of
 * them. The production code of both sides; what would go over HTTP is written as JSON and counted.
 */
import { randomBytes } from "node:crypto";
import { Reconcile } from "../src/blobs/reconcile.ts";
import { RepairQueue } from "../src/blobs/repair-queue.ts";
import { ClusterView, type ViewNode } from "../src/cluster/cluster-view.ts";
import { SystemClock } from "../src/core/clock.ts";
import { type Key, keyOfHex } from "../src/core/key.ts";
import type { KeyRange } from "../src/core/key-range.ts";
import { KEYS_PAGE_MAX_COUNT } from "../src/core/limits.ts";
import { silentLogger } from "../src/core/log.ts";
import { SystemRandom } from "../src/core/random.ts";
import type { Peer } from "../src/peer/peer.ts";
import { digestsJson, rangeJson, rangesJson } from "../src/peer/repair-protocol.ts";
import { Ring } from "../src/placement/ring.ts";
import { KeyTable } from "../src/storage/key-table.ts";

/** Head of a request and of its answer, about. */
const HEADER_BYTES = 600;
const KEYS = Number(process.argv[2] ?? 1_000_000);
const [one, other] = [new KeyTable(), new KeyTable()];
for (let i = 0; i < KEYS; i++) {
  const key = keyOfHex(randomBytes(20).toString("hex"));
  one.insert(key);
  other.insert(key);
}
const wire = { bytes: 0, requests: 0 };
const queue = new RepairQueue();
const reconcile = new Reconcile({
  view: () => view,
  own: listed(one, false),
  isReady: () => true,
  queue,
  onSurplus: () => true,
  onComplete: async () => undefined,
  clock: new SystemClock(),
  random: new SystemRandom(),
  log: silentLogger(),
});
const view = viewOfTwo();

console.log(`${KEYS} keys on each of two nodes, 128 points each`);
await pass("the first pass, equal");
await pass("a later pass, equal");
for (let i = 0; i < 10; i++) one.insert(keyOfHex(randomBytes(20).toString("hex")));
await pass("ten keys more on one");
console.log(`found to be missing on the other: ${queue.take(100, 0).length}`);

async function pass(what: string): Promise<void> {
  wire.bytes = 0;
  wire.requests = 0;
  const begun = performance.now();
  const signal = new AbortController().signal;
  while ((await reconcile.step(signal)) === "busy");
  const ms = performance.now() - begun;
  console.log(`${what}: ${wire.bytes} bytes in ${wire.requests} requests, ${ms.toFixed(1)} ms`);
}

/** One side's answers; `counted`: they would go over HTTP. */
function listed(table: KeyTable, counted: boolean): Pick<Peer, "digests" | "keysIn"> {
  const count = (request: unknown, answer: unknown) => {
    if (!counted) return;
    wire.requests++;
    wire.bytes += JSON.stringify(request).length + JSON.stringify(answer).length + HEADER_BYTES;
  };
  return {
    async digests(ranges: readonly KeyRange[]) {
      const digests = ranges.map((range) => table.digest(range));
      count(rangesJson(ranges), digestsJson(digests));
      return digests;
    },
    async keysIn(range: KeyRange) {
      const keys: Key[] = table.keysIn(range, KEYS_PAGE_MAX_COUNT);
      const page = { keys, more: keys.length === KEYS_PAGE_MAX_COUNT };
      count(rangeJson(range), page);
      return page;
    },
  };
}

function viewOfTwo(): ClusterView {
  const ring = new Ring(["a", "b"].map((uuid) => ({ uuid, points: 128 })));
  const flags = {
    writeable: true,
    live: true,
    suspect: false,
    awaited: false,
    draining: false,
    unaware: false,
    knownStore: "",
  };
  const node = (uuid: string, table: KeyTable): ViewNode => ({
    uuid,
    baseUrl: `http://${uuid}`,
    peer: { uuid, isGo: false, ...listed(table, true) } as unknown as Peer,
    ...flags,
  });
  return new ClusterView({
    self: "a",
    nodes: [node("a", one), node("b", other)],
    placement: ring,
    repairPlacement: ring,
    replication: 2,
    maxReplication: 2,
    lowestReplication: 2,
    ringDigest: "ring",
    stableSinceMs: 0,
    disagreements: [],
    joined: true,
  });
}
