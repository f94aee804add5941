import { randomBytes } from "node:crypto";
import { type Key, keyOfBytes } from "../../src/core/key.ts";
import type { CopyPlace } from "../support/copy-places.ts";
import { DAMAGES_OF_COPIES, type Damage } from "../support/damages.ts";
import { fetchFile, type NodeProcess, type ProcessCluster, post, until } from "../support/processes.ts";

/** A scrub pass over a few hundred small blobs, and the pause after it, take less, also on a busy machine. */
export const HEAL_MS = 60_000;
const COPIES = 3;

/** A cluster with three copies of each blob, that scrubs and reconciles without pause. */
export interface HealingCluster {
  readonly cluster: ProcessCluster;
  /** Where the node has its copy of a key, if it has one. */
  copyOf(node: NodeProcess, key: Key): CopyPlace;
  isQuarantined(node: NodeProcess, key: Key): Promise<boolean>;
  /** All copies, by the keys that their names say. */
  copiesOn(node: NodeProcess): Promise<ReadonlyArray<readonly [Key, CopyPlace]>>;
}

export async function holdersOf({ cluster, copyOf }: HealingCluster, key: Key): Promise<NodeProcess[]> {
  const whole = await Promise.all(cluster.nodes.map((node) => isWhole(copyOf(node, key), key)));
  return cluster.nodes.filter((_, i) => whole[i]);
}

export async function storeRandom(cluster: ProcessCluster, size: number): Promise<Key> {
  const stored = await post(cluster.node(0), randomBytes(size));
  if (!stored.success) throw new Error(`an upload answered ${stored.status}: ${stored.error?.message}`);
  return stored.key as Key;
}

/** That damage to copies is healed in a cluster of real nodes, whatever they store them in. */
export function healsDamage(made: () => HealingCluster): void {
  const holders = (key: Key) => holdersOf(made(), key);
  const store = (size: number) => storeRandom(made().cluster, size);
  const damageAt = (node: NodeProcess, key: Key, damage: Damage | undefined, other = key) =>
    damage?.(made().copyOf(node, key), made().copyOf(node, other));

  test.each([1, 2])(
    "every kind of damage on %i of three copies is healed by the scrub, the corrupt copies are in quarantine",
    async (times) => {
      const damaged: Array<{ kind: string; key: Key; nodes: NodeProcess[]; vanished: boolean }> = [];
      for (const [kind, damage] of Object.entries(DAMAGES_OF_COPIES)) {
        for (const size of [700, 1_500_000]) {
          const [key, other] = [await store(size), await store(size)];
          const nodes = rotated(await holders(key), damaged.length).slice(0, times);
          for (const node of nodes) {
            const hasOther = await isWhole(made().copyOf(node, other), other);
            await damageAt(node, key, damage, hasOther ? other : key);
          }
          damaged.push({ kind, key, nodes, vanished: kind === "removed" || kind.startsWith("swapped") });
        }
      }
      const lacking = async () => {
        const found = await Promise.all(damaged.map(({ key }) => holders(key)));
        return damaged.filter((_, i) => found[i]?.length !== COPIES);
      };
      await until("all have three whole copies again", async () => (await lacking()).length === 0, HEAL_MS).catch(
        async (late: Error) => {
          const names = (await lacking()).map(
            ({ kind, key, nodes }) => `${kind} ${key} at ${nodes.map(({ name }) => name)}`,
          );
          throw new Error(`${late.message}; still lacking: ${names.join("; ")}`);
        },
      );
      for (const { key, nodes, vanished } of damaged) {
        if (!vanished) for (const node of nodes) expect(await made().isQuarantined(node, key)).toBe(true);
      }
      await expectNoGarbage(made());
    },
    120_000,
  );

  test.each(["flipped in the middle", "cut"])(
    "a copy that was %s is healed within 10 s after a GET",
    async (damage) => {
      for (let i = 0; i < COPIES; i++) {
        const key = await store(2_000);
        const node = (await holders(key))[i] as NodeProcess;
        await damageAt(node, key, DAMAGES_OF_COPIES[damage]);
        await fetchFile(node, key);
        await until("it is whole again", async () => (await holders(key)).length === COPIES, 10_000);
        expect(await made().isQuarantined(node, key)).toBe(true);
      }
    },
    60_000,
  );

  test("all copies corrupt: 5xx that names it, all are in quarantine, and the others go on", async () => {
    const { cluster, isQuarantined } = made();
    const [key, other] = [await store(900), await store(900)];
    for (const node of await holders(key)) await damageAt(node, key, DAMAGES_OF_COPIES["cut"]);
    const quarantined = async () =>
      (await Promise.all(cluster.nodes.map((node) => isQuarantined(node, key)))).filter(Boolean);
    await until("no copy is believed", async () => (await quarantined()).length === COPIES, HEAL_MS);
    const last = cluster.nodes.at(-1) as NodeProcess;
    const answer = await fetch(`${last.url}/file/${key}/`);
    expect(answer.status).toBeGreaterThanOrEqual(500);
    expect(await answer.text()).toContain(key);
    expect((await fetchFile(last, other)).status).toBe(200);
    await expectNoGarbage(made());
  }, 90_000);
}

/** Each node has its turn. */
function rotated<T>(items: readonly T[], by: number): T[] {
  const at = by % Math.max(1, items.length);
  return [...items.slice(at), ...items.slice(0, at)];
}

async function isWhole(place: CopyPlace, key: Key): Promise<boolean> {
  const bytes = await place.read();
  return bytes !== null && keyOfBytes(bytes) === key;
}

/** No copy has the name of a blob that it is not. */
async function expectNoGarbage({ cluster, copiesOn }: HealingCluster): Promise<void> {
  const isClean = async () => {
    for (const node of cluster.nodes) {
      for (const [key, place] of await copiesOn(node)) {
        const bytes = await place.read();
        if (bytes && keyOfBytes(bytes) !== key) return false;
      }
    }
    return true;
  };
  await until("every copy is what its name says", isClean, HEAL_MS);
}
