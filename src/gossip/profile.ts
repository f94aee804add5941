/** Timing and sizes of memberlist's three configurations. `local` is what Go Cask uses. Source: memberlist's config.go, by ../test/fixtures. */
export interface Profile {
  readonly probeIntervalMs: number;
  readonly probeTimeoutMs: number;
  readonly gossipIntervalMs: number;
  readonly gossipNodesCount: number;
  readonly gossipToTheDeadMs: number;
  readonly pushPullIntervalMs: number;
  /** For a whole stream, incoming or outgoing. */
  readonly tcpTimeoutMs: number;
  readonly indirectChecksCount: number;
  readonly retransmitMult: number;
  readonly suspicionMult: number;
  readonly suspicionMaxTimeoutMult: number;
  readonly awarenessMaxMultiplier: number;
}

const LAN: Profile = {
  probeIntervalMs: 1_000,
  probeTimeoutMs: 500,
  gossipIntervalMs: 200,
  gossipNodesCount: 3,
  gossipToTheDeadMs: 30_000,
  pushPullIntervalMs: 30_000,
  tcpTimeoutMs: 10_000,
  indirectChecksCount: 3,
  retransmitMult: 4,
  suspicionMult: 4,
  suspicionMaxTimeoutMult: 6,
  awarenessMaxMultiplier: 8,
};

export const PROFILES = {
  lan: LAN,
  wan: {
    ...LAN,
    probeIntervalMs: 5_000,
    probeTimeoutMs: 3_000,
    gossipIntervalMs: 500,
    gossipNodesCount: 4,
    gossipToTheDeadMs: 60_000,
    pushPullIntervalMs: 60_000,
    tcpTimeoutMs: 30_000,
    suspicionMult: 6,
  },
  local: {
    ...LAN,
    probeTimeoutMs: 200,
    gossipIntervalMs: 100,
    gossipToTheDeadMs: 15_000,
    pushPullIntervalMs: 15_000,
    tcpTimeoutMs: 1_000,
    indirectChecksCount: 1,
    retransmitMult: 2,
    suspicionMult: 3,
  },
} as const satisfies Record<string, Profile>;

export type ProfileName = keyof typeof PROFILES;
