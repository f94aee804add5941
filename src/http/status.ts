import type { Member } from "../cluster/membership.ts";
import type { HttpContext } from "./context.ts";

/** What `GET /status/` answers and the page `/` shows. Times are ISO 8601. Never a secret. */
export function statusJson(context: HttpContext) {
  const { cluster, space } = context;
  const gossip = context.gossip();
  const probes = new Map(gossip?.members.map(({ name, probeMs }) => [name, probeMs]));
  return {
    node: {
      uuid: cluster.uuid,
      base_url: cluster.baseUrl,
      version: context.version,
      backend: context.backendKind,
      store: context.backend.store,
      started: new Date(context.startedWallMs).toISOString(),
      writeable: cluster.isWriteable,
      read_only_because: readOnlyBecause(context),
      free_bytes: space.freeBytes,
      joined: cluster.joined,
      incomplete: context.isIncomplete(),
    },
    replication: { wanted: cluster.replication, max: cluster.maxReplication },
    disagreements: cluster.view().disagreements,
    members: cluster.members().map((member) => ({
      ...memberJson(context, member),
      probe_ms: probes.get(member.announcement.uuid) ?? null,
    })),
    gossip,
    repair: context.blobs.status(),
    cache: context.blobs.cacheFigures(),
    s3: context.s3Figures(),
    workers: context.workers.map((worker) => worker.status()),
  };
}

/** Null: it takes new blobs. */
export function readOnlyBecause({
  cluster,
  space,
  blobs,
}: Pick<HttpContext, "cluster" | "space" | "blobs">): string | null {
  if (cluster.inConflict) return "another live node has the same UUID";
  return space.reason ?? (blobs.drain.status().state === "no" ? null : "it is being emptied");
}

export type Status = ReturnType<typeof statusJson>;
export type MemberStatus = Status["members"][number];

function memberJson({ clock }: HttpContext, { announcement: a, state, stateSinceMs }: Member) {
  const ago = (atMs: number) => (Number.isFinite(atMs) ? Math.round(clock.nowMs() - atMs) / 1000 : null);
  return {
    uuid: a.uuid,
    base_url: a.base_url,
    state,
    writeable: a.writeable,
    version: a.version,
    replication: a.replication,
    max_replication: a.max_replication,
    points: a.points,
    free_bytes: a.free_bytes,
    incomplete: a.incomplete,
    draining: a.draining,
    state_since_seconds: ago(stateSinceMs),
  };
}
