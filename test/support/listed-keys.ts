import { createHash } from "node:crypto";
import type { Key } from "../../src/core/key.ts";
import { keyOfHex } from "../../src/core/key.ts";
import type { KeyDigest, KeyRange } from "../../src/core/key-range.ts";
import { KEYS_PAGE_MAX_COUNT } from "../../src/core/limits.ts";
import type { KeysPage } from "../../src/peer/peer.ts";
import { digestsJson, rangeJson, rangesJson } from "../../src/peer/repair-protocol.ts";
import { KeyTable } from "../../src/storage/key-table.ts";

/** Keys, and what it costs to ask about them: each question and answer counts with its bytes as JSON. */
export class ListedKeys {
  readonly table = new KeyTable();
  requests = 0;
  bytes = 0;
  failing = false;

  constructor(keys: Iterable<Key> = []) {
    for (const key of keys) this.table.insert(key);
  }

  async digests(ranges: readonly KeyRange[]): Promise<KeyDigest[]> {
    const digests = ranges.map((range) => this.table.digest(range));
    this.count(rangesJson(ranges), digestsJson(digests));
    return digests;
  }

  async keysIn(range: KeyRange): Promise<KeysPage> {
    const keys = this.table.keysIn(range, KEYS_PAGE_MAX_COUNT + 1);
    const page = { keys: keys.slice(0, KEYS_PAGE_MAX_COUNT), more: keys.length > KEYS_PAGE_MAX_COUNT };
    this.count(rangeJson(range), page);
    return page;
  }

  reset(): void {
    this.requests = 0;
    this.bytes = 0;
  }

  private count(asked: object, answered: object): void {
    if (this.failing) throw new Error("down");
    this.requests++;
    this.bytes += JSON.stringify(asked).length + JSON.stringify(answered).length;
  }
}

/** The `i`-th of as many keys as are wanted, spread as hashes are. */
export function numberedKey(i: number): Key {
  return keyOfHex(createHash("sha1").update(`key ${i}`).digest("hex"));
}
