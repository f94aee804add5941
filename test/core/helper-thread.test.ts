import { spawn } from "node:child_process";
import { once } from "node:events";
import { resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { HelperThread } from "../../src/core/helper-thread.ts";
import { until } from "../support/processes.ts";

const DOUBLES = "(n) => parentPort.postMessage(2 * n)";

/** `first`: what it says when it runs. */
function entryOf(onMessage: string, first = '""'): URL {
  const code = `import { parentPort } from "node:worker_threads"; parentPort.on("message", ${onMessage}); parentPort.postMessage(${first});`;
  return new URL(`data:text/javascript,${encodeURIComponent(code)}`);
}

async function running(onMessage: string, first?: string): Promise<HelperThread<unknown, unknown>> {
  const thread = new HelperThread<unknown, unknown>(entryOf(onMessage, first), "doubles");
  await until("it runs", async () => thread.isReady());
  return thread;
}

test("is begun when it is first asked for, and not ready at once", async () => {
  const thread = new HelperThread<number, number>(entryOf(DOUBLES), "doubles");
  await expect(thread.ask(1)).rejects.toMatchObject({ code: "INTERNAL", message: "the thread that doubles is gone" });
  expect(thread.isReady()).toBe(false);
  await expect(thread.ask(1)).rejects.toMatchObject({ code: "INTERNAL" });
  await until("it runs", async () => thread.isReady());
  expect(await thread.ask(21)).toBe(42);
});

test("each question gets its own answer, however many wait", async () => {
  const thread = await running(DOUBLES);
  const numbers = Array.from({ length: 500 }, (_, i) => i);
  expect(await Promise.all(numbers.map((n) => thread.ask(n)))).toEqual(numbers.map((n) => 2 * n));
});

test.each(["undefined", "7", "{ a: 1 }"])("its first message is no answer: %s", async (first) => {
  const thread = await running(DOUBLES, first);
  expect(await thread.ask(3)).toBe(6);
});

test("one that dies has answered what came before, and rejects the rest with the reason", async () => {
  const dies = '(n) => { if (n > 1) throw new Error("enough"); parentPort.postMessage(2 * n); }';
  // Its answer and its death are told in either order: now and then in the wrong one.
  for (let i = 0; i < 50; i++) {
    const thread = await running(dies);
    const [first, ...others] = await Promise.allSettled([1, 2, 3, 4].map((n) => thread.ask(n)));
    expect(first).toEqual({ status: "fulfilled", value: 2 });
    expect(others).toHaveLength(3);
    for (const result of others) {
      expect(result).toMatchObject({ reason: { code: "INTERNAL", message: expect.stringContaining("enough") } });
    }
    await expect(thread.ask(1)).rejects.toMatchObject({ code: "INTERNAL" });
    expect(thread.isReady()).toBe(false);
  }
});

test.each([
  ["can't be found", new URL("file:///no/such/file.js")],
  ["is of no known kind", new URL("ftp://127.0.0.1/a.js")],
  ["is broken", new URL("data:text/javascript,this is no program")],
  ["ends before it says anything", new URL("data:text/javascript,")],
])("one whose program %s is never ready, and is not tried again", async (_name, entry) => {
  const thread = new HelperThread<number, number>(entry, "doubles");
  for (let i = 0; i < 10; i++) {
    expect(thread.isReady()).toBe(false);
    await sleep(10);
  }
  await expect(thread.ask(1)).rejects.toMatchObject({ code: "INTERNAL" });
});

test("a question that can't be sent is rejected, and the next ones get their own answers", async () => {
  const thread = await running(DOUBLES);
  await expect(thread.ask(() => undefined)).rejects.toThrow("could not be cloned");
  const late = sleep(2_000, "no answer", { ref: false });
  expect(await Promise.race([Promise.all([thread.ask(1), thread.ask(2)]), late])).toEqual([2, 4]);
});

test("it keeps no process alive, but a question does until it is answered", async () => {
  const slowly = "(n) => setTimeout(() => parentPort.postMessage(2 * n), 100)";
  const program = `
    import { HelperThread } from ${JSON.stringify(resolve("src/core/helper-thread.ts"))};
    const thread = new HelperThread(new URL(${JSON.stringify(entryOf(slowly).href)}), "doubles");
    while (!thread.isReady()) await new Promise((done) => setTimeout(done, 5));
    thread.ask(21).then((answer) => console.log(answer));
  `;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", program], { timeout: 10_000 });
  const output: Buffer[] = [];
  child.stdout.on("data", (piece: Buffer) => void output.push(piece));
  expect(await once(child, "close")).toEqual([0, null]);
  expect(Buffer.concat(output).toString()).toBe("42\n");
});
