import { Agent, request } from "undici";
import { CaskError, messageOf } from "../core/errors.ts";
import {
  HEARTBEAT_ANSWER_MAX_BYTES,
  PEER_ASK_TIMEOUT_MS,
  PEER_CONNECT_TIMEOUT_MS,
  SMALL_BODY_MAX_BYTES,
} from "../core/limits.ts";
import { type Announcement, HEADER, PATH, parseAnnouncement, parseJsonObject } from "../peer/protocol.ts";

/** Another process answers with our UUID, or knows one that does. `announcement`: what it says of itself. */
export class UuidConflict extends Error {
  readonly announcement: Announcement | null;

  constructor(message: string, announcement: Announcement | null) {
    super(message);
    this.announcement = announcement;
  }
}

/** Exchanges announcements with any base URL, before it is known which node answers there. */
export class NodeClient {
  private readonly agent: Agent;
  private readonly nodeSecret: string;

  constructor(options: { nodeSecret: string; authorities: readonly string[] | undefined }) {
    this.nodeSecret = options.nodeSecret;
    this.agent = new Agent({
      connections: 4,
      connect: { timeout: PEER_CONNECT_TIMEOUT_MS, ...(options.authorities ? { ca: [...options.authorities] } : {}) },
      headersTimeout: PEER_ASK_TIMEOUT_MS,
      bodyTimeout: PEER_ASK_TIMEOUT_MS,
    });
  }

  /** Tells `own`, answers what the other says of itself. Rejects with PEER_FAILED, FORBIDDEN, or a UuidConflict. */
  async exchange(baseUrl: string, own: Announcement, signal?: AbortSignal): Promise<Announcement> {
    const { status, text } = await this.post(baseUrl, own, signal);
    if (status === 403) {
      throw new CaskError(
        "FORBIDDEN",
        `${baseUrl} refuses the cluster secret: CASK_CLUSTER_SECRET must be the same on all nodes`,
      );
    }
    if (status === 409) throw conflictIn(text);
    if (status !== 200)
      throw new CaskError("PEER_FAILED", `${baseUrl} answered ${status} to a heartbeat: is it a cask node?`);
    return parseAnnouncement(parseJsonObject(text));
  }

  async close(): Promise<void> {
    await this.agent.destroy();
  }

  private async post(
    baseUrl: string,
    own: Announcement,
    signal?: AbortSignal,
  ): Promise<{ status: number; text: string }> {
    try {
      const answer = await request(baseUrl + PATH.heartbeat, {
        dispatcher: this.agent,
        method: "POST",
        headers: {
          "content-type": "application/json",
          accept: "application/json",
          [HEADER.secret]: this.nodeSecret,
        },
        body: JSON.stringify(own),
        signal: signal ?? null,
      });
      return { status: answer.statusCode, text: await readBounded(answer.body as AsyncIterable<Uint8Array>) };
    } catch (error) {
      if (error instanceof CaskError) throw error;
      throw new CaskError("PEER_FAILED", `${baseUrl} cannot be reached: ${messageOf(error)}`, error);
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

function conflictIn(text: string): UuidConflict {
  const json = parseJsonObject(text);
  const error = json["error"] as { message?: unknown } | undefined;
  const message = typeof error?.message === "string" ? error.message : "another live node has this UUID";
  const holder = json["holder"];
  const announcement =
    typeof holder === "object" && holder !== null ? parseAnnouncement(holder as Record<string, unknown>) : null;
  return new UuidConflict(message, announcement);
}
