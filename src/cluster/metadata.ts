import { CaskError, hasCode } from "../core/errors.ts";
import { GOSSIP_METADATA_BYTES } from "../core/limits.ts";
import { type Announcement, parseAnnouncement, parseJsonObject } from "../peer/protocol.ts";

/** Cask's JSON (its Go nodes read the first five, and ignore the others), and ours under short names: there is little room. */
interface MetadataJson {
  readonly uuid: string;
  readonly base_url: string;
  readonly writeable: boolean;
  readonly neighbors: null;
  /** The cluster's secret in clear: only where Go nodes must read it. */
  readonly secret?: string;
  readonly v: string;
  readonly st: string;
  readonly n: string;
  readonly t: number;
  readonly j: boolean;
  readonly i: boolean;
  /** Only while draining. */
  readonly d?: true;
  readonly r: number;
  readonly m: number;
  readonly p: number;
  readonly f: number | null;
}

/** Free space is told in these steps: news of every byte would be news without end. */
const FREE_STEP_BYTES = 2 ** 30;

/** Throws BAD_CONFIG when it does not fit. `plainSecret`: put in for Go nodes to read. */
export function encodeMetadata(announcement: Announcement, plainSecret: string | undefined): Buffer {
  const a = announcement;
  const json: MetadataJson = {
    uuid: a.uuid,
    base_url: a.base_url,
    writeable: a.writeable,
    neighbors: null,
    ...(plainSecret === undefined ? {} : { secret: plainSecret }),
    v: a.version,
    st: a.store,
    n: a.start_nonce,
    t: a.started_ms,
    j: a.joined,
    i: a.incomplete,
    ...(a.draining ? { d: true as const } : {}),
    r: a.replication,
    m: a.max_replication,
    p: a.points,
    f: a.free_bytes === null ? null : Math.floor(a.free_bytes / FREE_STEP_BYTES),
  };
  const bytes = Buffer.from(JSON.stringify(json));
  if (bytes.length > GOSSIP_METADATA_BYTES) {
    throw new CaskError(
      "BAD_CONFIG",
      `what gossip tells of this node has ${bytes.length} bytes, ${GOSSIP_METADATA_BYTES} are allowed: choose a shorter CASK_BASE_URL, CASK_UUID` +
        `${plainSecret === undefined ? "" : " or CASK_CLUSTER_SECRET"}`,
    );
  }
  return bytes;
}

export interface Metadata {
  readonly announcement: Announcement;
  readonly secret: string | undefined;
}

/** Null for what is no cask node's: it may be somebody else's application on the same gossip port. */
export function parseMetadata(bytes: Uint8Array): Metadata | null {
  try {
    const json = parseJsonObject(Buffer.from(bytes).toString("utf8"));
    const { v, st, n, t, j, i, d, r, m, p, f, secret } = json as Partial<Record<keyof MetadataJson, unknown>>;
    const ours = {
      version: v,
      store: st,
      start_nonce: n,
      started_ms: t,
      joined: j,
      incomplete: i,
      draining: d,
      replication: r,
      max_replication: m,
      points: p,
      free_bytes: typeof f === "number" ? f * FREE_STEP_BYTES : f,
    };
    const { uuid, base_url, writeable } = json;
    const announcement = parseAnnouncement({ uuid, base_url, writeable, ...withoutUndefined(ours) });
    return { announcement, secret: typeof secret === "string" ? secret : undefined };
  } catch (error) {
    if (hasCode(error, "BAD_REQUEST")) return null;
    throw error;
  }
}

function withoutUndefined(fields: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}
