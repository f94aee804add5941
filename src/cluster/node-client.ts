import { Agent, request } from "undici";
import { type Clock, StallTimer, SystemClock } from "../core/clock.ts";
import { CaskError, hasCode, messageOf } from "../core/errors.ts";
import {
  HEARTBEAT_ANSWER_MAX_BYTES,
  PEER_ASK_TIMEOUT_MS,
  PEER_CONNECT_TIMEOUT_MS,
  SMALL_BODY_MAX_BYTES,
} from "../core/limits.ts";
import { type Announcement, HEADER, PATH, parseAnnouncement, parseJsonObject } from "../peer/protocol.ts";
import { tlsAdvice } from "./tls-advice.ts";

/** Another process answers with our UUID, or knows one that does. `announcement`: what it says of itself. */
export class UuidConflict extends Error {
  readonly announcement: Announcement | null;

  constructor(message: string, announcement: Announcement | null) {
    super(message);
    this.announcement = announcement;
  }
}

interface Posted {
  readonly baseUrl: string;
  readonly path: string;
  readonly body: unknown;
  readonly signal: AbortSignal | undefined;
}

/** What is said to a base URL whichever node answers there: announcements are exchanged, and that a member is to be forgotten. */
export class NodeClient {
  private readonly agent: Agent;
  private readonly nodeSecret: string;
  private readonly clock: Clock;

  constructor(options: { nodeSecret: string; authorities: readonly string[] | undefined; clock?: Clock }) {
    this.nodeSecret = options.nodeSecret;
    this.clock = options.clock ?? new SystemClock();
    this.agent = new Agent({
      connections: 4,
      connect: {
        timeout: PEER_CONNECT_TIMEOUT_MS,
        ...(options.authorities ? { ca: options.authorities as string[] } : {}),
      },
      // The deadline is ours, and covers the exchange as a whole: bytes that drip in do not prolong it.
      headersTimeout: 0,
      bodyTimeout: 0,
    });
  }

  /** Tells `own`, answers what the other says of itself. Rejects with PEER_FAILED, FORBIDDEN, or a UuidConflict. */
  async exchange(baseUrl: string, own: Announcement, signal?: AbortSignal): Promise<Announcement> {
    const { status, text } = await this.post({ baseUrl, path: PATH.heartbeat, body: own, signal });
    if (status === 403) {
      throw new CaskError(
        "FORBIDDEN",
        `${baseUrl} refuses the cluster secret: CASK_CLUSTER_SECRET must be the same on all nodes`,
      );
    }
    const conflict = status === 409 ? conflictIn(text, own.uuid) : null;
    if (conflict) throw conflict;
    if (status !== 200) throw notANode(baseUrl, `answered ${status}`);
    try {
      return parseAnnouncement(parseJsonObject(text));
    } catch (error) {
      throw notANode(baseUrl, messageOf(error), error);
    }
  }

  /** Has a member forgotten there, and not told on. Rejects with PEER_FAILED and the reason. */
  async forget(baseUrl: string, uuid: string, signal?: AbortSignal): Promise<void> {
    const { status, text } = await this.post({ baseUrl, path: PATH.forget, body: { uuid, forwarded: true }, signal });
    if (status !== 200) throw new CaskError("PEER_FAILED", `answered ${status}: ${reasonIn(text)}`);
  }

  async close(): Promise<void> {
    await this.agent.destroy();
  }

  private async post({ baseUrl, path, body, signal }: Posted): Promise<{ status: number; text: string }> {
    const late = () => new CaskError("PEER_FAILED", `${baseUrl} did not answer within ${PEER_ASK_TIMEOUT_MS} ms`);
    const deadline = new StallTimer(this.clock, PEER_ASK_TIMEOUT_MS, late, signal);
    try {
      const answer = await request(baseUrl + path, {
        dispatcher: this.agent,
        method: "POST",
        headers: {
          "content-type": "application/json",
          accept: "application/json",
          [HEADER.secret]: this.nodeSecret,
        },
        body: JSON.stringify(body),
        signal: deadline.signal,
      });
      return { status: answer.statusCode, text: await readBounded(answer.body as AsyncIterable<Uint8Array>) };
    } catch (error) {
      if (error instanceof CaskError) throw error;
      if (deadline.signal.aborted && !signal?.aborted) throw late();
      throw new CaskError("PEER_FAILED", `${baseUrl} cannot be reached: ${messageOf(error)}${tlsAdvice(error)}`, error);
    } finally {
      deadline.stop();
    }
  }
}

async function readBounded(body: AsyncIterable<Uint8Array>): Promise<string> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.length;
    if (size > Math.max(HEARTBEAT_ANSWER_MAX_BYTES, SMALL_BODY_MAX_BYTES)) {
      throw new CaskError("PEER_FAILED", "answer to a heartbeat is too long");
    }
    parts.push(chunk);
  }
  return Buffer.concat(parts).toString("utf8");
}

/** Null for a 409 that is no cask node's: it must not end this process. */
function conflictIn(text: string, ownUuid: string): UuidConflict | null {
  const json = unlessMalformed(() => parseJsonObject(text)) ?? {};
  const { error, holder } = json as { error?: { code?: unknown; message?: unknown }; holder?: unknown };
  if (error?.code !== "UUID_IN_USE") return null;
  const message = typeof error.message === "string" ? error.message.slice(0, 500) : "another live node has this UUID";
  const announcement = unlessMalformed(() => parseAnnouncement((holder ?? {}) as Record<string, unknown>));
  return new UuidConflict(message, announcement?.uuid === ownUuid ? announcement : null);
}

function reasonIn(text: string): string {
  const { error } = unlessMalformed(() => parseJsonObject(text)) ?? ({} as Record<string, unknown>);
  const { message } = (error ?? {}) as { message?: unknown };
  return (typeof message === "string" ? message : text).slice(0, 300);
}

function unlessMalformed<T>(parse: () => T): T | null {
  try {
    return parse();
  } catch (error) {
    if (hasCode(error, "BAD_REQUEST")) return null;
    throw error;
  }
}

function notANode(baseUrl: string, what: string, cause?: unknown): CaskError {
  return new CaskError("PEER_FAILED", `${baseUrl} cannot be met (${what}): is it a cask node?`, cause);
}
