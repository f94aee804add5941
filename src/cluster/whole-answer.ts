import type { Dispatcher } from "undici";

export interface WholeAnswer {
  readonly statusCode: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
}

export interface WholeAnswerOptions {
  /** Gives the request up; the promise rejects with its reason. */
  readonly signal: AbortSignal;
  /** Something of the answer has come. */
  readonly onProgress: () => void;
  readonly maxBytes: number;
  /** What it rejects with when the answer is longer. */
  readonly tooLong: () => Error;
}

/** A request whose answer is gathered as it comes: a stream of it, which undici's `request` gives, takes longer than the rest of a small one. */
export function wholeAnswer(
  dispatcher: Dispatcher,
  request: Dispatcher.DispatchOptions,
  options: WholeAnswerOptions,
): Promise<WholeAnswer> {
  return new Promise((resolve, reject) => {
    options.signal.throwIfAborted(); // nothing is connected for it
    dispatcher.dispatch(request, new Gathering(options, { resolve, reject }));
  });
}

interface Asker {
  readonly resolve: (answer: WholeAnswer) => void;
  readonly reject: (error: unknown) => void;
}

class Gathering implements Dispatcher.DispatchHandler {
  private readonly options: WholeAnswerOptions;
  private readonly asker: Asker;
  private readonly onAbort: () => void;
  private controller: Dispatcher.DispatchController | undefined;
  private statusCode = 0;
  private headers: WholeAnswer["headers"] = {};
  private parts: Buffer[] = [];
  private sizeBytes = 0;

  constructor(options: WholeAnswerOptions, asker: Asker) {
    const { signal } = options;
    this.options = options;
    this.asker = asker;
    this.onAbort = () => this.giveUp(signal.reason);
    signal.addEventListener("abort", this.onAbort, { once: true });
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.controller = controller;
    if (this.options.signal.aborted) controller.abort(this.options.signal.reason); // while it waited for a connection
  }

  onResponseStart(_: Dispatcher.DispatchController, statusCode: number, headers: WholeAnswer["headers"]): void {
    this.options.onProgress();
    this.statusCode = statusCode; // of the last one: those below 200 only announce it
    this.headers = headers;
  }

  onResponseData(_: Dispatcher.DispatchController, chunk: Buffer): void {
    this.options.onProgress();
    this.sizeBytes += chunk.length;
    if (this.sizeBytes > this.options.maxBytes) this.giveUp(this.options.tooLong());
    else this.parts.push(chunk);
  }

  onResponseEnd(): void {
    const { statusCode, headers, parts } = this;
    this.end();
    this.asker.resolve({ statusCode, headers, body: parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts) });
  }

  onResponseError(_: Dispatcher.DispatchController, error: Error): void {
    this.end();
    this.asker.reject(error);
  }

  /** The asker is told at once, whatever the connection is waiting for. */
  private giveUp(reason: Error): void {
    this.end();
    this.asker.reject(reason);
    this.controller?.abort(reason);
  }

  private end(): void {
    this.parts = [];
    this.options.signal.removeEventListener("abort", this.onAbort);
  }
}
