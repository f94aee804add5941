import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { BodyHasher } from "../../src/core/body-hasher.ts";
import { HashThread, type ThreadHash } from "../../src/core/hash-thread.ts";
import type { HashQuestion } from "../../src/core/hash-thread-entry.ts";
import { type Key, keyOfBytes } from "../../src/core/key.ts";
import { HASHED_BEHIND_MAX_COUNT, HASHED_IN_THREAD_MAX_COUNT } from "../../src/core/limits.ts";
import { PiecePool, recycle } from "../../src/core/piece-pool.ts";
import { until } from "../support/processes.ts";

async function running(entry?: URL): Promise<HashThread> {
  const thread = new HashThread(entry);
  await until("the thread runs", async () => {
    const hash = thread.open();
    hash?.forget();
    return hash !== null;
  });
  return thread;
}

function entryOf(onMessage: string): URL {
  const code = `import { parentPort } from "node:worker_threads"; parentPort.on("message", ${onMessage}); parentPort.postMessage("");`;
  return new URL(`data:text/javascript,${encodeURIComponent(code)}`);
}

function shared(bytes: Buffer): Buffer {
  const piece = new PiecePool(bytes.length, 1).take() as Buffer;
  bytes.copy(piece);
  return piece;
}

describe("HashThread", () => {
  test("hashes several bodies at a time, shared memory or not", async () => {
    const thread = await running();
    const [one, two] = [thread.open() as ThreadHash, thread.open() as ThreadHash];
    const bytes = [randomBytes(10_000), randomBytes(20_000), randomBytes(30_000)] as const;
    await one.update(shared(bytes[0]));
    await two.update(shared(bytes[1]));
    await one.update(bytes[2]);
    expect(await one.digest()).toBe(keyOfBytes(Buffer.concat([bytes[0], bytes[2]])));
    expect(await two.digest()).toBe(keyOfBytes(bytes[1]));
  });

  test("the last bytes, or the only ones, can be given with the question for the key", async () => {
    const thread = await running();
    const [one, two] = [thread.open() as ThreadHash, thread.open() as ThreadHash];
    const bytes = [randomBytes(10_000), randomBytes(20_000)] as const;
    await one.update(shared(bytes[0]));
    expect(await one.digest(shared(bytes[1]))).toBe(keyOfBytes(Buffer.concat(bytes)));
    expect(await two.digest(shared(bytes[1]))).toBe(keyOfBytes(bytes[1]));
  });

  test("what has ended is forgotten", async () => {
    const thread = new Worker(new URL(`file://${join(__dirname, "../../src/core/hash-thread-entry.ts")}`));
    await once(thread, "message");
    const ask = async (question: HashQuestion) => {
      thread.postMessage(question);
      return (await once(thread, "message"))[0];
    };
    const a = Buffer.from("a");
    for (const end of ["tell", "forget"] as const) {
      await ask({ id: 1, bytes: a });
      expect(await ask({ id: 1, end })).toBe(end === "tell" ? keyOfBytes(a) : "");
      expect(await ask({ id: 1, bytes: a, end: "tell" })).toBe(keyOfBytes(a));
    }
    await thread.terminate();
  });

  test("of nothing at all it tells the key, too", async () => {
    const thread = await running();
    expect(await thread.open()?.digest()).toBe(keyOfBytes(Buffer.alloc(0)));
  });

  test("takes so many bodies and no more, until one has ended", async () => {
    const thread = await running();
    const hashes = Array.from({ length: HASHED_IN_THREAD_MAX_COUNT }, () => thread.open());
    expect(hashes).not.toContain(null);
    expect(thread.open()).toBeNull();
    hashes[0]?.forget();
    expect(thread.open()).not.toBeNull();
  });

  test("nobody waits until it runs", () => {
    expect(new HashThread().open()).toBeNull();
  });

  test("one that can't be started is not tried again", async () => {
    const thread = new HashThread(new URL("file:///no/such/file.js"));
    for (let i = 0; i < 20; i++) {
      expect(thread.open()).toBeNull();
      await sleep(10);
    }
  });

  test.each([
    ["dies", '({ bytes }) => { if (bytes) throw new Error("oh"); }'],
    ["ends while it hashes", "({ bytes }) => { if (bytes) process.exit(0); }"],
  ])("one that %s rejects what it was asked, and takes nothing more", async (_name, onMessage) => {
    const thread = await running(entryOf(onMessage));
    const hash = thread.open() as ThreadHash;
    const asked = [hash.update(Buffer.from("a")), hash.update(Buffer.from("b"))];
    for (const result of await Promise.allSettled(asked))
      expect(result).toMatchObject({ reason: { code: "INTERNAL" } });
    await expect(hash.digest()).rejects.toMatchObject({ code: "INTERNAL" });
    expect(thread.open()).toBeNull();
  });
});

