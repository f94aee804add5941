import { type Key, keyOfBytes, parseKey } from "../../src/core/key.ts";
import type { Backend } from "../../src/storage/backend.ts";
import { fetchBlob, listKeys } from "./store-blob.ts";

/** Codes with which a root may be refused when its disk fails. */
const REFUSALS = ["BAD_ROOT", "NO_SPACE", "STORAGE_FAILED"];

interface Line {
  readonly doing?: string;
  readonly done?: string;
  readonly failed?: string;
  readonly key?: string;
  readonly finished?: boolean;
  readonly refused?: string;
}

type Expected = "present" | "absent" | "either";

/** What the process of put-blobs.ts has said so far, and what must therefore be true of its root after it died. */
export class Acknowledged {
  private readonly expected = new Map<Key, Expected>();
  /** Damaged on purpose, and not put since. */
  private readonly damaged = new Set<Key>();
  private refusal: string | undefined;
  finished = false;
  failures = 0;

  read(output: string): void {
    for (const line of output.split("\n").slice(0, -1)) this.note(JSON.parse(line));
  }

  /** Keys of which one knows how they must be. */
  get certain(): number {
    return [...this.expected.values()].filter((each) => each !== "either").length;
  }

  /** Every way in which the store is not as it was promised. */
  async faults(backend: Backend): Promise<string[]> {
    const faults: string[] = [];
    if (this.refusal !== undefined && !REFUSALS.includes(this.refusal)) faults.push(`the root: ${this.refusal}`);
    for (const [key, expected] of this.expected) {
      const bytes = await fetchBlob(backend, key);
      if (expected === "present" && !bytes) faults.push(`${key} was acknowledged and is gone`);
      if (expected === "absent" && bytes) faults.push(`${key} was removed and is back`);
    }
    for (const key of await listKeys(backend)) {
      const bytes = await fetchBlob(backend, key);
      if (!bytes) faults.push(`${key} is listed and absent`);
      else if (keyOfBytes(bytes) !== key && !this.damaged.has(key))
        faults.push(`${key} holds ${bytes.length} wrong bytes`);
    }
    return faults;
  }

  private note(line: Line): void {
    if (line.finished) this.finished = true;
    if (line.refused) this.refusal = line.refused;
    if (line.failed) this.failures++;
    if (line.key === undefined) return;
    const key = parseKey(line.key);
    const what = line.doing ?? line.done ?? line.failed;
    if (what === "damage") this.damaged.add(key);
    if (line.done === "put") this.damaged.delete(key);
    this.expected.set(key, line.done ? after(line.done) : this.whileDoing(key, what));
  }

  /** Nothing that is put again may vanish meanwhile, unless it was damaged. */
  private whileDoing(key: Key, what: string | undefined): Expected {
    const before = this.expected.get(key);
    return what === "put" && before === "present" ? "present" : "either";
  }
}

function after(done: string): Expected {
  if (done === "put") return "present";
  return done === "damage" ? "either" : "absent";
}
