import { rm, writeFile } from "node:fs/promises";
import { type Key, keyOfBytes } from "../../src/core/key.ts";
import { WHOLE_RANGE } from "../../src/core/key-range.ts";
import { KeySum } from "../../src/core/key-sum.ts";
import { SeededRandom } from "../../src/core/random.ts";
import type { Backend, Seen, Stat } from "../../src/storage/backend.ts";
import { Inventory } from "../../src/storage/inventory.ts";
import { MemoryBackend } from "../../src/storage/memory.ts";
import { backendConformance } from "../conformance/backend.ts";
import { openDisk } from "../support/disk-under-test.ts";
import { settle } from "../support/manual-clock.ts";
import { bytesOf, fetchBlob, listKeys, storeBlob } from "../support/store-blob.ts";
import { TemporaryFolders } from "../support/temporary-folder.ts";
import { systemError } from "../support/watched-files.ts";

const folders = new TemporaryFolders();
afterAll(() => folders.removeAll());

/** Memory whose answers a test can hold back or spoil, and whose copies it can change behind the wrapper's back. */
class LooseMemory extends MemoryBackend {
  statFails = false;
  /** Runs between two keys of a listing. */
  betweenKeys: (key: Key) => Promise<void> = async () => undefined;

  override async stat(key: Key): Promise<Stat | null> {
    if (this.statFails) throw systemError("EIO");
    return super.stat(key);
  }

  override async *keys(from?: Key, to?: Key): AsyncGenerator<Key> {
    for await (const key of super.keys(from, to)) {
      yield key;
      await this.betweenKeys(key);
    }
  }

  async damage(key: Key, bytes: Uint8Array): Promise<void> {
    this.write(key, Buffer.from(bytes));
  }

  vanish(key: Key): void {
    this.copies.delete(key);
  }
}

/** What the table says is what the inner backend says. */
async function expectRight(inventory: Inventory, inner: Backend): Promise<void> {
  const keys = await listKeys(inner);
  const sum = new KeySum();
  for (const key of keys) sum.add(key);
  expect(inventory.keysIn(WHOLE_RANGE, keys.length + 10)).toEqual(keys);
  expect(inventory.digest(WHOLE_RANGE)).toEqual(sum.digest());
  expect(inventory.count).toBe(keys.length);
}

async function loaded(blobs = 20) {
  const inner = new LooseMemory(new SeededRandom(1));
  const keys: Key[] = [];
  for (let i = 0; i < blobs; i++) keys.push((await storeBlob(inner, Buffer.from(`blob ${i}`))).key);
  const inventory = new Inventory({ inner });
  await inventory.load();
  return { inner, inventory, keys: keys.sort() };
}

async function seenIn(backend: Backend, key: Key): Promise<Seen> {
  return (await backend.stat(key))?.seen as Seen;
}

// The listing is done before or after, so that both kinds of table pass.
for (const when of ["before", "never"] as const) {
  backendConformance(`inventory over memory, loaded ${when}`, async () => {
    const inner = new LooseMemory(new SeededRandom(1));
    const backend = new Inventory({ inner });
    if (when === "before") await backend.load();
    return { backend, damage: (key, bytes) => inner.damage(key, bytes) };
  });
}

backendConformance("inventory over disk", async () => {
  const { backend: inner, layout } = await openDisk(await folders.make());
  const backend = new Inventory({ inner });
  await backend.load();
  return { backend, damage: (key, bytes) => writeFile(layout.blob(key), bytes) };
});

