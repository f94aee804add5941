/** Words of the control block: odd while the table is being changed; how often its memory was exchanged. */
const [VERSION, GENERATION] = [0, 1];
const CONTROL_BYTES = 8;

/** The memory of a table, for a thread that reads it. */
export interface SharedMemory {
  readonly control: SharedArrayBuffer;
  readonly words: SharedArrayBuffer;
  readonly entries: SharedArrayBuffer;
  readonly entryBytes: number;
  readonly generation: number;
}

/**
 * How one thread changes a table while others read it, without locks: a reader that sees another version after its search than before throws
 * away what it found. Of memory that was exchanged it is told by a message, and asks the owner until that comes.
 */
export class TableShare {
  readonly control = new SharedArrayBuffer(CONTROL_BYTES);
  private readonly words = new Int32Array(this.control);

  get generation(): number {
    return Atomics.load(this.words, GENERATION);
  }

  /** Before the first and after the last write of a change. */
  begin(): void {
    Atomics.add(this.words, VERSION, 1);
  }

  end(): void {
    Atomics.add(this.words, VERSION, 1);
  }

  exchanged(): void {
    Atomics.add(this.words, GENERATION, 1);
  }
}

/** Calls `look` until nothing changed meanwhile, a few times at most. Undefined: it could not be told. */
export function readStable<T>({ control, generation }: SharedMemory, look: () => T): T | undefined {
  const words = new Int32Array(control);
  for (let attempt = 0; attempt < READ_ATTEMPTS_MAX_COUNT; attempt++) {
    const before = Atomics.load(words, VERSION);
    if (Atomics.load(words, GENERATION) !== generation) return undefined;
    if (before % 2 !== 0) continue;
    const found = look();
    if (Atomics.load(words, VERSION) === before) return found;
  }
  return undefined;
}

const READ_ATTEMPTS_MAX_COUNT = 8;
