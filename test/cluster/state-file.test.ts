import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { KnownMembers } from "../../src/cluster/known-members.ts";
import type { KnownMember } from "../../src/cluster/membership.ts";
import { StateFile } from "../../src/cluster/state-file.ts";
import { TemporaryFolders } from "../support/temporary-folder.ts";

const folders = new TemporaryFolders();
afterAll(() => folders.removeAll());

describe("a state file", () => {
  const setUp = async () => {
    const folder = path.join(await folders.make(), "deep", "inside");
    return { folder, file: new StateFile(folder, "state.json"), name: path.join(folder, "state.json") };
  };

  test("is null before it is written, then what was written last, for the next process too", async () => {
    const { folder, file } = await setUp();
    expect(await file.read()).toBeNull();
    await file.write({ a: 1 });
    await file.write({ a: 2 });
    expect(await file.read()).toEqual({ a: 2 });
    expect(await new StateFile(folder, "state.json").read()).toEqual({ a: 2 });
    expect(await readdir(folder)).toEqual(["state.json"]);
  });

  test("has the last of many writes at once, in the order of the calls", async () => {
    const { file } = await setUp();
    await Promise.all(Array.from({ length: 20 }, (_, i) => file.write({ i })));
    expect(await file.read()).toEqual({ i: 19 });
  });

  test("has the old content after a crash between write and rename, and can be written again", async () => {
    const { file, name } = await setUp();
    await file.write({ whole: true });
    await writeFile(`${name}.new`, '{"whole":fal'); // what such a crash leaves
    expect(await file.read()).toEqual({ whole: true });
    await file.write({ whole: "again" });
    expect(await file.read()).toEqual({ whole: "again" });
  });

  test("keeps the old content when a write fails, says so, and works again afterwards", async () => {
    const { file, name } = await setUp();
    await file.write({ a: 1 });
    await mkdir(`${name}.new`); // in the way of the new file
    await expect(file.write({ a: 2 })).rejects.toMatchObject({ code: "STORAGE_FAILED" });
    expect(await file.read()).toEqual({ a: 1 });
    await rm(`${name}.new`, { recursive: true });
    await file.write({ a: 3 });
    expect(await file.read()).toEqual({ a: 3 });
  });

  test.each(["", '{"a":', "null", "5", '"text"', "\0\0\0\0"])(
    "that is damaged (%p) is refused, by its name",
    async (text) => {
      const { file, name, folder } = await setUp();
      await mkdir(folder, { recursive: true });
      await writeFile(name, text);
      await expect(file.read()).rejects.toMatchObject({ code: "BAD_ROOT", message: expect.stringContaining(name) });
      expect(await readFile(name, "utf8")).toBe(text);
    },
  );

  test("that cannot be read is refused, not taken for a missing one", async () => {
    const { file, name } = await setUp();
    await mkdir(name, { recursive: true });
    await expect(file.read()).rejects.toMatchObject({ code: "BAD_ROOT", message: expect.stringContaining(name) });
  });
});

describe("known members", () => {
  const member = (uuid: string): KnownMember => ({
    uuid,
    baseUrl: `http://${uuid}:8080`,
    store: `store of ${uuid}`,
    points: 128,
    replication: 2,
  });

  test("are none at first, and survive a restart", async () => {
    const folder = await folders.make();
    expect(await new KnownMembers(folder).load()).toEqual([]);
    await new KnownMembers(folder).save([member("b"), member("a")]);
    expect(await new KnownMembers(folder).load()).toEqual([member("a"), member("b")]);
    await new KnownMembers(folder).save([]);
    expect(await new KnownMembers(folder).load()).toEqual([]);
  });

  test("are written only when something changed, and again when a write had failed", async () => {
    const folder = await folders.make();
    const known = new KnownMembers(folder);
    const file = path.join(folder, "members.json");
    await mkdir(`${file}.new`);
    await expect(known.save([member("a")])).rejects.toMatchObject({ code: "STORAGE_FAILED" });
    await rm(`${file}.new`, { recursive: true });
    await known.save([member("a")]);
    expect(await known.load()).toEqual([member("a")]);
    await rm(file);
    await known.save([member("a")]);
    expect(await known.load()).toEqual([]);
    await known.save([member("a"), member("b")]);
    expect(await known.load()).toEqual([member("a"), member("b")]);
  });

  test("that were forgotten are kept beside them, and left alone by who says nothing of them", async () => {
    const folder = await folders.make();
    await new KnownMembers(folder).save([member("a")], ["c", "b"]);
    const known = new KnownMembers(folder);
    await known.load();
    expect(known.forgotten).toEqual(["c", "b"]);
    await known.save([]);
    const again = new KnownMembers(folder);
    expect([await again.load(), again.forgotten]).toEqual([[], ["c", "b"]]);
  });

  test("of a file without replication count as those that promise least", async () => {
    const folder = await folders.make();
    const { replication: _, ...without } = member("a");
    await writeFile(path.join(folder, "members.json"), JSON.stringify({ members: [without] }));
    expect(await new KnownMembers(folder).load()).toEqual([{ ...without, replication: 1 }]);
  });

  test.each([
    ["no list", {}],
    ["a list of something else", { members: ["a"] }],
    ["null", { members: [null] }],
    ["no base URL", { members: [{ ...member("a"), baseUrl: "x" }] }],
    ["no UUID", { members: [{ ...member("a"), uuid: "../a" }] }],
    ["something forgotten that is no UUID", { members: [], forgotten: [7] }],
    ["nothing that was forgotten", { members: [], forgotten: {} }],
    ["points that are none", { members: [{ ...member("a"), points: 0 }] }],
  ])("with %s are refused, clearly", async (_name, content) => {
    const folder = await folders.make();
    await writeFile(path.join(folder, "members.json"), JSON.stringify(content));
    await expect(new KnownMembers(folder).load()).rejects.toMatchObject({
      code: "BAD_ROOT",
      message: expect.stringContaining("members.json is not understood"),
    });
  });
});