describe("an inventory", () => {
  test("says don't know until it has listed, though it knows some keys", async () => {
    const inner = new LooseMemory(new SeededRandom(1));
    await storeBlob(inner, bytesOf(10));
    const inventory = new Inventory({ inner });
    await storeBlob(inventory, bytesOf(20));
    expect(inventory.ready).toBe(false);
    expect(() => inventory.digest(WHOLE_RANGE)).toThrow(expect.objectContaining({ code: "DONT_KNOW" }));
    expect(() => inventory.keysIn(WHOLE_RANGE, 1)).toThrow(expect.objectContaining({ code: "DONT_KNOW" }));
    await inventory.load();
    expect(inventory.ready).toBe(true);
    await expectRight(inventory, inner);
  });

  test("follows every put, delete and quarantine", async () => {
    const { inner, inventory, keys } = await loaded();
    await storeBlob(inventory, bytesOf(10));
    await expectRight(inventory, inner);
    const [one, two, three] = keys as [Key, Key, Key];
    await inventory.delete(one, await seenIn(inner, one));
    await inventory.quarantine(two, await seenIn(inner, two));
    expect(await inventory.delete(three, "another" as Seen)).toBe(false);
    await expectRight(inventory, inner);
    expect(inventory.count).toBe(keys.length - 1);
  });

  test("asks the inner backend, whatever the table says", async () => {
    const { inner, inventory, keys } = await loaded();
    inner.vanish(keys[0] as Key);
    expect(await inventory.stat(keys[0] as Key)).toBeNull();
    expect(await listKeys(inventory)).toEqual(keys.slice(1));
  });

  test.each(["get", "stat"] as const)("a %s that finds something else puts the table right", async (how) => {
    const { inner, inventory, keys } = await loaded();
    inner.vanish(keys[0] as Key);
    const { key: added } = await storeBlob(inner, bytesOf(10));
    for (const key of [keys[0] as Key, added])
      await ((await inventory[how](key)) as { close?(): void } | null)?.close?.();
    await settle();
    await expectRight(inventory, inner);
  });

  test.each([
    ["a look", (inventory: Inventory, key: Key) => inventory.stat(key)],
    ["a listing", (inventory: Inventory) => inventory.load()],
    ["a delete", (inventory: Inventory, key: Key) => inventory.delete(key, "another" as Seen)],
  ])("remembers a copy that %s finds to have vanished, until it is there again", async (_, act) => {
    const { inner, inventory, keys } = await loaded(2);
    const key = keys[0] as Key;
    expect([inventory.wasHere(key), inventory.wasHere(keyOfBytes(bytesOf(10)))]).toEqual([true, false]);
    const kept = (await fetchBlob(inner, key)) as Buffer;
    inner.vanish(key);
    await act(inventory, key);
    await settle();
    expect([inventory.count, inventory.wasHere(key)]).toEqual([1, true]);
    expect(await inventory.stat(key)).toBeNull();
    await settle();
    expect(inventory.wasHere(key)).toBe(true);
    await storeBlob(inventory, kept);
    await inventory.delete(key, await seenIn(inner, key));
    expect(inventory.wasHere(key)).toBe(false);
  });

  test("what a delete of its own took has not vanished, though its answer was lost", async () => {
    const { inner, inventory, keys } = await loaded();
    const key = keys[0] as Key;
    inner.delete = async () => {
      inner.vanish(key);
      throw systemError("EIO");
    };
    await expect(inventory.delete(key, await seenIn(inner, key))).rejects.toThrow("EIO");
    expect([inventory.count, inventory.wasHere(key)]).toEqual([keys.length - 1, false]);
  });

  test("a second listing sees what was changed behind its back, and the table stays in use meanwhile", async () => {
    const { inner, inventory, keys } = await loaded(3_000);
    for (const key of [keys[0], keys[1_500], keys[2_999]]) inner.vanish(key as Key);
    for (let i = 0; i < 5; i++) await storeBlob(inner, bytesOf(10, i));
    const loading = inventory.load();
    expect(inventory.ready).toBe(true);
    await loading;
    await expectRight(inventory, inner);
  });

  test("lets others go on while it lists", async () => {
    const { inner } = await loaded(5_000);
    let turns = 0;
    const inventory = new Inventory({ inner, pause: async () => turns++ });
    await inventory.load();
    expect(turns).toBe(5);
  });
});

describe("blobs that come and go while the keys are listed", () => {
  test.each([1, 2, 3, 4, 5, 6, 7, 8])("at random, seed %i: the table is right in the end", async (seed) => {
    const random = new SeededRandom(seed);
    const inner = new LooseMemory(random);
    const pool = Array.from({ length: 60 }, (_, i) => Buffer.from(`blob ${i}`));
    const inventory = new Inventory({ inner });
    for (const bytes of pool) if (random.next() < 0.5) await storeBlob(inner, bytes);
    const act = async () => {
      const bytes = pool[Math.floor(random.next() * pool.length)] as Buffer;
      const seen = await seenIn(inner, keyOfBytes(bytes));
      if (!seen) await storeBlob(inventory, bytes);
      else if (random.next() < 0.5) await inventory.delete(keyOfBytes(bytes), seen);
      else await inventory.quarantine(keyOfBytes(bytes), seen);
    };
    const pending: Promise<void>[] = [];
    for (let round = 0; round < 3; round++) {
      inner.betweenKeys = async () => {
        if (random.next() < 0.7) await act();
        else pending.push(act());
      };
      await inventory.load();
      inner.betweenKeys = async () => undefined;
      await Promise.all(pending);
      await expectRight(inventory, inner);
    }
  });

  test("of one key at the same time, in any order: the table has what is stored", async () => {
    const { inner, inventory } = await loaded();
    const bytes = bytesOf(100);
    const key = keyOfBytes(bytes);
    for (let round = 0; round < 50; round++) {
      const seen = (await inner.stat(key))?.seen;
      await Promise.all([
        storeBlob(inventory, bytes),
        seen && inventory.delete(key, seen),
        inventory.stat(key),
        storeBlob(inventory, bytes),
        inventory.get(key),
        seen && inventory.quarantine(key, seen),
      ]);
      await settle();
      await expectRight(inventory, inner);
    }
  });

  test("a listing that fails leaves the table as ready as it was, and right", async () => {
    const { inner, inventory, keys } = await loaded();
    const fresh = new Inventory({ inner });
    inner.betweenKeys = async (key) => {
      if (key === keys[10]) throw systemError("EIO");
    };
    await expect(fresh.load()).rejects.toThrow("EIO");
    expect(fresh.ready).toBe(false);
    await expect(inventory.load()).rejects.toThrow("EIO");
    inner.betweenKeys = async () => undefined;
    await expectRight(inventory, inner);
    await fresh.load();
    await expectRight(fresh, inner);
  });

  test("ends soon when it is stopped, and can be begun again", async () => {
    const { inner } = await loaded();
    const inventory = new Inventory({ inner });
    const stopping = new AbortController();
    inner.betweenKeys = async () => stopping.abort(new Error("stopped"));
    await expect(inventory.load(stopping.signal)).rejects.toThrow("stopped");
    expect(inventory.ready).toBe(false);
    await settle();
    await inventory.load();
    await expectRight(inventory, inner);
  });
});

