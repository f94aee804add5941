import type { ClusterView, ViewNode } from "../cluster/cluster-view.ts";
import type { Clock } from "../core/clock.ts";
import { CaskError } from "../core/errors.ts";
import { hedge } from "../core/hedge.ts";
import { inTime } from "../core/in-time.ts";
import { type Key, keyOfBytes } from "../core/key.ts";
import { GET_FIRST_PHASE_MS, GET_HEDGE_MS } from "../core/limits.ts";
import type { Logger } from "../core/log.ts";
import { recycle, retain } from "../core/piece-pool.ts";
import { untilAborted } from "../core/until-aborted.ts";
import type { BlobBody, ByteRange } from "../peer/peer.ts";
import type { BlobCache } from "./blob-cache.ts";
import type { KeepFetched } from "./keep-fetched.ts";
import { askEverybody, type Finding, judge, type SearchResult } from "./search.ts";
import type { Strangers } from "./strangers.ts";
import { isSmall, readVerified, verifiedChunks } from "./verified.ts";

export interface OpenedWhole {
  readonly kind: "whole";
  readonly sizeBytes: number;
  readonly bytes: Buffer;
}

/**
 * A blob on its way to a client. `whole`: verified, in memory, may be shared; who is done with the bytes recycles them, once.
 * `stream`: for one reader, verified as it goes.
 */
export type Opened =
  | OpenedWhole
  | {
      readonly kind: "stream";
      readonly sizeBytes: number;
      readonly chunks: AsyncIterable<Uint8Array>;
      readonly close: () => void;
    };

export interface GetOptions {
  readonly view: () => ClusterView;
  readonly keep: Pick<KeepFetched, "whole" | "stream">;
  readonly cache: Pick<BlobCache, "get" | "put">;
  /** The own copy, if it is small and there in one read; null says nothing. Never rejects. */
  readonly readOwn: (key: Key, ms: number) => Promise<Buffer | null>;
  /** Is a copy here, as far as is known? Where none is, looking for it at the disk is left for later. */
  readonly mayBeHere: (key: Key) => boolean;
  readonly strangers: Pick<Strangers, "learn">;
  /** A blob was found for a client. */
  readonly onFetched: (key: Key) => void;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Of `openAtOnce`, whose callers may have gone before they called `open`. */
const TRIED_MAX_COUNT = 1_000;

type Attempt<T> = (node: ViewNode, signal: AbortSignal) => Promise<T | null>;

interface Asking<T> {
  readonly view: ClusterView;
  readonly candidates: readonly ViewNode[];
  readonly attempt: Attempt<T>;
  readonly signal: AbortSignal | undefined;
  readonly timeoutMs: number | undefined;
}

/** Not at hand. `slow`: the node that was waited for too long, so as not to wait for it again. */
interface Tried {
  readonly slow: string | null;
}

interface Flight {
  readonly key: Key;
  readonly result: Promise<Opened>;
  readonly controller: AbortController;
  readers: number;
  landed: boolean;
  streamTaken: boolean;
}

/**
 * Fetches blobs from wherever they are: the own copy first, then its owners, then whoever of all members has it.
 * Rejects with NOT_FOUND when it is certain that no member has it, with DONT_KNOW when it is not.
 */
export class Get {
  private readonly options: GetOptions;
  private readonly flights = new Map<Key, Flight>();
  /** What was looked for at once just now, in vain. */
  private readonly tried = new Map<Key, Tried>();

  constructor(options: GetOptions) {
    this.options = options;
  }

  /** The whole blob, if it lies verified in memory: nothing is waited for. Doors ask here first. */
  atHand(key: Key): OpenedWhole | null {
    const bytes = this.options.cache.get(key);
    if (!bytes) return null;
    this.options.onFetched(key);
    return { kind: "whole", sizeBytes: bytes.length, bytes };
  }

  /**
   * A small blob, where one step is enough: the own copy in one read, or that of an owner, asked for together with others. Null says nothing; `open`, if it
   * is called next, goes on from there. Never rejects.
   */
  async openAtOnce(key: Key): Promise<OpenedWhole | null> {
    const result = await this.tryAtOnce(key);
    if ("bytes" in result) return result;
    if (this.tried.size >= TRIED_MAX_COUNT) this.tried.clear(); // nobody came back for these
    this.tried.set(key, result);
    return null;
  }

  /** The whole blob. Readers of one small blob share one fetch; that one of them goes away does not end it for the others. */
  async open(key: Key, signal?: AbortSignal): Promise<Opened> {
    const tried = this.tried.get(key) ?? (await this.tryAtOnce(key));
    this.tried.delete(key);
    if ("bytes" in tried) return tried;
    signal?.throwIfAborted();
    const flight = this.flights.get(key) ?? this.takeOff(key, tried.slow);
    flight.readers++;
    try {
      const opened = await untilAborted(flight.result, signal);
      this.options.onFetched(key);
      if (opened.kind === "whole") {
        retain(opened.bytes); // the flight is a user too, until all have left
        return opened;
      }
      if (!flight.streamTaken) {
        flight.streamTaken = true;
        return opened;
      }
    } finally {
      this.leave(flight);
    }
    return this.fetch(key, signal); // large: nothing is shared between readers
  }

