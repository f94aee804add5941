import type { Announcement } from "../../src/peer/protocol.ts";

/** What a node named so would say of itself. */
export function announcementOf(uuid: string, said: Partial<Announcement> = {}): Announcement {
  return {
    uuid,
    base_url: `http://${uuid}:8080`,
    writeable: true,
    version: "0.1.0",
    store: `store-of-${uuid}`,
    start_nonce: `nonce-of-${uuid}`,
    started_ms: 1_000,
    joined: true,
    incomplete: false,
    draining: false,
    replication: 3,
    max_replication: 4,
    points: 16,
    free_bytes: 1_000_000,
    neighbors: [],
    gossip_address: "",
    ...said,
  };
}
