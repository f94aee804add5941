import type { Key } from "../core/key.ts";

/** Kept by a vouch that is being computed: was the key marked at any moment of it? */
export interface MarkWatch {
  readonly wasMarked: boolean;
  end(): void;
}

/**
 * The keys that this node is trimming, each with the nonce of its marking. In memory only: a node that restarts trims nothing that it
 * marked before, and vouches for nothing in its first CASK_TRIM_GRACE.
 */
export class TrimMarks {
  private readonly nonces = new Map<Key, string>();
  private readonly watches = new Map<Key, Set<{ wasMarked: boolean }>>();

  get size(): number {
    return this.nonces.size;
  }

  isMarked(key: Key): boolean {
    return this.nonces.has(key);
  }

  /** Does the marking with this nonce still stand? */
  stands(key: Key, nonce: string): boolean {
    return this.nonces.get(key) === nonce;
  }

  /** From now on nobody is given a vouch for this key, nor is one that is being computed. Answers false when the key is marked already. */
  mark(key: Key, nonce: string): boolean {
    if (this.nonces.has(key)) return false;
    this.nonces.set(key, nonce);
    for (const watch of this.watches.get(key) ?? []) watch.wasMarked = true;
    return true;
  }

  takeBack(key: Key): void {
    this.nonces.delete(key);
  }

  watch(key: Key): MarkWatch {
    const state = { wasMarked: this.isMarked(key) };
    const all = this.watches.get(key) ?? new Set();
    this.watches.set(key, all.add(state));
    return {
      get wasMarked() {
        return state.wasMarked;
      },
      end: () => {
        all.delete(state);
        if (all.size === 0) this.watches.delete(key);
      },
    };
  }
}