  /** Bytes `start` to `end` (included) of a blob; `range` is asked for once its size is known. */
  async openRange(key: Key, sizeBytes: number, range: ByteRange, signal?: AbortSignal): Promise<Opened> {
    if (isSmall(sizeBytes)) {
      const opened = this.atHand(key) ?? (await this.open(key, signal));
      if (opened.kind !== "whole") throw new CaskError("INTERNAL", `${key} has changed its size`);
      return { kind: "whole", sizeBytes, bytes: opened.bytes.subarray(range.start, range.end + 1) };
    }
    const view = this.options.view();
    const attempt = (node: ViewNode, attemptSignal: AbortSignal) => node.peer.get(key, range, attemptSignal);
    const candidates = this.firstCandidates(key, view);
    const first = await this.fromFirst({ view, candidates, attempt, signal });
    const body = first ?? (await this.fromHolders(key, view, signal, attempt));
    this.options.onFetched(key);
    return { kind: "stream", sizeBytes, chunks: body.chunks, close: () => body.close() };
  }

  /** Size of a blob without reading it. Rejects as `open` does. */
  async size(key: Key, signal?: AbortSignal): Promise<number> {
    const view = this.options.view();
    const [own] = await view.ownNode.peer.has([key], signal);
    const holdings = own?.state === "present" ? [own] : (await this.holders(key, view, signal)).map((f) => f.holding);
    for (const holding of holdings) {
      if (holding.state === "present" && holding.sizeBytes !== null) return holding.sizeBytes;
    }
    // Held by Go nodes only, which do not say: it is opened to learn it.
    const opened = await this.fetch(key, signal);
    closeOpened(opened);
    return opened.sizeBytes;
  }

  private async tryAtOnce(key: Key): Promise<OpenedWhole | Tried> {
    const { mayBeHere, readOwn, cache, onFetched } = this.options;
    const bytes = mayBeHere(key) ? await readOwn(key, GET_HEDGE_MS) : await this.readTogether(key);
    if (!Buffer.isBuffer(bytes)) return bytes ?? { slow: null };
    cache.put(key, bytes);
    onFetched(key);
    return { kind: "whole", sizeBytes: bytes.length, bytes };
  }

  /** From its first owner, where this node is none itself. */
  private async readTogether(key: Key): Promise<Buffer | Tried | null> {
    const view = this.options.view();
    const [first] = view.order(key);
    if (!first || first.suspect || view.isOwner(key)) return null;
    const asked = first.peer.getTogether?.(key);
    if (!asked) return null;
    try {
      const bytes = await inTime(this.options.clock, GET_HEDGE_MS, asked, () => new Error("slow"));
      return bytes && keyOfBytes(bytes) === key ? bytes : null; // `get` looks again, and tells what is wrong
    } catch (_slow) {
      return { slow: first.uuid };
    }
  }

  private takeOff(key: Key, slow: string | null): Flight {
    const controller = new AbortController();
    const result = this.fetch(key, controller.signal, slow);
    const flight: Flight = { key, result, controller, readers: 0, landed: false, streamTaken: false };
    this.flights.set(key, flight);
    const landed = () => {
      flight.landed = true;
      if (this.flights.get(key) === flight) this.flights.delete(key);
    };
    result.then(landed, landed);
    return flight;
  }

  private leave(flight: Flight): void {
    flight.readers--;
    if (flight.readers > 0 || flight.streamTaken) return;
    if (this.flights.get(flight.key) === flight) this.flights.delete(flight.key); // a new reader begins anew
    if (!flight.landed) flight.controller.abort(new Error("nobody waits for it any more"));
    flight.result.then(closeOpened, () => undefined);
  }

  /** `slow`: a node to be asked after the others. */
  private async fetch(key: Key, signal?: AbortSignal, slow: string | null = null): Promise<Opened> {
    const view = this.options.view();
    const attempt = (node: ViewNode, attemptSignal: AbortSignal) => this.openAt(node, key, view, attemptSignal);
    const candidates = this.firstCandidates(key, view, slow);
    const first = await this.fromFirst({ view, candidates, attempt, signal });
    return first ?? (await this.fromHolders(key, view, signal, attempt));
  }

  /** Null when none of those that should have the blob sent it in time. */
  private fromFirst<T extends Opened | BlobBody>(asking: Omit<Asking<T>, "timeoutMs">): Promise<T | null> {
    const alone = asking.candidates.length === 1;
    return this.hedged({ ...asking, timeoutMs: alone ? undefined : GET_FIRST_PHASE_MS });
  }