describe("changes whose outcome is unknown", () => {
  /** A disk on which the sync of folders fails, so that a put is refused and its file taken back. */
  async function failingDisk() {
    const disk = await openDisk(await folders.make());
    const inventory = new Inventory({ inner: disk.backend });
    await inventory.load();
    return { ...disk, inventory };
  }

  test.each([
    ["can be taken back", false],
    ["stays, for it can't be taken back", true],
  ])("a put that fails and whose file %s: the table has what is there", async (_, unlinkFails) => {
    const { backend, layout, watched, inventory } = await failingDisk();
    const bytes = bytesOf(10);
    const folder = layout.folder(keyOfBytes(bytes));
    watched.fail = ({ name, path }) =>
      (name === "sync" && path === folder) || (unlinkFails && name === "unlink") ? systemError("EIO") : undefined;
    await expect(storeBlob(inventory, bytes)).rejects.toMatchObject({ code: "STORAGE_FAILED" });
    expect(inventory.uncertainCount).toBe(0);
    expect(inventory.count).toBe(unlinkFails ? 1 : 0);
    await expectRight(inventory, backend);
    await inventory.close();
  });

  test("a delete that fails after the name went", async () => {
    const { backend, watched, inventory } = await failingDisk();
    const { key } = await storeBlob(inventory, bytesOf(10));
    const seen = await seenIn(backend, key);
    watched.fail = ({ name }) => (name === "sync" ? systemError("EIO") : undefined);
    await expect(inventory.delete(key, seen)).rejects.toMatchObject({ code: "STORAGE_FAILED" });
    expect(inventory.count).toBe(0);
    await expectRight(inventory, backend);
    await inventory.close();
  });

  test("when nothing can be asked either, the copy is not counted on, and looked at again", async () => {
    const { inner, inventory, keys } = await loaded();
    const key = keys[3] as Key;
    inner.statFails = true;
    expect(await inventory.delete(key, "another" as Seen)).toBe(false);
    expect(inventory.uncertainCount).toBe(1);
    expect(inventory.keysIn(WHOLE_RANGE, 100)).toEqual(keys.filter((each) => each !== key));
    await inventory.load(); // it is listed, but that may have been before
    expect(inventory.uncertainCount).toBe(1);
    inner.statFails = false;
    await inventory.load();
    expect(inventory.uncertainCount).toBe(0);
    await expectRight(inventory, inner);
  });

  test("or as soon as somebody reads it", async () => {
    const { inner, inventory, keys } = await loaded();
    const key = keys[3] as Key;
    inner.statFails = true;
    await inventory.delete(key, "another" as Seen);
    inner.statFails = false;
    await (await inventory.get(key))?.close();
    await settle();
    expect(inventory.uncertainCount).toBe(0);
    await expectRight(inventory, inner);
  });

  test("a root whose folders are gone makes no table empty", async () => {
    const { backend, layout, inventory } = await failingDisk();
    const { key } = await storeBlob(inventory, bytesOf(10));
    await rm(layout.blobs, { recursive: true });
    await expect(inventory.load()).rejects.toMatchObject({ code: "STORAGE_FAILED" });
    expect(inventory.count).toBe(1);
    await expect(backend.stat(key)).rejects.toMatchObject({ code: "STORAGE_FAILED" });
    await inventory.close();
  });
});
