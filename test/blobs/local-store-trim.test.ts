import { LocalStore } from "../../src/blobs/local-store.ts";
import { VerifiedTimes } from "../../src/blobs/verified-times.ts";
import type { ClusterView } from "../../src/cluster/cluster-view.ts";
import { type Key, keyOfBytes } from "../../src/core/key.ts";
import { silentLogger } from "../../src/core/log.ts";
import { SeededRandom } from "../../src/core/random.ts";
import type { BlobSource, VouchRequest } from "../../src/peer/peer.ts";
import type { Seen, StoredBlob } from "../../src/storage/backend.ts";
import { Inventory } from "../../src/storage/inventory.ts";
import { MemoryBackend } from "../../src/storage/memory.ts";
import { FakePeer } from "../support/fake-peer.ts";
import { ManualClock, settle } from "../support/manual-clock.ts";
import { bytesOf, collect } from "../support/store-blob.ts";
import { type ViewOptions, viewOf } from "../support/views.ts";

const BYTES = bytesOf(200_000, 4);
const KEY = keyOfBytes(BYTES);
const GRACE_MS = 1_000;

/** Deletes and reads can be held up; a copy can rot. */
class HeldBackend extends MemoryBackend {
  /** While reading, before the last chunk. */
  duringRead: () => Promise<void> = async () => undefined;
  deleting: () => Promise<void> = async () => undefined;

  override async get(key: Key): Promise<StoredBlob | null> {
    const blob = await super.get(key);
    if (!blob) return null;
    const { duringRead } = this;
    return {
      ...blob,
      async *chunks(start?: number, end?: number) {
        yield* blob.chunks(start, end);
        await duringRead();
      },
    };
  }

  override async delete(key: Key, seen: Seen): Promise<boolean> {
    await this.deleting();
    return super.delete(key, seen);
  }

  rot(key: Key): void {
    const { bytes } = this.copies.get(key) as { bytes: Buffer };
    bytes[5] = (bytes[5] as number) ^ 1;
  }

  /** The same bytes, as another copy. */
  writeAnew(key: Key): void {
    this.write(key, Buffer.from(BYTES));
  }
}

async function setUp({ started = true } = {}) {
  const backend = new HeldBackend(new SeededRandom(1));
  const clock = new ManualClock();
  const quarantined: Key[] = [];
  const outside: { refusal: string | null; view: Partial<ViewOptions> } = { refusal: null, view: {} };
  const peers = () => [store, new FakePeer("b")];
  const store: LocalStore = new LocalStore({
    uuid: "self",
    backend: new Inventory({ inner: backend }),
    verifiedTimes: new VerifiedTimes(),
    isWriteable: () => true,
    isIncomplete: () => false,
    isDraining: () => false,
    onDiskAnswer: () => undefined,
    onQuarantined: (key) => void quarantined.push(key),
    view: (): ClusterView => viewOf({ peers: peers(), replication: 2, ...outside.view }),
    vouchRefusal: () => outside.refusal,
    trimGraceMs: GRACE_MS,
    clock,
    log: silentLogger(),
  });
  await store.put(KEY, source);
  if (started) await clock.advance(GRACE_MS);
  const ask = (changed: Partial<VouchRequest> = {}) => {
    const { ringDigest, replication, maxReplication } = viewOf({ peers: peers(), replication: 2 });
    const request = { nonce: "n", ring: ringDigest, replication, maxReplication, keys: [KEY], ...changed };
    return store.vouch(request, BYTES.length);
  };
  return { backend, clock, store, quarantined, outside, ask };
}

const source: BlobSource = {
  sizeBytes: BYTES.length,
  async *read() {
    yield BYTES;
  },
};

const refused = (reason: string) => [{ vouched: false, reason: expect.stringContaining(reason) }];

async function marked(store: LocalStore, nonce = "mark"): Promise<Seen> {
  const stat = await store.beginTrim(KEY, nonce);
  if (!stat) throw new Error("not marked");
  return stat.seen;
}

function gate() {
  let open: () => void = () => undefined;
  const wait = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { wait: () => wait, open };
}