describe("BodyHasher", () => {
  /** Answers when it is told to. */
  class SlowHash implements ThreadHash {
    readonly answers: Array<{ readonly resolve: () => void; readonly reject: (error: Error) => void }> = [];
    forgotten = 0;

    update(): Promise<void> {
      return new Promise((resolve, reject) => this.answers.push({ resolve, reject }));
    }

    async digest(last?: Uint8Array): Promise<Key> {
      if (last) await this.update();
      return keyOfBytes(Buffer.alloc(0));
    }

    forget(): void {
      this.forgotten++;
    }
  }

  test("hashes here what another thread does not see, and where there is none", async () => {
    for (const bytes of [randomBytes(1_000), shared(randomBytes(1_000))]) {
      const hasher = new BodyHasher({ open: () => null });
      expect(hasher.update(bytes)).toBeUndefined();
      expect(await hasher.digest()).toBe(keyOfBytes(bytes));
    }
    const never = () => {
      throw new Error("asked for without need");
    };
    const hasher = new BodyHasher({ open: never });
    hasher.update(Buffer.from("a"));
    expect(await hasher.digest()).toBe(keyOfBytes(Buffer.from("a")));
    expect(await new BodyHasher({ open: never }).digest()).toBe(keyOfBytes(Buffer.alloc(0)));
  });

  test("hashes shared pieces in the thread, and what follows them", async () => {
    const thread = await running();
    const hasher = new BodyHasher(thread);
    const bytes = [randomBytes(1_000), randomBytes(2_000)] as const;
    await hasher.update(shared(bytes[0]));
    await hasher.update(bytes[1]);
    expect(await hasher.digest()).toBe(keyOfBytes(Buffer.concat(bytes)));
  });

  test("takes the last bytes with the question for the key, in the thread and here", async () => {
    const thread = await running();
    const bytes = [randomBytes(1_000), randomBytes(2_000)] as const;
    for (const from of [thread, { open: () => null }]) {
      const hasher = new BodyHasher(from);
      await hasher.update(shared(bytes[0]));
      expect(await hasher.digest(shared(bytes[1]))).toBe(keyOfBytes(Buffer.concat(bytes)));
      expect(await new BodyHasher(from).digest(shared(bytes[0]))).toBe(keyOfBytes(bytes[0]));
      expect(await new BodyHasher(from).digest(bytes[0])).toBe(keyOfBytes(bytes[0]));
    }
    expect(thread.open()).not.toBeNull(); // all have ended there
  });

  test.each(["update", "digest"] as const)("a piece is not used again before it was hashed (%s)", async (call) => {
    const hash = new SlowHash();
    const hasher = new BodyHasher({ open: () => hash });
    const pool = new PiecePool(1_000, 1);
    const piece = pool.take() as Buffer;
    void hasher[call](piece);
    recycle(piece);
    expect(pool.take()).toBeNull();
    hash.answers[0]?.resolve();
    await sleep(0);
    expect(pool.take()).toBe(piece);
  });

  test("is behind by so many pieces and no more, and by none of other memory, which was copied for the thread", async () => {
    const hash = new SlowHash();
    const hasher = new BodyHasher({ open: () => hash });
    for (let i = 0; i < HASHED_BEHIND_MAX_COUNT; i++) await hasher.update(shared(Buffer.from("a")));
    let went = false;
    const going = async (bytes: Buffer) => {
      went = false;
      await hasher.update(bytes);
      went = true;
    };
    void going(shared(Buffer.from("a")));
    await sleep(5);
    expect(went).toBe(false);
    hash.answers[0]?.resolve();
    await sleep(5);
    expect(went).toBe(true);
    void going(Buffer.from("b"));
    for (const { resolve } of hash.answers.slice(0, -1)) resolve();
    await sleep(5);
    expect(went).toBe(false);
    hash.answers.at(-1)?.resolve();
    await sleep(5);
    expect(went).toBe(true);
  });

  test("a failure of the thread is told by the next call, and no crash when there is none", async () => {
    const hash = new SlowHash();
    const hasher = new BodyHasher({ open: () => hash });
    await hasher.update(shared(Buffer.from("a")));
    hash.answers[0]?.reject(new Error("died"));
    await sleep(5);
    await expect(hasher.update(Buffer.from("b"))).rejects.toThrow("died");
  });

  test("tells the thread to forget what was given up, and nothing once it has the key", async () => {
    const hash = new SlowHash();
    const hasher = new BodyHasher({ open: () => hash });
    hasher.update(shared(Buffer.from("a")));
    hasher.close();
    hasher.close();
    expect(hash.forgotten).toBe(1);
    const other = new BodyHasher({ open: () => hash });
    other.update(shared(Buffer.from("a")));
    await other.digest();
    other.close();
    expect(hash.forgotten).toBe(1);
  });
});