  /** This node if it may have the blob, then those that should have it, last of all the suspects and the one that was slow just now. */
  private firstCandidates(key: Key, view: ClusterView, slow: string | null = null): ViewNode[] {
    const others = view.order(key).filter((node) => node.uuid !== view.self);
    const owners = others.slice(0, view.replication);
    const isLast = ({ suspect, uuid }: ViewNode) => suspect || uuid === slow;
    const inTurn = [...owners.filter((node) => !isLast(node)), ...owners.filter(isLast)];
    return this.options.mayBeHere(key) ? [view.ownNode, ...inTurn] : [...inTurn, view.ownNode];
  }

  private async hedged<T extends Opened | BlobBody>(asking: Asking<T>): Promise<T | null> {
    const { view, candidates, attempt, signal, timeoutMs } = asking;
    const outcome = await hedge<ViewNode, T>({
      candidates,
      attempt,
      delayMs: GET_HEDGE_MS,
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
      discard: closeOpened,
      clock: this.options.clock,
      signal,
    });
    for (const { candidate, error } of outcome.failed) {
      const level = candidate.uuid === view.self ? "warn" : "debug";
      this.options.log[level]({ node: candidate.uuid, err: error }, "a copy could not be read");
    }
    return outcome.winner?.result ?? null;
  }

  private async fromHolders<T extends Opened | BlobBody>(
    key: Key,
    view: ClusterView,
    signal: AbortSignal | undefined,
    attempt: Attempt<T>,
  ): Promise<T> {
    const holders = await this.holders(key, view, signal);
    const nodes = holders.map(({ node }) => node);
    // No time limit in all: each of them said that it has the blob, and its stream ends by an answer, an error or its own deadline.
    const opened = await this.hedged({ view, candidates: nodes, attempt, signal, timeoutMs: undefined });
    if (opened) return opened;
    throw new CaskError(
      "DONT_KNOW",
      `${nodes.length} nodes say that they hold ${key}, but none could send a right copy of it`,
    );
  }

  /** All members that have the blob. Rejects with NOT_FOUND or DONT_KNOW when none says so. */
  private async holders(key: Key, view: ClusterView, signal?: AbortSignal): Promise<readonly Finding[]> {
    const result = await this.search(key, view, signal);
    if (result.found) return result.holders;
    if (result.certain) throw new CaskError("NOT_FOUND", `${key} is not stored here`);
    const why = view.joined
      ? `not all nodes answered: ${result.unsure.join(", ")}`
      : "this node has not met its neighbors yet";
    throw new CaskError("DONT_KNOW", `${key} was not found, but it may exist; ${why}`);
  }

  private async search(key: Key, view: ClusterView, signal?: AbortSignal): Promise<SearchResult> {
    const { clock, strangers } = this.options;
    const findings = await askEverybody(key, view, clock, signal);
    const result = judge(findings, view);
    if (result.found || !result.certain) return result;
    const unmet = await untilAborted(strangers.learn(findings, view), signal);
    const learned = this.options.view();
    if (learned.membersDigest === view.membersDigest) return judge(findings, view, unmet);
    return judge(await askEverybody(key, learned, clock, signal), learned, unmet);
  }

  private async openAt(node: ViewNode, key: Key, view: ClusterView, signal: AbortSignal): Promise<Opened | null> {
    const body = await node.peer.get(key, undefined, signal);
    if (!body) return null;
    const fetched = node.uuid !== view.self && view.isOwner(key);
    if (isSmall(body.sizeBytes)) {
      const bytes = await readVerified(body, key);
      this.options.cache.put(key, bytes);
      if (fetched) {
        retain(bytes); // for as long as the garbage collector sees it in use: nobody tells when it is kept
        this.options.keep.whole(key, bytes);
      }
      return { kind: "whole", sizeBytes: bytes.length, bytes };
    }
    const verified = await begun(verifiedChunks(body, key));
    const chunks = fetched ? this.options.keep.stream(key, body.sizeBytes, verified) : verified;
    return { kind: "stream", sizeBytes: body.sizeBytes, chunks, close: () => body.close() };
  }
}

/** With its first chunk in hand: a disk that opens a file and then hangs has not answered yet, and the next copy is asked for. */
async function begun(chunks: AsyncGenerator<Uint8Array>): Promise<AsyncGenerator<Uint8Array>> {
  const { value } = await chunks.next();
  const held = [value]; // taken out again: a slow reader must not keep it for as long as it reads
  return (async function* () {
    try {
      const first = held.pop();
      if (first) yield first;
      yield* chunks;
    } finally {
      await chunks.return(undefined); // also where nobody went on after the first chunk
    }
  })();
}

function closeOpened(result: Opened | BlobBody): void {
  if ("kind" in result && result.kind === "whole") recycle(result.bytes);
  else result.close();
}