describe("a marked key", () => {
  test("is served, and has() says that it is here; it is trimming", async () => {
    const { store } = await setUp();
    await marked(store);
    expect(store.isTrimming(KEY)).toBe(true);
    expect(await store.has([KEY])).toMatchObject([{ state: "present" }]);
    const body = await store.get(KEY);
    expect(body && (await collect(body.chunks)).equals(BYTES)).toBe(true);
  });

  test("is not marked twice, and only the marking that stands can end it", async () => {
    const { store } = await setUp();
    const seen = await marked(store);
    expect(await store.beginTrim(KEY, "another")).toBeNull();
    await store.cancelTrim(KEY, "another");
    expect(await store.finishTrim(KEY, "another", seen)).toBe(false);
    expect(store.isTrimming(KEY)).toBe(true);
    await store.cancelTrim(KEY, "mark");
    expect(store.isTrimming(KEY)).toBe(false);
    expect(await store.finishTrim(KEY, "mark", seen)).toBe(false);
    expect(await store.has([KEY])).toMatchObject([{ state: "present" }]);
  });

  test("that is deleted is gone, and can be stored again", async () => {
    const { store } = await setUp();
    expect(await store.finishTrim(KEY, "mark", await marked(store))).toBe(true);
    expect([await store.has([KEY]), store.isTrimming(KEY)]).toMatchObject([[{ state: "absent" }], false]);
    expect(await store.put(KEY, source)).toMatchObject({ outcome: "stored" });
  });

  test("is taken back by a put: whoever was told that it is stored keeps it", async () => {
    const { store } = await setUp();
    const seen = await marked(store);
    expect(await store.put(KEY, source)).toMatchObject({ outcome: "known" });
    expect(store.isTrimming(KEY)).toBe(false);
    expect(await store.finishTrim(KEY, "mark", seen)).toBe(false);
    expect(await store.has([KEY])).toMatchObject([{ state: "present" }]);
  });

  test("of which nobody has a copy can't be marked", async () => {
    const { store } = await setUp();
    expect(await store.beginTrim(keyOfBytes(Buffer.from("absent")), "mark")).toBeNull();
  });

  test("is deleted only as the copy that was examined: a newer one stays", async () => {
    const { store, backend } = await setUp();
    const seen = await marked(store);
    backend.writeAnew(KEY);
    expect(await store.finishTrim(KEY, "mark", seen)).toBe(false);
    expect(await store.has([KEY])).toMatchObject([{ state: "present" }]);
  });
});

describe("a delete whose outcome is not known", () => {
  test("keeps its mark until it is, whatever is taken back; a put waits for it, and is stored anew", async () => {
    const { store, backend } = await setUp();
    const seen = await marked(store);
    const held = gate();
    backend.deleting = held.wait;
    const deleting = store.finishTrim(KEY, "mark", seen);
    await settle();
    const cancelling = store.cancelTrim(KEY, "mark");
    let stored: unknown;
    const putting = store.put(KEY, source).then(({ outcome }) => {
      stored = outcome;
    });
    await settle();
    expect([store.isTrimming(KEY), stored]).toEqual([true, undefined]);
    held.open();
    expect(await deleting).toBe(true);
    await Promise.all([putting, cancelling]);
    expect([stored, store.isTrimming(KEY)]).toEqual(["stored", false]);
    expect(await store.has([KEY])).toMatchObject([{ state: "present" }]);
  });

  test("that failed is found out about later, and nothing is vouched for until then", async () => {
    const { store, backend, ask } = await setUp();
    const seen = await marked(store);
    backend.deleting = async () => {
      throw new Error("timed out; who knows");
    };
    await expect(store.finishTrim(KEY, "mark", seen)).rejects.toThrow("who knows");
    await store.cancelTrim(KEY, "mark");
    expect([store.isTrimming(KEY), await ask()]).toEqual([true, refused("trimming")]);
    await expect(store.put(KEY, source)).rejects.toThrow("who knows");
    await expect(store.resolveTrims()).rejects.toThrow("who knows");
    backend.deleting = async () => undefined;
    await store.resolveTrims();
    expect([store.isTrimming(KEY), await store.has([KEY])]).toMatchObject([false, [{ state: "absent" }]]);
  });
});

