import { Worker } from "node:worker_threads";
import { CaskError, messageOf } from "./errors.ts";

interface Asked<Answer> {
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: Error) => void;
}

/**
 * A thread that answers questions in their order: begun when it is first wanted, and kept. One that fails is not begun again. Its program says by
 * its first message, whatever it is, that it runs.
 */
export class HelperThread<Question, Answer> {
  private readonly entry: URL;
  /** What it does, for the error when it has died: "the thread that …". */
  private readonly task: string;
  private thread: Worker | undefined;
  private state: "none" | "starting" | "running" | "failed" = "none";
  private readonly asked: Asked<Answer>[] = [];

  constructor(entry: URL, task: string) {
    this.entry = entry;
    this.task = task;
  }

  /** False until the thread runs, and when it can't: it is begun, and nobody waits for it. */
  isReady(): boolean {
    if (this.state === "none") this.start();
    return this.state === "running";
  }

  /** Rejects with INTERNAL when it does not run, or dies. */
  ask(question: Question): Promise<Answer> {
    return new Promise((resolve, reject) => {
      if (this.state !== "running") return reject(this.died("is gone"));
      this.thread?.postMessage(question); // throws what can't be sent
      this.asked.push({ resolve, reject });
      this.thread?.ref(); // what waits for the answer keeps the process alive, not the thread as such
    });
  }

  private start(): void {
    this.state = "starting";
    try {
      const thread = new Worker(this.entry);
      this.thread = thread;
      thread.on("message", (answer: Answer) => {
        // ("online" is told of a thread whose program can't be loaded, too.)
        if (this.state === "starting") this.state = "running";
        else this.asked.shift()?.resolve(answer);
        if (this.asked.length === 0) thread.unref();
      });
      // What it answered before it died is all delivered before "exit", but not before "error".
      let why = "has ended";
      thread.once("error", (error) => {
        why = messageOf(error);
      });
      thread.once("exit", () => this.fail(why));
      thread.unref();
    } catch (error) {
      this.fail(messageOf(error));
    }
  }

  private fail(why: string): void {
    this.state = "failed";
    for (const { reject } of this.asked.splice(0)) reject(this.died(why));
  }

  private died(why: string): CaskError {
    return new CaskError("INTERNAL", `the thread that ${this.task} ${why}`);
  }
}
