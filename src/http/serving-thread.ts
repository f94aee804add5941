import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import { BlobCache } from "../blobs/blob-cache.ts";
import type { OpenedWhole } from "../blobs/get.ts";
import { SharedGet } from "../blobs/shared-get.ts";
import type { Clock } from "../core/clock.ts";
import { messageOf } from "../core/errors.ts";
import type { Key } from "../core/key.ts";
import { SERVED_REPORT_EVERY_MS } from "../core/limits.ts";
import type { Logger } from "../core/log.ts";
import { HEADER } from "../peer/protocol.ts";
import { SharedCopies } from "../storage/shared-copies.ts";
import { BLOB_PATH } from "./doors.ts";
import { sendError } from "./error-answer.ts";
import { Forward } from "./forward.ts";
import { HandOver } from "./hand-over.ts";
import { guard } from "./local.ts";
import { measure } from "./measure.ts";
import { answerBriefly, answerStored } from "./public.ts";
import { SecretCheck } from "./secret-check.ts";
import { isPlain, sendOpened } from "./serve-blob.ts";
import { Served } from "./served.ts";
import { HttpServer } from "./server.ts";
import type { ServingData, ServingNews, ServingOrder } from "./serving-messages.ts";
import { FETCH, type LaneBlobs } from "./socket-lane.ts";

export interface ServingThreadOptions {
  readonly data: ServingData;
  /** `moved`: memory that goes with it. */
  readonly tell: (news: ServingNews, moved?: ArrayBuffer[]) => void;
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * What runs in a serving thread: a server on the port of the node, which answers plain fetches of blobs that lie on this node, and passes all else
 * on to the thread that owns the data.
 */
export class ServingThread {
  private readonly options: ServingThreadOptions;
  private readonly copies: SharedCopies;
  private readonly cache: BlobCache;
  private readonly get: SharedGet;
  private readonly served = new Served();
  private readonly forward: Forward;
  private readonly handOver: HandOver;
  private readonly server: HttpServer;
  private cancelReport: () => void = () => undefined;

  constructor(options: ServingThreadOptions) {
    const { data, tell, clock } = options;
    this.options = options;
    this.copies = new SharedCopies(data.root);
    this.copies.index.use(data.memory);
    this.cache = new BlobCache(data.cacheBytes);
    const { copies, cache } = this;
    this.get = new SharedGet({ copies, cache, onCorrupt: (key) => tell({ told: "corrupt", key }) });
    this.forward = new Forward({ ...options, ownerPath: data.ownerPath });
    const { host, port, tls, readTimeoutMs, writeTimeoutMs } = data;
    this.handOver = new HandOver({
      pass: (puts) => tell({ told: "puts", puts }, [puts.bytes.buffer]),
      stallMs: readTimeoutMs,
      clock,
    });
    const listen = { host, port, shared: "further" as const };
    const lane = { blobs: this.laneBlobs(), stallMs: writeTimeoutMs };
    this.server = new HttpServer({ handler: this.listener(), lane, listen, tls, headTimeoutMs: readTimeoutMs, clock });
  }

  async start(): Promise<void> {
    const { tell } = this.options;
    try {
      await this.server.start();
    } catch (error) {
      tell({ told: "refused", message: messageOf(error) });
      return;
    }
    tell({ told: "listening" });
    this.report();
  }

  obey(order: ServingOrder): void {
    if (order.do === "answer") this.handOver.answered(order);
    else if (order.do === "use") this.copies.index.use(order.memory);
    else if (order.do === "renew") this.server.renew(order.tls);
    else if (order.do === "drop") void this.copies.dropped(order.segment).catch(() => undefined); // it was only read
  }

  /** Requests under way are answered, those that are passed on too. */
  async stop(): Promise<void> {
    await this.server.stop();
    this.cancelReport();
    this.tellServed();
    this.forward.stop();
    await this.copies.close();
  }

  private listener(): RequestListener {
    const { data } = this.options;
    const context = { secrets: new SecretCheck(data.secrets), cluster: { uuid: data.uuid } };
    const headers = { [HEADER.store]: data.store };
    const passes = (req: IncomingMessage, res: ServerResponse) => {
      try {
        guard(context, req, res);
        return true;
      } catch (_refused) {
        return false; // the owner says so
      }
    };
    return (req, res) => {
      const [, door, key] = BLOB_PATH.exec(req.url as string) ?? [];
      if (isUpload(req, door) && this.handOver.takes(req)) return void this.store(req, res, key as Key | undefined);
      if (!door || !isPlain(req) || (door === "local" && !passes(req, res))) return this.forward.handle(req, res);
      void this.answer(req, res, { door, key: key as Key, ...(door === "local" ? { headers } : {}) });
    };
  }

  private laneBlobs(): LaneBlobs {
    const { get, served } = this;
    const bytesOf = (key: Key, opened: OpenedWhole | null) => {
      if (opened) served.fetched(key);
      return opened?.bytes ?? null;
    };
    return {
      atHand: (key) => bytesOf(key, get.atHand(key)),
      async read(key) {
        const ended = served.foreground.begin();
        const opened = await get.openRecord(key);
        ended();
        return bytesOf(key, opened);
      },
      answered: (status, seconds) => served.requests.observe({ ...FETCH, status }, seconds),
    };
  }

  private async answer(
    req: IncomingMessage,
    res: ServerResponse,
    { door, key, headers = {} }: { door: string; key: Key; headers?: Record<string, string> },
  ): Promise<void> {
    const { data, clock } = this.options;
    const begunMs = clock.nowMs();
    const opened = this.get.atHand(key) ?? (await this.get.open(key));
    if (!opened) {
      for (const name of res.getHeaderNames()) res.removeHeader(name);
      return this.forward.handle(req, res);
    }
    measure({ clock, metrics: this.served, blobs: this.served }, door, req, res, begunMs);
    if (door === "file") this.served.fetched(key);
    await sendOpened(res, opened, { key, stallMs: data.writeTimeoutMs, headers }).catch(() => undefined); // it was cut
  }

  private async store(req: IncomingMessage, res: ServerResponse, named: Key | undefined): Promise<void> {
    const { clock, log } = this.options;
    measure({ clock, metrics: this.served, blobs: this.served }, named === undefined ? "root" : "file", req, res);
    try {
      const result = await this.handOver.store(req, named);
      if ("success" in result) answerStored(req, res, result);
      else answerBriefly(req, res, result);
    } catch (error) {
      sendError(req, res, error, { clock, log });
    }
  }

  private report(): void {
    this.tellServed();
    this.cancelReport = this.options.clock.timer(SERVED_REPORT_EVERY_MS, () => this.report());
  }

  private tellServed(): void {
    const report = this.served.takeReport(this.cache.figures());
    if (report) this.options.tell({ told: "served", report });
  }
}

function isUpload({ method, url }: IncomingMessage, door: string | undefined): boolean {
  return (method === "POST" && url === "/") || (method === "PUT" && door === "file");
}