describe("C22: a vouch", () => {
  test("is given for a copy that is whole, with the store that holds it", async () => {
    const { ask, store } = await setUp();
    expect(await ask()).toEqual([{ vouched: true, store: store.store }]);
  });

  test("is refused for a key that is absent", async () => {
    const { ask } = await setUp();
    expect(await ask({ keys: [keyOfBytes(Buffer.from("absent"))] })).toEqual(refused("has no copy"));
  });

  test("C21: is refused for a corrupt copy, which goes to quarantine", async () => {
    const { ask, backend, quarantined, store } = await setUp();
    backend.rot(KEY);
    expect(await ask()).toEqual(refused("corrupt"));
    expect([quarantined, (await store.has([KEY]))[0]?.state]).toEqual([[KEY], "unknown"]);
  });

  test("is never taken from an earlier one: the copy is read each time", async () => {
    const { ask, backend } = await setUp();
    await ask();
    backend.rot(KEY);
    expect(await ask()).toEqual(refused("corrupt"));
  });

  const moments: Array<[string, (store: LocalStore) => Promise<unknown>]> = [
    ["from before", async (store) => marked(store)],
    ["before, and taken back while the copy is read", async (store) => marked(store)],
  ];
  test.each(moments)("is refused when the key was marked %s", async (name, mark) => {
    const { ask, store, backend } = await setUp();
    await mark(store);
    if (name.includes("taken back")) backend.duringRead = () => store.cancelTrim(KEY, "mark");
    expect(await ask()).toEqual(refused("trimming"));
  });

  test.each([false, true])(
    "is refused when it is marked while the copy is read (and taken back: %s)",
    async (takenBack) => {
      const { ask, store, backend } = await setUp();
      backend.duringRead = async () => {
        await marked(store);
        if (takenBack) await store.cancelTrim(KEY, "mark");
      };
      expect(await ask()).toEqual(refused("trimming"));
    },
  );

  test("is refused when it is marked while another key of the same question is read", async () => {
    const { ask, store, backend } = await setUp();
    const other = bytesOf(1_000, 9);
    await store.put(keyOfBytes(other), {
      sizeBytes: other.length,
      read: async function* () {
        yield other;
      },
    });
    let reads = 0;
    backend.duringRead = async () => {
      if (++reads === 2) await marked(store);
    };
    expect(await ask({ keys: [KEY, keyOfBytes(other)] })).toEqual([
      ...refused("trimming"),
      { vouched: true, store: store.store },
    ]);
  });

  test("is refused when the copy is another one after it was read", async () => {
    const { ask, backend } = await setUp();
    backend.duringRead = async () => backend.writeAnew(KEY);
    expect(await ask()).toEqual(refused("changed meanwhile"));
  });

  test("is refused in the first CASK_TRIM_GRACE after the start: an old delete may be on its way", async () => {
    const { ask, clock, store } = await setUp({ started: false });
    await clock.advance(GRACE_MS - 1);
    expect(await ask()).toEqual(refused("CASK_TRIM_GRACE"));
    await clock.advance(1);
    expect(await ask()).toEqual([{ vouched: true, store: store.store }]);
  });

  test("is refused by a node that is being emptied, also where that begins while the copy is read", async () => {
    const { ask, outside, backend } = await setUp();
    backend.duringRead = async () => {
      outside.refusal = "is being emptied";
    };
    expect(await ask()).toEqual(refused("being emptied"));
    expect(await ask()).toEqual(refused("being emptied"));
  });

  test.each([
    ["another replication", { replication: 3 }],
    ["another maximum", { maxReplication: 2 }],
    ["another ring", { ring: "of others" }],
  ])("C23: is refused to a node that sees %s", async (_name, changed) => {
    const { ask } = await setUp();
    const [vouch] = await ask(changed);
    expect(vouch?.vouched).toBe(false);
  });

  test("C23: is refused when this node sees another ring by the time that it has read the copy", async () => {
    const { ask, outside, backend } = await setUp();
    backend.duringRead = async () => {
      outside.view = { dead: ["b"] };
    };
    expect(await ask()).toEqual(refused("another ring"));
  });
});
