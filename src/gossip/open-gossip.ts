import type { Clock } from "../core/clock.ts";
import { GOSSIP_PACKET_BYTES } from "../core/limits.ts";
import type { Logger } from "../core/log.ts";
import type { Random } from "../core/random.ts";
import { Gossip } from "./gossip.ts";
import { type Endpoint, VSN } from "./messages.ts";
import { packetOverheadBytes } from "./packet-codec.ts";
import { PROFILES, type ProfileName } from "./profile.ts";
import { Swim } from "./swim.ts";
import type { MemberEvent } from "./swim-contract.ts";
import type { GossipTransport } from "./transport.ts";
import { type Encryption, Wires } from "./wires.ts";

export interface OpenGossipOptions {
  /** Unique in the cluster: the UUID. */
  readonly name: string;
  readonly transport: GossipTransport;
  readonly endpoint: Endpoint;
  readonly profile: ProfileName;
  readonly encryption: Encryption;
  /** The first one encrypts, all decrypt. */
  readonly secrets: readonly string[];
  readonly metadata: () => Uint8Array;
  readonly onEvent: (event: MemberEvent) => void;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
}

/** Everything behind the gossip port, on a transport that listens already. */
export function openGossip(options: OpenGossipOptions): Gossip {
  const { name, transport, endpoint, encryption, secrets, metadata, onEvent, clock, random, log } = options;
  const wires = new Wires(encryption, secrets);
  const profile = PROFILES[options.profile];
  const swim = new Swim({
    name,
    endpoint,
    meta: metadata(),
    vsn: VSN,
    profile,
    random,
    nowMs: clock.nowMs(),
    packetBytes: GOSSIP_PACKET_BYTES - packetOverheadBytes(wires.widest, 2),
  });
  return new Gossip({ swim, transport, wires, profile, userState: metadata, onEvent, clock, random, log });
}
