import { readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { Identity } from "../../src/cluster/identity.ts";
import { SeededRandom } from "../../src/core/random.ts";
import { TemporaryFolders } from "../support/temporary-folder.ts";

const folders = new TemporaryFolders();
afterAll(() => folders.removeAll());

let seed = 0;
const load = (stateFolder: string, store: string, configuredUuid?: string) =>
  Identity.load({ stateFolder, store, configuredUuid, random: new SeededRandom(seed++) });

test("a UUID is made once and kept", async () => {
  const folder = await folders.make();
  const first = await load(folder, "s1");
  expect(first.uuid).toMatch(/^[0-9a-f-]{36}$/);
  expect(first.incomplete).toBe(false);
  const second = await load(folder, "s1");
  expect([second.uuid, second.incomplete]).toEqual([first.uuid, false]);
  expect((await load(await folders.make(), "s1")).uuid).not.toBe(first.uuid);
});

test("a configured UUID stands, and is remembered", async () => {
  const folder = await folders.make();
  expect((await load(folder, "s1", "node-a")).uuid).toBe("node-a");
  expect((await load(folder, "s1")).uuid).toBe("node-a");
  expect((await load(folder, "s1", "node-b")).uuid).toBe("node-b");
});

test("a folder that was another node's says nothing of what this one lacks: others may know it with another folder", async () => {
  const folder = await folders.make();
  await load(folder, "s1", "node-a");
  const moved = await load(folder, "s1", "node-b");
  expect(moved.incomplete).toBe(true);
  await moved.markComplete();
  expect((await load(folder, "s1", "node-b")).incomplete).toBe(false);
});

describe("a wiped disk under a known UUID", () => {
  test("is seen by the node itself where its memory is kept elsewhere, and stays incomplete over restarts", async () => {
    const folder = await folders.make();
    await load(folder, "s1", "node-a");
    expect((await load(folder, "s2", "node-a")).incomplete).toBe(true);
    expect((await load(folder, "s2", "node-a")).incomplete).toBe(true);
    expect((await load(folder, "s2")).incomplete).toBe(true);
  });

  test("whose memory was on the wiped disk is told by others; from then on it is remembered", async () => {
    const folder = await folders.make();
    await load(folder, "s1", "node-a");
    await rm(path.join(folder, "node.json"));
    const identity = await load(folder, "s2", "node-a");
    expect(identity.incomplete).toBe(false);
    await identity.markIncomplete();
    await identity.markIncomplete();
    expect(identity.incomplete).toBe(true);
    expect((await load(folder, "s2", "node-a")).incomplete).toBe(true);
  });

  test("is a new node when the UUID is new too", async () => {
    const folder = await folders.make();
    await load(folder, "s1", "node-a");
    await rm(path.join(folder, "node.json"));
    expect((await load(folder, "s2")).incomplete).toBe(false);
  });
});

test.each([
  ["cut", '{"uuid":"node-a","sto'],
  ["empty", ""],
  ["without UUID", '{"store":"s1"}'],
  ["with a UUID that is none", '{"uuid":"../x","store":"s1"}'],
  ["without store", '{"uuid":"node-a"}'],
  ["a list", "[]"],
])("a node.json that is %s is refused, and not made up anew", async (_name, text) => {
  const folder = await folders.make();
  const file = path.join(folder, "node.json");
  await writeFile(file, text);
  await expect(load(folder, "s1")).rejects.toMatchObject({
    code: "BAD_ROOT",
    message: expect.stringContaining("node.json"),
  });
  expect(await readFile(file, "utf8")).toBe(text);
});
