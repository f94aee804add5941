/** A defect put back on purpose. `from` must be found in `file` exactly once. */
export interface Edit {
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

export interface Mutant {
  /** The row of the list of defects, or what it is. */
  readonly name: string;
  readonly what: string;
  readonly edits: readonly Edit[];
  /** What looks for it; default the simulator of whole clusters. */
  readonly hunter?: "trim-interleavings";
}

/** The simulators must find each of these: `npm run mutants`. */
export const MUTANTS: readonly Mutant[] = [
  {
    name: "C1",
    what: "a blob's file is not synced before it gets its name",
    edits: [
      {
        file: "src/storage/disk-stage.ts",
        from: "if (!this.durable) await this.open().sync();",
        to: "",
      },
    ],
  },
  {
    name: "C1 folder",
    what: "the folder is not synced after a rename",
    edits: [
      {
        file: "src/storage/disk-commit.ts",
        from: "      await syncFolder(files, layout.folder(key));\n    } catch (error) {\n      this.syncHasFailed = true;",
        to: "    } catch (error) {\n      this.syncHasFailed = true;",
      },
    ],
  },
  {
    name: "C2",
    what: "what is there already is acknowledged without a look at its bytes",
    edits: [
      {
        file: "src/storage/disk-commit.ts",
        from: "return { is: await judge(copy, key, staged), isLegacy: copy.isLegacy, path: copy.path };",
        to: 'await judge(copy, key, staged); return { is: "equal", isLegacy: copy.isLegacy, path: copy.path };',
      },
    ],
  },
  {
    name: "C3",
    what: "a corrupt copy is overwritten in place, without truncating",
    edits: [
      {
        file: "src/storage/disk-commit.ts",
        from: "    await staged.toDurableFile(); // on a full disk the old copy stays where it is\n",
        to:
          "    const inPlace = await files.open(corrupt.path, 1);\n    let at = 0;\n    for await (const chunk of staged.read()) {\n" +
          "      await inPlace.write(chunk, 0, chunk.length, at);\n      at += chunk.length;\n    }\n    await inPlace.close();\n    if (at >= 0) return;\n",
      },
    ],
  },
  {
    name: "C4 C5",
    what: "bytes leave without being judged, own ones and those of peers",
    edits: [
      {
        file: "src/blobs/body-check.ts",
        from: "    if (!matches) throw new",
        to: "    if (!matches && digest.length === 0) throw new",
      },
    ],
  },
  {
    name: "C6",
    what: "an upload that breaks off is stored under the hash of what came",
    edits: [
      {
        file: "src/blobs/staged-upload.ts",
        from: "    for await (const piece of chunks) {",
        to: "    for await (const piece of untilItBreaks(chunks)) {",
      },
      {
        file: "src/blobs/staged-upload.ts",
        from: "function tooLarge(maxBytes: number): CaskError {",
        to:
          "async function* untilItBreaks(chunks: AsyncIterable<Uint8Array>) {\n  try {\n    yield* chunks;\n  } catch (_error) {\n    return;\n  }\n}\n\n" +
          "function tooLarge(maxBytes: number): CaskError {",
      },
    ],
  },
  {
    name: "C7",
    what: "a transfer does not name its key: rotten bytes are filed under their own hash",
    edits: [
      { file: "src/blobs/staged-upload.ts", from: "    expected: key,\n", to: "    expected: undefined,\n" },
      {
        file: "src/blobs/local-store.ts",
        from: "this.commitStage(key, upload).finally",
        to: "this.commitStage(upload.key, upload).finally",
      },
    ],
  },
  {
    name: "C12",
    what: "CASK_WRITEABLE=false does not stand",
    edits: [
      {
        file: "src/blobs/space-watch.ts",
        from: "return this.options.writeable && !this.low && !this.diskHangs;",
        to: "return !this.low && !this.diskHangs;",
      },
    ],
  },
  {
    name: "C14",
    what: "two nodes on one root, each counted as a copy",
    edits: [
      {
        file: "test/support/sim/sim-process.ts",
        from: "    if (!this.disk.lock(file, this)) throw",
        to: '    if (!this.disk.lock(file, this) && root === "") throw',
      },
      {
        file: "src/blobs/replicate.ts",
        from: "this.copies.set(store, { node: node.uuid, store, outcome });",
        to: "this.copies.set(node.uuid, { node: node.uuid, store, outcome });",
      },
      {
        file: "src/blobs/vouches.ts",
        from: "(stores.get(key) ?? new Set()).add(vouch.store)",
        to: "(stores.get(key) ?? new Set()).add(node.uuid)",
      },
    ],
  },
  {
    name: "C20",
    what: "one copy is enough for success",
    edits: [
      {
        file: "src/blobs/replicate.ts",
        from: "success: copies.length >= this.wanted,",
        to: "success: copies.length >= 1,",
      },
    ],
  },
  {
    name: "C21 C22",
    what: "trim counts who says that it has a copy, without a vouch",
    edits: [
      {
        file: "src/blobs/trim.ts",
        from: "if (stores.size >= view.maxReplication) enough.add(key);",
        to: "if (stores.size >= 0) enough.add(key);",
      },
    ],
  },
  {
    name: "C23",
    what: "nobody looks whether nodes keep other numbers of copies",
    edits: [
      {
        file: "src/blobs/trim.ts",
        from: "if (disagreements.length > 0) return",
        to: "if (disagreements.length < 0) return",
      },
      {
        file: "src/blobs/vouching.ts",
        from: "if (own.replication !== replication || own.maxReplication !== maxReplication) {",
        to: "if (replication < 0 || maxReplication < 0) {",
      },
    ],
  },
  {
    name: "C24",
    what: "a second process with the same UUID is not refused",
    edits: [
      {
        file: "src/cluster/heartbeat.ts",
        from: "      if (!isSameProcess(announcement, own)) {",
        to: '      if (own.uuid === "") {',
      },
      {
        file: "src/cluster/heartbeat.ts",
        from: "    if (isSameProcess(answer, cluster.announcement())) return null;",
        to: '    if (answer.uuid !== "") return null;',
      },
      {
        file: "src/cluster/heartbeat.ts",
        from: "return answer.uuid === known.uuid && isSameProcess(answer, known);",
        to: 'return answer.uuid === "";',
      },
    ],
  },
  {
    name: "vouch while trimming",
    what: "a node vouches for what it is trimming itself",
    hunter: "trim-interleavings",
    edits: [
      {
        file: "src/blobs/trim-marks.ts",
        from: "const state = { wasMarked: this.isMarked(key) };",
        to: "const state = { wasMarked: false };",
      },
      {
        file: "src/blobs/trim-marks.ts",
        from: "    for (const watch of this.watches.get(key) ?? []) watch.wasMarked = true;\n",
        to: "",
      },
    ],
  },
  {
    name: "vouch without hashing",
    what: "a vouch is given for a copy that is merely there",
    edits: [
      {
        file: "src/blobs/vouching.ts",
        from: 'if (!(await verify(copy.body, key))) return NO("its copy is corrupt");',
        to: "copy.body.close();",
      },
    ],
  },
  {
    name: "404 of those met",
    what: "members that others know are not learned",
    edits: [
      { file: "src/cluster/heartbeat.ts", from: "[...answer.neighbors, answer]", to: "[]" },
      { file: "src/cluster/heartbeat.ts", from: "    await cluster.learn(announcement.neighbors);\n", to: "" },
    ],
  },
  {
    name: "wiped is absent",
    what: "a replaced disk answers absent",
    edits: [
      {
        file: "src/blobs/local-store.ts",
        from: "    if (isIncomplete()) {",
        to: "    if (isIncomplete() && key.length === 0) {",
      },
    ],
  },
  {
    name: "segment not synced",
    what: "records are acknowledged without a sync of their segment",
    edits: [{ file: "src/storage/segment-writer.ts", from: "      await handle.datasync();\n", to: "" }],
  },
  {
    name: "compacted too soon",
    what: "a segment is dropped before its copies are moved",
    edits: [
      {
        file: "src/storage/compaction.ts",
        from: "    const corrupt = await this.move(live, signal);",
        to: "    await segments.drop(segment); const corrupt = await this.move(live, signal);",
      },
    ],
  },
  {
    name: "segment lost unseen",
    what: "a start that misses a segment says of its copies that they are absent",
    edits: [{ file: "src/storage/segment-loading.ts", from: "hasLost: this.lostCount > 0,", to: "hasLost: false," }],
  },
  {
    name: "header not mended",
    what: "nobody looks at the headers of segments while a node runs",
    edits: [
      { file: "src/storage/tiered.ts", from: "await this.segments.mendHeaders();", to: "await Promise.resolve();" },
    ],
  },
];

/** The file with the defect in it. Throws where the code that it names has changed. */
export function mutated(text: string, { file, from, to }: Edit): string {
  const parts = text.split(from);
  if (parts.length !== 2) throw new Error(`${file}: found ${parts.length - 1} times, expected once: ${from}`);
  return parts.join(to);
}
